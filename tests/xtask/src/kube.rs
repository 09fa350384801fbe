//! Kubernetes' control plane, etcd, kubectl and helm, built from their Go modules: nothing else can be had everywhere.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;
use tokio::time::Instant;

use crate::process::Runner;
use crate::{tools, workspace};

const VERSION: &str = "1.34.4";
/// What `tests/kube/go.mod` asks for. Debian 12 has 1.19.
const OLDEST_GO: (u32, u32) = (1, 24);
/// All but helm are one program, which looks at the name that it is called by.
const PROGRAMS: [&str; 5] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];

/// The directory with the programs, built first where it is not there. Otherwise says what is missing.
pub(crate) async fn require(runner: &Runner) -> Result<Result<PathBuf, String>> {
    if let Some(directory) = std::env::var_os("GADGET_KUBE_BIN") {
        return Ok(Ok(PathBuf::from(directory)));
    }
    let source = workspace::root()?.join("tests/kube");
    let cache = workspace::cache()?;
    let directory = cache.join(format!("kube-{VERSION}-{}", hash(&source)?));
    std::fs::create_dir_all(&cache).with_context(|| format!("failed to create {}", cache.display()))?;
    // Two runs at once build once.
    let lock = lock(&cache.join("kube.lock")).await?;
    if works(runner, &directory).await {
        return Ok(Ok(directory));
    }
    if let Err(missing) = go(runner).await? {
        return Ok(Err(missing));
    }
    println!(
        "building Kubernetes {VERSION}, etcd and helm into {}; the first time it takes some 8 minutes",
        directory.display()
    );
    let began = Instant::now();
    let building = tempfile::Builder::new()
        .prefix("kube-building-")
        .tempdir_in(&cache)
        .context("failed to make a directory to build in")?;
    build(runner, &source, building.path()).await?;
    if directory.exists() {
        // Of another machine, or half deleted.
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("failed to remove {}", directory.display()))?;
    }
    std::fs::rename(building.path(), &directory)
        .with_context(|| format!("failed to make {}", directory.display()))?;
    if !works(runner, &directory).await {
        bail!("what was built in {} does not run", directory.display());
    }
    println!("built it in {:.0} s", began.elapsed().as_secs_f64());
    drop(lock);
    Ok(Ok(directory))
}

/// Go, new enough.
async fn go(runner: &Runner) -> Result<Result<(), String>> {
    let (major, minor) = OLDEST_GO;
    let advice = format!("Go {major}.{minor} or newer (Debian's is too old; see https://go.dev/dl)");
    if tools::find_program("go").is_none() {
        return Ok(Err(format!("missing: {advice}")));
    }
    let text = runner.output(Command::new("go").arg("version")).await?;
    Ok(match go_version(&text) {
        Some(version) if version >= OLDEST_GO => Ok(()),
        _ => Err(format!("{} is not {advice}", text.trim())),
    })
}

/// Of `go version go1.26.8 linux/amd64`.
fn go_version(text: &str) -> Option<(u32, u32)> {
    let version = text.split(' ').nth(2)?.strip_prefix("go")?;
    let mut numbers = version.split('.').map(|number| {
        let end = number.find(|character: char| !character.is_ascii_digit()).unwrap_or(number.len());
        number[..end].parse::<u32>().ok()
    });
    Some((numbers.next()??, numbers.next()??))
}

async fn build(runner: &Runner, source: &Path, directory: &Path) -> Result<()> {
    let go_build = |flags: &str, name: &str, package: &str| {
        let mut command = Command::new("go");
        command.current_dir(source).env("CGO_ENABLED", "0").args(["build", "-trimpath", "-ldflags"]);
        command.arg(format!("-s -w {flags}")).arg("-o").arg(directory.join(name)).arg(package);
        command
    };
    let (component, client) = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version");
    let versions = format!(
        "-X {component}.gitVersion=v{VERSION} -X {component}.gitMajor=1 -X {component}.gitMinor=34 \
         -X {client}.gitVersion=v{VERSION}"
    );
    runner.run(&mut go_build(&versions, "kube", ".")).await?;
    runner.run(&mut go_build("", "helm", "helm.sh/helm/v3/cmd/helm")).await?;
    for program in PROGRAMS {
        std::fs::hard_link(directory.join("kube"), directory.join(program))
            .with_context(|| format!("failed to make the link {program}"))?;
    }
    Ok(())
}

/// Whether what is there runs here.
async fn works(runner: &Runner, directory: &Path) -> bool {
    let all_there = PROGRAMS.iter().all(|program| directory.join(program).is_file());
    let kubectl = directory.join("kubectl");
    let helm = directory.join("helm");
    all_there
        && runner
            .output(Command::new(kubectl).args(["version", "--client"]))
            .await
            .is_ok_and(|text| text.contains(&format!("v{VERSION}")))
        && runner
            .output(Command::new(helm).args(["version", "--short"]))
            .await
            .is_ok_and(|text| text.starts_with("v3."))
}

async fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    println!("waiting for another run that builds Kubernetes");
                    told = true;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("failed to lock {}", path.display()));
            }
        }
    }
}

/// Of all that the programs are built from.
fn hash(source: &Path) -> Result<String> {
    let entries =
        std::fs::read_dir(source).with_context(|| format!("failed to read {}", source.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    let mut hasher = Sha256::new();
    for file in files {
        hasher.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        hasher.update(std::fs::read(&file).with_context(|| format!("failed to read {}", file.display()))?);
    }
    Ok(hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_s_version_is_read() {
        assert_eq!(go_version("go version go1.26.8 linux/amd64\n"), Some((1, 26)));
        assert_eq!(go_version("go version go1.25rc1 linux/amd64"), Some((1, 25)));
        assert_eq!(go_version("go version devel linux/amd64"), None);
        assert_eq!(go_version(""), None);
    }

    #[test]
    fn another_source_is_another_build() {
        let directory = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(directory.path().join("go.mod"), text).unwrap();
        write("a");
        let before = hash(directory.path()).unwrap();
        assert_eq!(hash(directory.path()).unwrap(), before);
        write("b");
        assert_ne!(hash(directory.path()).unwrap(), before);
    }
}

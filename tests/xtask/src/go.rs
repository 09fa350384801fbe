//! Programs that are built from their Go modules and kept by version and source: nothing else can be had everywhere.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;
use tokio::time::Instant;

use crate::process::Runner;
use crate::{tools, workspace};

/// What the modules' `go.mod` ask for; a newer one is fetched by Go itself. Debian 12 has 1.19.
const OLDEST_GO: (u32, u32) = (1, 24);

/// Programs that are built together.
pub(crate) trait Programs {
    /// With the version, as a person writes it.
    fn title(&self) -> String;
    /// With the version, as a file is named.
    fn file_name(&self) -> String;
    /// Directory of the Go module, from the repository's root.
    fn source(&self) -> &'static str;
    /// How long it takes the first time.
    fn patience(&self) -> &'static str;
    async fn build(&self, runner: &Runner, source: &Path, directory: &Path) -> Result<()>;
    /// Whether what is there runs here.
    async fn works(&self, runner: &Runner, directory: &Path) -> bool;
}

/// The directory with the programs, built first where it is not there. Otherwise says what is missing.
pub(crate) async fn require(runner: &Runner, programs: &impl Programs) -> Result<Result<PathBuf, String>> {
    let source = workspace::root()?.join(programs.source());
    let cache = workspace::cache()?;
    let name = programs.file_name();
    let directory = cache.join(format!("{name}-{}", hash(&source)?));
    std::fs::create_dir_all(&cache).with_context(|| format!("failed to create {}", cache.display()))?;
    // Two runs at once build once.
    let lock = lock(&cache.join(format!("{name}.lock"))).await?;
    if programs.works(runner, &directory).await {
        return Ok(Ok(directory));
    }
    if let Err(missing) = go(runner).await? {
        return Ok(Err(missing));
    }
    let (title, patience) = (programs.title(), programs.patience());
    println!("building {title} into {}; the first time it takes {patience}", directory.display());
    let began = Instant::now();
    let building = tempfile::Builder::new()
        .prefix(&format!("{name}-building-"))
        .tempdir_in(&cache)
        .context("failed to make a directory to build in")?;
    programs.build(runner, &source, building.path()).await?;
    if directory.exists() {
        // Of another machine, or half deleted.
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("failed to remove {}", directory.display()))?;
    }
    std::fs::rename(building.path(), &directory)
        .with_context(|| format!("failed to make {}", directory.display()))?;
    if !programs.works(runner, &directory).await {
        bail!("what was built in {} does not run", directory.display());
    }
    println!("built it in {:.0} s", began.elapsed().as_secs_f64());
    drop(lock);
    Ok(Ok(directory))
}

/// Builds one package of the module in `source`, for any machine of this kind.
pub(crate) fn build(source: &Path, flags: &str, output: &Path, package: &str) -> Command {
    let mut command = Command::new("go");
    command.current_dir(source).env("CGO_ENABLED", "0").args(["build", "-trimpath", "-ldflags"]);
    command.arg(format!("-s -w {flags}")).arg("-o").arg(output).arg(package);
    command
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

async fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    println!("waiting for another run that builds the same");
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

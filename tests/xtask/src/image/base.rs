//! What the drone's image stands on: a small Debian with git, ssh, certificates and ripgrep, made of packages.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;
use tokio::time::Instant;

use crate::image::builder::{Builder, Recipe};
use crate::process::Runner;
use crate::tools::{self, Tool};
use crate::workspace;

const SUITE: &str = "bookworm";
const PACKAGES: &str = "bash,ca-certificates,git,openssh-client,ripgrep";
/// Nobody reads them in a pod.
const LEFT_OUT: [&str; 4] =
    ["/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*"];
/// 2025-01-01: the base is older than any image on it, and the same below all of them.
const EPOCH: &str = "1735689600";

/// The base's files as an archive, made once and kept; `fresh` makes it of today's packages.
pub(super) async fn archive(runner: &Runner, fresh: bool) -> Result<PathBuf> {
    let cache = workspace::cache()?;
    let archive = path()?;
    if archive.is_file() && !fresh {
        return Ok(archive);
    }
    std::fs::create_dir_all(&cache).with_context(|| format!("failed to create {}", cache.display()))?;
    if let Err(missing) = require(runner).await? {
        bail!(missing);
    }
    println!("making the drone's base of Debian packages; this takes some minutes and is kept");
    let began = Instant::now();
    let building = tempfile::Builder::new()
        .prefix("drone-base-")
        .tempdir_in(&cache)
        .context("failed to make a directory to build in")?;
    let made = building.path().join("base.tar");
    runner.run(&mut mmdebstrap(&made)).await?;
    std::fs::rename(&made, &archive).with_context(|| format!("failed to make {}", archive.display()))?;
    println!("made {} in {:.0} s", archive.display(), began.elapsed().as_secs_f64());
    Ok(archive)
}

/// What makes the base, unless it is there. Otherwise says what is missing.
pub(super) async fn require(runner: &Runner) -> Result<Result<(), String>> {
    if path()?.is_file() {
        return Ok(Ok(()));
    }
    let missing = tools::require(runner, &[Tool::Mmdebstrap]).await?;
    Ok(missing.map_err(|missing| format!("the base of the drone's image is made by mmdebstrap; {missing}")))
}

fn path() -> Result<PathBuf> {
    Ok(workspace::cache()?.join(format!("drone-base-{}.tar", key())))
}

/// The base as an image for the builder.
pub(super) async fn image(runner: &Runner, builder: &Builder, fresh: bool) -> Result<String> {
    let archive = archive(runner, fresh).await?;
    let name = format!("localhost/gadget-drone-base:{}", key());
    if !fresh && builder.has(runner, &name).await? {
        return Ok(name);
    }
    let context = tempfile::tempdir().context("failed to make a directory to build in")?;
    std::fs::copy(&archive, context.path().join("base.tar")).context("failed to copy the drone's base")?;
    let file = context.path().join("Dockerfile");
    std::fs::write(&file, "FROM scratch\nADD base.tar /\n").context("failed to write a Dockerfile")?;
    let recipe =
        Recipe { name: &name, file: &file, context: context.path(), base: None, labels: &[], epoch: EPOCH };
    builder.build(runner, &recipe).await?;
    Ok(name)
}

/// The certificates of the authorities that Debian trusts, from the same packages.
pub(super) async fn certificates(runner: &Runner, to: &Path) -> Result<()> {
    let archive = archive(runner, false).await?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--to-stdout", "--file"]).arg(&archive).arg("./etc/ssl/certs/ca-certificates.crt");
    let text = runner.output(&mut tar).await?;
    std::fs::write(to, text).with_context(|| format!("failed to write {}", to.display()))
}

fn mmdebstrap(made: &Path) -> Command {
    let mut command = Command::new("mmdebstrap");
    command.env("SOURCE_DATE_EPOCH", EPOCH).args(["--quiet", "--variant=minbase"]);
    command.arg(format!("--include={PACKAGES}"));
    for path in LEFT_OUT {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    command.arg(SUITE).arg(made);
    command
}

/// Of all that the base is made from.
fn key() -> String {
    let digest =
        Sha256::digest(format!("{SUITE} {PACKAGES} {LEFT_OUT:?} {EPOCH} {}", std::env::consts::ARCH));
    let hash = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    format!("{SUITE}-{hash}")
}

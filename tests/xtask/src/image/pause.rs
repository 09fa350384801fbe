//! The image of the process that keeps a pod's namespaces, which containerd asks for and which cannot be pulled.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::image::builder::{Builder, Recipe};
use crate::process::Runner;
use crate::workspace;

/// An archive with the image of that name, made once and kept.
pub(crate) async fn pause(runner: &Runner, name: &str) -> Result<PathBuf> {
    let source = workspace::root()?.join("tests/cluster/pause.c");
    let text = std::fs::read(&source).with_context(|| format!("failed to read {}", source.display()))?;
    let digest = Sha256::new().chain_update(name).chain_update(&text).finalize();
    let hash = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let cache = workspace::cache()?;
    let archive = cache.join(format!("pause-{hash}.tar"));
    if archive.is_file() {
        return Ok(archive);
    }
    std::fs::create_dir_all(&cache).with_context(|| format!("failed to create {}", cache.display()))?;
    let building = tempfile::Builder::new()
        .prefix("pause-")
        .tempdir_in(&cache)
        .context("failed to make a directory to build in")?;
    let mut compiler = Command::new("cc");
    compiler.args(["-static", "-Os", "-s", "-o"]).arg(building.path().join("pause")).arg(&source);
    runner.run(&mut compiler).await?;
    let file = building.path().join("Dockerfile");
    let lines = "FROM scratch\nCOPY pause /\nUSER 65535:65535\nENTRYPOINT [\"/pause\"]\n";
    std::fs::write(&file, lines).context("failed to write a Dockerfile")?;
    let recipe =
        Recipe { name, file: &file, context: building.path(), base: None, labels: &[], epoch: "1735689600" };
    let builder = match Builder::require(runner).await? {
        Ok(builder) => builder,
        Err(missing) => bail!(missing),
    };
    builder.build(runner, &recipe).await?;
    let made = building.path().join("pause.tar");
    builder.save(runner, name, &made).await?;
    std::fs::rename(&made, &archive).with_context(|| format!("failed to make {}", archive.display()))?;
    Ok(archive)
}

//! `cargo xtask lint`: everything that can be said about the code without running it.

mod dependencies;
mod licences;
mod size;

use anyhow::{Context, Result, bail};
use cargo_metadata::{Metadata, MetadataCommand};
use tokio::process::Command;
use tokio::time::Instant;

use crate::process::Runner;
use crate::{tools, workspace};

pub(crate) async fn run(runner: &Runner) -> Result<()> {
    let root = workspace::root()?;
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(workspace::cargo());
        command.current_dir(&root).args(arguments);
        command
    };
    step("format", runner.run(&mut cargo(&["fmt", "--all", "--check"])).await)?;
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets"];
    let deny = ["--", "--deny", "warnings"];
    let began = Instant::now();
    step("clippy", runner.run(cargo(&clippy).args(deny)).await)?;
    // What is left out of ordinary builds.
    let features = ["--features", "hub/kube,cli/kube,tests/cluster"];
    step("clippy with Kubernetes", runner.run(cargo(&clippy).args(features).args(deny)).await)?;
    println!("  ({:.0} s)", began.elapsed().as_secs_f64());

    let metadata = metadata()?;
    step("dependencies between crates", none(dependencies::violations(&metadata)))?;
    let rules = licences::Rules::read(&root.join("deny.toml"))?;
    step("licences, bans, sources", none(licences::violations(&metadata, &rules)))?;
    if tools::find_program("cargo-deny").is_some() {
        step("cargo deny", runner.run(&mut cargo(&["deny", "check", "licenses", "bans", "sources"])).await)?;
    }
    step("file sizes", none(size::violations(runner, &root).await?))
}

fn step(name: &str, result: Result<()>) -> Result<()> {
    result.with_context(|| format!("lint {name}"))?;
    println!("{name}: ok");
    Ok(())
}

fn none(violations: Vec<String>) -> Result<()> {
    if !violations.is_empty() {
        bail!("{}", violations.join("\n  "));
    }
    Ok(())
}

/// The workspace and everything that it depends on.
fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .current_dir(workspace::root()?)
        .other_options(["--locked".to_owned()])
        .exec()
        .context("failed to read the workspace's metadata")
}

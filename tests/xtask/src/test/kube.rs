//! The parts `control-plane` and `chart`: tests against a real API server, which is built first.

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::process::Runner;
use crate::test::{Outcome, rust};
use crate::tools::{self, Tool};
use crate::{kube, workspace};

/// What hub and command line have for a cluster.
const FEATURES: &str = "hub/kube,cli/kube";
pub(super) const CONTROL_PLANE: &str = "control_plane";

pub(super) async fn run(runner: &Runner, target: &str) -> Result<Outcome> {
    if let Err(missing) = tools::require(runner, &[Tool::Git]).await? {
        return Ok(Outcome::not_run(missing));
    }
    let kubernetes = match kube::require(runner).await? {
        Ok(directory) => directory,
        Err(missing) => return Ok(Outcome::not_run(missing)),
    };
    build_programs(runner).await?;
    let mut outcome = Outcome::default();
    if target == CONTROL_PLANE {
        outcome.add(unit_tests(runner).await?);
    }
    let programs = workspace::built("gadget-operator")?;
    let programs = programs.parent().context("a program is in a directory")?;
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root()?);
    cargo.args([
        "test",
        "--package",
        "tests",
        "--features",
        "control-plane",
        "--no-fail-fast",
        "--test",
        target,
    ]);
    cargo.env("HELM", kubernetes.join("helm")).env("GADGET_KUBE_BIN", kubernetes);
    cargo.env("GADGET_BIN_DIR", programs);
    outcome.add(rust::count(runner, &mut cargo).await?);
    Ok(outcome)
}

/// Of what `cargo test --workspace` leaves out, because it needs Kubernetes' client.
async fn unit_tests(runner: &Runner) -> Result<Outcome> {
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root()?).args(["test", "--lib", "--no-fail-fast"]);
    cargo.args(["--features", FEATURES, "--package", "hub", "--package", "cli", "--", "kube", "cluster"]);
    rust::count(runner, &mut cargo).await
}

/// Those that the images of a cluster hold, and the plugin of kubectl.
async fn build_programs(runner: &Runner) -> Result<()> {
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root()?).args(["build", "--bins", "--features", FEATURES]);
    for package in ["operator", "hub", "drone", "scripted-model", "cli"] {
        cargo.args(["--package", package]);
    }
    runner.run(&mut cargo).await
}

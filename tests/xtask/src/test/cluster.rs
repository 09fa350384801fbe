//! The part `cluster`: the chart and the images on a real cluster, which is made for it and taken away, or is there.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use tokio::process::Command;

use crate::cluster::{self, Place};
use crate::image::{self, ImageArgs};
use crate::process::Runner;
use crate::test::{Outcome, rust};
use crate::{kube, workspace};

#[derive(Args)]
pub(crate) struct ClusterOptions {
    /// Cluster for the part `cluster`, instead of one that is made on this machine. It has the images, or pulls them
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Where that cluster pulls them from, as the chart's value image.registry
    #[arg(long, value_name = "REGISTRY", default_value = "", requires = "kubeconfig")]
    registry: String,
}

pub(super) async fn run(runner: &Runner, options: &ClusterOptions) -> Result<Outcome> {
    if let Some(kubeconfig) = &options.kubeconfig {
        return match kube::require(runner).await? {
            Ok(programs) => tests(runner, &programs, kubeconfig, &options.registry, None).await,
            Err(missing) => Ok(Outcome::not_run(missing)),
        };
    }
    let place = cluster::scratch().await?;
    if let Err(missing) = cluster::require(runner, &place).await? {
        return Ok(Outcome::not_run(missing));
    }
    if let Err(missing) = image::require(runner, &ImageArgs::default()).await? {
        return Ok(Outcome::not_run(missing));
    }
    if let Err(missing) = kube::require(runner).await? {
        return Ok(Outcome::not_run(missing));
    }
    let outcome = match cluster::up(runner, &place, true).await {
        Ok(up) => tests(runner, &up.programs, &up.kubeconfig, "", Some(&place)).await,
        Err(error) => Err(error),
    };
    cluster::down(&place).await?;
    outcome
}

async fn tests(
    runner: &Runner,
    programs: &Path,
    kubeconfig: &Path,
    registry: &str,
    own: Option<&Place>,
) -> Result<Outcome> {
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root()?).args(["test", "--package", "tests", "--features", "cluster"]);
    cargo.args(["--no-fail-fast", "--test", "cluster"]);
    cargo.env("KUBECONFIG", std::path::absolute(kubeconfig)?).env("GADGET_IMAGE_REGISTRY", registry);
    cargo.env("HELM", programs.join("helm")).env("GADGET_KUBE_BIN", programs);
    // Into whose namespaces the tests may go.
    if let Some(node) = own.and_then(Place::supervisor) {
        cargo.env("GADGET_CLUSTER_NODE", node.to_string());
    }
    rust::count(runner, &mut cargo).await
}

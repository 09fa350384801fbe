//! The part `cluster`: the chart and the images on a real cluster, which is made for it and taken away, or is there.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::process::Command;

use crate::cluster::{self, Place};
use crate::image::{self, ImageArgs};
use crate::node::Node;
use crate::process::Runner;
use crate::test::{Outcome, rust};
use crate::tools::{self, Tool};
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
    if let Err(missing) = tools::require(runner, &[Tool::Tmux]).await? {
        return Ok(Outcome::not_run(missing));
    }
    if let Some(kubeconfig) = &options.kubeconfig {
        let own = Place::of(kubeconfig)?;
        let target = Target { kubeconfig, registry: &options.registry, own: own.as_ref() };
        return match Programs::require(runner).await? {
            Ok(programs) => tests(runner, &programs, &target).await,
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
    let programs = match Programs::require(runner).await? {
        Ok(programs) => programs,
        Err(missing) => return Ok(Outcome::not_run(missing)),
    };
    let outcome = match cluster::up(runner, &place, true).await {
        Ok(up) => {
            let target = Target { kubeconfig: &up.kubeconfig, registry: "", own: Some(&place) };
            tests(runner, &programs, &target).await
        }
        Err(error) => Err(error),
    };
    cluster::down(&place).await?;
    outcome
}

/// What the tests call.
struct Programs {
    /// The directory of those of Kubernetes.
    kube: PathBuf,
    node: PathBuf,
    /// Static: it runs in a pod.
    scripted_model: PathBuf,
}

impl Programs {
    /// Says what is missing.
    async fn require(runner: &Runner) -> Result<Result<Self, String>> {
        let kube = match kube::require(runner).await? {
            Ok(kube) => kube,
            Err(missing) => return Ok(Err(missing)),
        };
        let node = match Node::require(runner).await? {
            Ok(node) => node,
            Err(missing) => return Ok(Err(missing)),
        };
        if let Err(missing) = image::require_programs(runner).await? {
            return Ok(Err(missing));
        }
        let root = workspace::root()?;
        node.install(runner, &root.join("tests/ide")).await?;
        let scripted_model = image::scripted_model(runner, &root).await?;
        Ok(Ok(Self { kube, node: node.program().to_owned(), scripted_model }))
    }
}

struct Target<'a> {
    kubeconfig: &'a Path,
    registry: &'a str,
    /// Where it is, if `cargo xtask cluster` made it.
    own: Option<&'a Place>,
}

async fn tests(runner: &Runner, programs: &Programs, target: &Target<'_>) -> Result<Outcome> {
    let Programs { kube, node, scripted_model } = programs;
    let Target { kubeconfig, registry, own } = target;
    let mut plugin = Command::new(workspace::cargo());
    plugin.current_dir(workspace::root()?).args(["build", "--package", "cli", "--features", "cli/kube"]);
    runner.run(plugin.args(["--bin", "kubectl-gadget"])).await?;
    let plugin = workspace::built("kubectl-gadget")?;
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root()?).args(["test", "--package", "tests", "--features", "cluster"]);
    cargo.env("GADGET_BIN_DIR", plugin.parent().context("a program is in a directory")?);
    cargo.args(["--no-fail-fast", "--test", "cluster"]);
    cargo.env("KUBECONFIG", std::path::absolute(kubeconfig)?).env("GADGET_IMAGE_REGISTRY", registry);
    cargo.env("HELM", kube.join("helm")).env("GADGET_KUBE_BIN", kube);
    cargo.env("NODE_BIN", node).env("SCRIPTED_MODEL_BIN", scripted_model);
    // Into whose namespaces the tests may go, and whose programs they may kill.
    if let Some(node) = own.and_then(Place::supervisor) {
        cargo.env("GADGET_CLUSTER_NODE", node.to_string());
    }
    rust::count(runner, &mut cargo).await
}

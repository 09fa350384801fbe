//! `cargo xtask bench`: the release build of the benches, with the peers that they are compared with.

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::node::Node;
use crate::process::Runner;
use crate::{agent_sandbox, cluster, kube, workspace};

/// The bench that runs on a real API server.
const CONTROL_PLANE: &str = "control-plane";
/// The bench that runs in real pods.
const CLUSTER: &str = "cluster";

pub(crate) async fn run(runner: &Runner, names: &[String], check: bool) -> Result<()> {
    let root = workspace::root()?;
    let is_wanted = |which: &str| names.is_empty() || names.iter().any(|name| name == which);
    let (with_control_plane, with_cluster) = (is_wanted(CONTROL_PLANE), is_wanted(CLUSTER));
    if names.is_empty() || names.iter().any(|name| ![CONTROL_PLANE, CLUSTER].contains(&name.as_str())) {
        let node = Node::require(runner).await?.map_err(missing)?;
        node.install(runner, &root.join("tests/bench/peer")).await?;
    }
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(workspace::cargo());
        command.current_dir(&root).args(arguments);
        command
    };
    // The benches start the programs as they are released.
    let mut packages = vec!["--package", "cli", "--package", "drone", "--package", "tests"];
    if with_control_plane {
        packages.extend(["--package", "operator", "--features", "tests/control-plane"]);
    }
    if with_cluster {
        packages.extend(["--features", "tests/cluster"]);
    }
    println!("building the programs and the benches (release)");
    runner.run(&mut cargo(&[&["build", "--release", "--quiet", "--bins"], &packages[..]].concat())).await?;
    let target = workspace::built("bench")?;
    let target = target.ancestors().nth(2).context("this program is in no target directory")?;
    let programs = target.join("release");
    let mut bench = Command::new(programs.join("bench"));
    bench.current_dir(&root).args(names);
    if with_control_plane || with_cluster {
        let kube = kube::require(runner).await?.map_err(missing)?;
        bench.env("HELM", kube.join("helm")).env("GADGET_KUBE_BIN", kube);
    }
    if with_control_plane {
        bench.env("GADGET_BIN_DIR", &programs);
        bench.env("GADGET_AGENT_SANDBOX", agent_sandbox::require(runner).await?.map_err(missing)?);
    }
    if check {
        bench.arg("--check");
    }
    if !with_cluster {
        return runner.run(&mut bench).await;
    }
    let place = cluster::scratch().await?;
    let outcome = match cluster::up(runner, &place, true).await {
        Ok(up) => runner.run(bench.env("KUBECONFIG", up.kubeconfig).env("GADGET_IMAGE_REGISTRY", "")).await,
        Err(error) => Err(error),
    };
    cluster::down(&place).await?;
    outcome
}

fn missing(what: String) -> anyhow::Error {
    anyhow::anyhow!("the peer of the benches cannot run: {what}")
}

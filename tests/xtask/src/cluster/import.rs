//! Loads images into the cluster: nothing is pulled.

use std::path::Path;

use anyhow::Result;
use tokio::process::Command;

use crate::cluster::place::Place;
use crate::process::Runner;

pub(super) async fn archive(runner: &Runner, place: &Place, archive: &Path) -> Result<()> {
    let mut command = ctr(place);
    command.args(["images", "import"]).arg(archive);
    runner.output(&mut command).await.map(drop)
}

/// Whether containerd answers.
pub(super) async fn answers(runner: &Runner, place: &Place) -> bool {
    let mut command = ctr(place);
    command.arg("version").stderr(std::process::Stdio::null());
    runner.output(&mut command).await.is_ok()
}

fn ctr(place: &Place) -> Command {
    let mut command = Command::new("ctr");
    // The namespace in which Kubernetes looks.
    command.arg("--address").arg(place.socket()).args(["--namespace", "k8s.io"]);
    command
}

//! What a machine must have and allow before a cluster can be made on it.

use std::process::Stdio;

use anyhow::Result;
use tokio::process::Command;

use crate::cluster::place::Place;
use crate::process::Runner;
use crate::tools::{self, Tool};

const TOOLS: [Tool; 6] = [Tool::Containerd, Tool::Runc, Tool::Nft, Tool::Ip, Tool::Unshare, Tool::Cni];

/// Says what is missing, and what for.
pub(crate) async fn check(runner: &Runner, place: &Place) -> Result<Result<(), String>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Err("a cluster needs root, for namespaces, mounts and control groups".to_owned()));
    }
    if let Err(missing) = tools::require(runner, &TOOLS).await? {
        return Ok(Err(missing));
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--net", "--pid", "--fork", "--mount-proc", "true"]).stderr(Stdio::null());
    if runner.run(&mut unshare).await.is_err() {
        return Ok(Err(
            "a cluster needs mount, network and process namespaces, which this machine refuses (unshare)"
                .to_owned(),
        ));
    }
    let groups = place.control_groups();
    if groups.is_empty() {
        return Ok(Err("a cluster needs control groups, and /sys/fs/cgroup has none".to_owned()));
    }
    for group in groups {
        if group.is_dir() {
            continue;
        }
        let made = std::fs::create_dir(&group).and_then(|()| std::fs::remove_dir(&group));
        if let Err(error) = made {
            return Ok(Err(format!("a cluster needs control groups; {} failed: {error}", group.display())));
        }
    }
    Ok(Ok(()))
}

//! What the supervisor finds around itself, once it has made it: mounts and a network of the cluster's own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::cluster::place::{FIXED, Place};

/// Bounds of the whole machine that the kubelet sets as it likes them. It gets files to write to.
const TUNED: [&str; 6] = [
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/kernel/keys/root_maxkeys",
    "/proc/sys/kernel/keys/root_maxbytes",
];
const PATIENCE: Duration = Duration::from_secs(20);

/// Called once, as the first process of new namespaces.
pub(super) async fn set(place: &Place) -> Result<()> {
    ensure!(std::process::id() == 1, "this is started by `cargo xtask cluster up`, in namespaces of its own");
    // Volumes that the kubelet mounts are seen by containerd and its containers, and by nobody outside.
    call("mount", &["--make-rshared", "/"]).await?;
    for fixed in FIXED {
        bind(&place.instead_of(fixed), Path::new(fixed)).await?;
    }
    for tuned in TUNED {
        let tuned = Path::new(tuned);
        if let Ok(text) = std::fs::read_to_string(tuned) {
            let instead = place.instead_of(&tuned.to_string_lossy());
            std::fs::write(&instead, text).context("failed to write what stands for a kernel's setting")?;
            bind(&instead, tuned).await?;
        }
    }
    call("ip", &["link", "set", "lo", "up"]).await?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("failed to let the node route")?;
    let node = place.node_address();
    tokio::time::timeout(PATIENCE, has_address(&node))
        .await
        .with_context(|| format!("the node did not get the address {node}"))?
}

/// `up` makes the link from outside.
async fn has_address(address: &str) -> Result<()> {
    let wanted = format!("inet {address}/");
    loop {
        let output = Command::new("ip").args(["-4", "address", "show", "up"]).output().await?;
        if String::from_utf8_lossy(&output.stdout).contains(&wanted) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn bind(from: &Path, to: &Path) -> Result<()> {
    call("mount", &["--bind", &from.to_string_lossy(), &to.to_string_lossy()]).await
}

async fn call(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .await
        .with_context(|| format!("failed to start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {} failed: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}

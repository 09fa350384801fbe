//! What of a cluster runs.

use std::path::Path;

use anyhow::Result;
use tokio::process::Command;

use crate::cluster::component;
use crate::cluster::place::Place;
use crate::kube;
use crate::process::Runner;

pub(super) async fn print(runner: &Runner, place: &Place) -> Result<()> {
    let Some(supervisor) = place.supervisor() else {
        println!("no cluster runs in {}", place.directory().display());
        return Ok(());
    };
    println!("{:<24} {:>8} {:>8}", "program", "pid", "MB");
    println!("{:<24} {supervisor:>8} {:>8}", "supervisor", resident(supervisor));
    for component in component::all(place, Path::new("")) {
        match child(supervisor, component.name) {
            Some(pid) => println!("{:<24} {pid:>8} {:>8}", component.name, resident(pid)),
            None => println!("{:<24} {:>8}", component.name, "-"),
        }
    }
    let Ok(programs) = kube::require(runner).await? else { return Ok(()) };
    let mut kubectl = Command::new(programs.join("kubectl"));
    kubectl.arg("--kubeconfig").arg(place.kubeconfig());
    runner.run(kubectl.args(["get", "nodes,pods", "--all-namespaces", "--output=wide"])).await
}

/// The program of that name which the supervisor started, by its number outside of the cluster.
fn child(supervisor: i32, name: &str) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).ok()?;
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid: &i32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
        Path::new(&*String::from_utf8_lossy(program)).ends_with(name)
    })
}

/// Megabytes of memory.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse().ok()).unwrap_or(0_u64) / 1000
}

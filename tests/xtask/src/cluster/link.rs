//! The link between the machine and the node: the one interface outside of the cluster's namespaces. It goes with them.

use anyhow::Result;
use tokio::process::Command;

use crate::cluster::place::Place;
use crate::process::Runner;

/// The node's end in the network namespace of `pid`, with its address; the supervisor waits for that.
pub(super) async fn make(runner: &Runner, place: &Place, pid: i32) -> Result<()> {
    let (name, pid) = (place.id(), pid.to_string());
    let (host, node) = (format!("{}/30", place.host_address()), format!("{}/30", place.node_address()));
    ip(runner, &["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &pid]).await?;
    ip(runner, &["address", "add", &host, "dev", &name]).await?;
    ip(runner, &["link", "set", &name, "up"]).await?;
    let inside = async |arguments: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--net", "ip"]).args(arguments);
        runner.run(&mut command).await
    };
    inside(&["link", "set", "eth0", "up"]).await?;
    // The default route is the one by which programs choose the node's own address.
    inside(&["address", "add", &node, "dev", "eth0"]).await?;
    inside(&["route", "add", "default", "via", &place.host_address()]).await
}

async fn ip(runner: &Runner, arguments: &[&str]) -> Result<()> {
    runner.run(Command::new("ip").args(arguments)).await
}

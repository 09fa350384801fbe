//! `cargo xtask bench`: the release build of the benches, with the JavaScript peer that they are compared with.

use anyhow::{Result, bail};
use tokio::process::Command;

use crate::node::Node;
use crate::process::Runner;
use crate::workspace;

pub(crate) async fn run(runner: &Runner, names: &[String], check: bool) -> Result<()> {
    let root = workspace::root()?;
    let node = match Node::require(runner).await? {
        Ok(node) => node,
        Err(missing) => bail!("the peer of the benches cannot run: {missing}"),
    };
    node.install(runner, &root.join("tests/bench/peer")).await?;
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(workspace::cargo());
        command.current_dir(&root).args(arguments);
        command
    };
    // The benches start both programs as they are released.
    println!("building gadget, gadget-drone and the benches (release)");
    let programs = ["--package", "cli", "--package", "drone", "--package", "tests", "--bins"];
    runner.run(&mut cargo(&[&["build", "--release", "--quiet"], &programs[..]].concat())).await?;
    let mut bench = cargo(&["run", "--release", "--quiet", "--package", "tests", "--bin", "bench", "--"]);
    bench.args(names);
    if check {
        bench.arg("--check");
    }
    runner.run(&mut bench).await
}

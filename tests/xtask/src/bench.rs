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
    let mut bench = Command::new(workspace::cargo());
    bench.current_dir(&root).args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "tests",
        "--bin",
        "bench",
        "--",
    ]);
    bench.args(names);
    if check {
        bench.arg("--check");
    }
    runner.run(&mut bench).await
}

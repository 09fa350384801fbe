//! The parts `ide` and `page`: Node's test runner over the files in `tests/ide`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::node::Node;
use crate::process::Runner;
use crate::test::{Outcome, rust};
use crate::tools::{self, Tool};
use crate::workspace;

/// The official client drives a running hub.
pub(super) async fn ide(runner: &Runner) -> Result<Outcome> {
    run(runner, "", &[Tool::Git]).await
}

/// A real browser shows the page.
pub(super) async fn page(runner: &Runner) -> Result<Outcome> {
    run(runner, "page", &[Tool::Git, Tool::Chromium]).await
}

async fn run(runner: &Runner, folder: &str, needs: &[Tool]) -> Result<Outcome> {
    if let Err(missing) = tools::require(runner, needs).await? {
        return Ok(Outcome::not_run(missing));
    }
    let node = match Node::require(runner).await? {
        Ok(node) => node,
        Err(missing) => return Ok(Outcome::not_run(missing)),
    };
    let directory = workspace::root()?.join("tests/ide");
    node.install(runner, &directory).await?;
    rust::build_programs(runner).await?;

    let scratch = tempfile::tempdir().context("failed to make a temporary directory")?;
    let protocol = scratch.path().join("results.tap");
    let mut command = node.command(&directory);
    command.env("GADGET_BIN", workspace::built("gadget")?);
    command.env("SCRIPTED_MODEL_BIN", workspace::built("scripted-model")?);
    if let Some(chromium) = Tool::Chromium.find() {
        command.env("CHROMIUM_BIN", chromium);
    }
    command.args([
        "--test",
        "--test-reporter=spec",
        "--test-reporter-destination=stdout",
        "--test-reporter=tap",
    ]);
    command.arg(format!("--test-reporter-destination={}", protocol.display()));
    command.args(test_files(&directory.join(folder))?);
    let status = runner.lines(&mut command, |line| println!("{line}")).await?;
    let results = std::fs::read_to_string(&protocol).unwrap_or_default();
    let mut outcome = read_tap(&results);
    if !status.success() && outcome.failed == 0 {
        outcome.failed = 1;
    }
    Ok(outcome)
}

fn test_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("failed to read {}", directory.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".test.mjs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The counts at the end of a TAP report of Node's test runner.
fn read_tap(text: &str) -> Outcome {
    let count = |what: &str| -> u64 {
        text.lines().rev().find_map(|line| line.strip_prefix(what)?.trim().parse().ok()).unwrap_or_default()
    };
    let skipped = count("# skipped ") + count("# todo ");
    Outcome {
        passed: count("# pass "),
        failed: count("# fail ") + count("# cancelled "),
        not_run: (skipped > 0).then(|| format!("{skipped} are marked as skipped")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_node_s_test_runner_are_read() {
        let text = "TAP version 13\nok 1 - a\n# fail 7 times\n1..3\n# tests 6\n# pass 3\n# fail 1\n# cancelled 1\n# skipped 1\n# todo 0\n";
        let expected = Outcome { passed: 3, failed: 2, not_run: Some("1 are marked as skipped".to_owned()) };
        assert_eq!(read_tap(text), expected);
        assert_eq!(read_tap(""), Outcome::default());
    }
}

//! The part `rust`: `cargo test` over the whole workspace.

use anyhow::Result;
use tokio::process::Command;

use crate::process::Runner;
use crate::test::Outcome;
use crate::tools::{self, Tool};
use crate::workspace;

pub(super) async fn run(runner: &Runner) -> Result<Outcome> {
    if let Err(missing) = tools::require(runner, &[Tool::Git]).await? {
        return Ok(Outcome::not_run(missing));
    }
    build_programs(runner).await?;
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root()?).args(["test", "--workspace", "--no-fail-fast"]);
    count(runner, &mut cargo).await
}

/// Runs `cargo test` and counts what came of it.
pub(super) async fn count(runner: &Runner, cargo: &mut Command) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut ignored = 0;
    let status = runner
        .lines(cargo, |line| {
            println!("{line}");
            if let Some(counts) = Counts::parse(line) {
                outcome.passed += counts.passed;
                outcome.failed += counts.failed;
                ignored += counts.ignored;
            }
        })
        .await?;
    if !status.success() && outcome.failed == 0 {
        println!("a test program did not build or did not end by itself ({status})");
        outcome.failed = 1;
    }
    if ignored > 0 {
        outcome.not_run = Some(format!("{ignored} are marked #[ignore]"));
    }
    Ok(outcome)
}

/// Builds the programs that the tests start.
pub(super) async fn build_programs(runner: &Runner) -> Result<()> {
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(workspace::root()?).args([
        "build",
        "--package",
        "cli",
        "--package",
        "scripted-model",
        "--bins",
    ]);
    runner.run(&mut cargo).await
}

#[derive(Debug, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Reads `test result: ok. 20 passed; 0 failed; 0 ignored; …`.
    fn parse(line: &str) -> Option<Self> {
        let (_verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim_end().parse::<u64>().ok())
        };
        Some(Self { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_s_result_line_is_read() {
        let line = "test result: FAILED. 17 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 22.66s";
        assert_eq!(Counts::parse(line), Some(Counts { passed: 17, failed: 3, ignored: 1 }));
        assert_eq!(Counts::parse("test messages::order ... ok"), None);
        assert_eq!(Counts::parse("test result: unheard of"), None);
    }
}

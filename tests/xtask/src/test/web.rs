//! The part `web`: the page's own tests, and whether its committed build is fresh.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::generate;
use crate::node::Node;
use crate::process::Runner;
use crate::test::Outcome;

pub(super) async fn run(runner: &Runner) -> Result<Outcome> {
    let node = match Node::require(runner).await? {
        Ok(node) => node,
        Err(missing) => return Ok(Outcome::not_run(missing)),
    };
    let mut outcome = unit_tests(runner, &node).await?;
    let web = generate::web_directory()?;
    let built = generate::build_page(runner, &node, &web).await?;
    let differences = generate::differences(built.path(), &web.join("dist"))?;
    if differences.is_empty() {
        outcome.passed += 1;
    } else {
        println!(
            "web: hub/web/dist is stale ({}); run `cargo xtask generate` and commit",
            differences.join(", ")
        );
        outcome.failed += 1;
    }
    Ok(outcome)
}

async fn unit_tests(runner: &Runner, node: &Node) -> Result<Outcome> {
    let web = generate::web_directory()?;
    node.install(runner, &web).await?;
    let scratch = tempfile::tempdir().context("failed to make a temporary directory")?;
    let results = scratch.path().join("results.json");
    let mut command = node.npm(&web);
    command.args(["test", "--silent", "--", "--reporter=default", "--reporter=json"]);
    command.arg(format!("--outputFile={}", results.display()));
    let status = runner.lines(&mut command, |line| println!("{line}")).await?;
    let text = std::fs::read_to_string(&results).context("the page's test runner left no results")?;
    let mut outcome = read_results(&text)?;
    if !status.success() && outcome.failed == 0 {
        outcome.failed = 1;
    }
    Ok(outcome)
}

fn read_results(text: &str) -> Result<Outcome> {
    #[derive(Deserialize)]
    struct Results {
        #[serde(rename = "numPassedTests")]
        passed: u64,
        #[serde(rename = "numFailedTests")]
        failed: u64,
        #[serde(rename = "numPendingTests")]
        pending: u64,
    }
    let Results { passed, failed, pending } =
        serde_json::from_str(text).context("failed to read the page's test results")?;
    let not_run = (pending > 0).then(|| format!("{pending} are marked as skipped"));
    Ok(Outcome { passed, failed, not_run })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_the_page_s_test_runner_are_read() {
        let text = r#"{"numTotalTests":3,"numPassedTests":2,"numFailedTests":1,"numPendingTests":0}"#;
        assert_eq!(read_results(text).unwrap(), Outcome { passed: 2, failed: 1, not_run: None });
    }
}

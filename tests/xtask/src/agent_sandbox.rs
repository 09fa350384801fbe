//! The controller that Gadget's operator is measured beside, with the definitions of its resources.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::go::{self, Programs};
use crate::process::Runner;

const VERSION: &str = "0.5.6";
const MODULE: &str = "sigs.k8s.io/agent-sandbox";
const PROGRAM: &str = "agent-sandbox-controller";
/// Beside the program, and in the module's `k8s`.
const DEFINITIONS: &str = "crds";

/// The directory with the program and `crds`, built first where it is not there. Otherwise says what is missing.
pub(crate) async fn require(runner: &Runner) -> Result<Result<PathBuf, String>> {
    go::require(runner, &AgentSandbox).await
}

struct AgentSandbox;

impl Programs for AgentSandbox {
    fn title(&self) -> String {
        format!("agent-sandbox {VERSION}")
    }

    fn file_name(&self) -> String {
        format!("agent-sandbox-{VERSION}")
    }

    fn source(&self) -> &'static str {
        "tests/bench/agent-sandbox"
    }

    fn patience(&self) -> &'static str {
        "2 to 4 minutes"
    }

    async fn build(&self, runner: &Runner, source: &Path, directory: &Path) -> Result<()> {
        let package = format!("{MODULE}/cmd/{PROGRAM}");
        runner.run(&mut go::build(source, "", &directory.join(PROGRAM), &package)).await?;
        let mut list = Command::new("go");
        list.current_dir(source).args(["list", "-m", "-f", "{{.Dir}}", MODULE]);
        let module = PathBuf::from(runner.output(&mut list).await?.trim());
        let to = directory.join(DEFINITIONS);
        std::fs::create_dir(&to).with_context(|| format!("failed to make {}", to.display()))?;
        let from = module.join("k8s").join(DEFINITIONS);
        for file in std::fs::read_dir(&from).with_context(|| format!("failed to read {}", from.display()))? {
            let file = file?;
            let text = std::fs::read(file.path())?;
            std::fs::write(to.join(file.file_name()), text)
                .with_context(|| format!("failed to write into {}", to.display()))?;
        }
        Ok(())
    }

    async fn works(&self, runner: &Runner, directory: &Path) -> bool {
        directory.join(DEFINITIONS).is_dir()
            && runner.output(Command::new(directory.join(PROGRAM)).arg("--version")).await.is_ok()
    }
}

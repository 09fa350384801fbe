//! The node of a cluster that `cargo xtask cluster` made. Tests enter its network, and kill its programs, which its supervisor
//! starts again.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;

use tests::release::until;

pub(crate) struct OwnNode {
    /// The supervisor's number.
    supervisor: String,
}

impl OwnNode {
    /// Another cluster has none that we may touch.
    pub(crate) fn find() -> Option<Self> {
        std::env::var("GADGET_CLUSTER_NODE").ok().map(|supervisor| Self { supervisor })
    }

    /// A program of this machine in the node's network.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.supervisor, "--net", name]).kill_on_drop(true);
        command
    }

    /// What is mounted there.
    pub(crate) fn mounts(&self) -> Result<String> {
        let path = format!("/proc/{}/mountinfo", self.supervisor);
        std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))
    }

    /// Kills a program, and waits until another process runs it.
    pub(crate) async fn restart(&self, program: &str) -> Result<()> {
        let before = self.child(program).with_context(|| format!("no {program} runs"))?;
        kill(before, Signal::SIGKILL).with_context(|| format!("failed to kill {program}"))?;
        until(program, async || Ok(self.child(program).filter(|now| *now != before).map(drop))).await
    }

    fn child(&self, program: &str) -> Option<Pid> {
        let supervisor = &self.supervisor;
        let children =
            std::fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).ok()?;
        let is_it = |pid: &i32| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let name = command.split(|byte| *byte == 0).next().unwrap_or_default();
            Path::new(&*String::from_utf8_lossy(name)).ends_with(program)
        };
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_it).map(Pid::from_raw)
    }
}

/// Past the test's own output, which nobody sees when it passes.
pub(crate) fn not_here(why: &str) -> Result<()> {
    writeln!(std::io::stderr(), "not shown in this cluster: {why}")?;
    Ok(())
}

//! The drone as a process of its own, that can be killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::hub::DEADLINE;

const PROGRAM: &str = env!("CARGO_BIN_EXE_gadget-drone");

/// How many were started, to tell their words apart.
static STARTED: AtomicU64 = AtomicU64::new(0);

pub(crate) struct DroneProcess {
    child: Child,
    /// What it says on standard error.
    words: PathBuf,
}

impl DroneProcess {
    pub(crate) fn start(workspace: &Path, hub: &str, token_file: &Path, more: &[&str]) -> Self {
        Self::start_as(Command::new(PROGRAM), workspace, hub, token_file, more)
    }

    /// No file that it writes can grow beyond so many bytes, as if the disk were full.
    pub(crate) fn start_on_full_disk(workspace: &Path, hub: &str, token_file: &Path, bytes: usize) -> Self {
        let mut shell = Command::new("bash");
        let limit = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 1024);
        shell.args(["-c", &limit, PROGRAM]);
        Self::start_as(shell, workspace, hub, token_file, &[])
    }

    fn start_as(mut program: Command, workspace: &Path, hub: &str, token_file: &Path, more: &[&str]) -> Self {
        // Beside the token, not in the workspace.
        let words = token_file.with_file_name(format!("stderr-{}", STARTED.fetch_add(1, Ordering::Relaxed)));
        let child = program
            .arg("run")
            .arg("--workspace")
            .arg(workspace)
            .args(["--hub", hub, "--registration", "drone-1", "--token-file"])
            .arg(token_file)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&words).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, words }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().unwrap().try_into().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Dead when this returns.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) async fn ended(&mut self) -> (ExitStatus, String) {
        let status = tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("the drone does not end");
        (status.unwrap(), self.words())
    }

    /// What it has said on standard error.
    pub(crate) fn words(&self) -> String {
        std::fs::read_to_string(&self.words).unwrap_or_default()
    }
}

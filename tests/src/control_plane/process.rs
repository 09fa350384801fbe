//! Programs that never outlive the test, whatever ends it.
//!
//! A small shell leads a process group and reads a pipe that this process holds open. When this process ends, even by
//! SIGKILL, the pipe closes and the shell kills the group. (A signal at the parent's death would come when the *thread*
//! that started the program ends, which is too early for a control plane that several tests share.)

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::deadline::within;

/// Between two looks whether a program has ended.
const LOOK: Duration = Duration::from_millis(5);

const KILL: &str = "read _; kill -KILL 0";
/// As soon as nobody writes to the directory any more. Processes that ended may be listed for a while, so it does not
/// wait for ever.
const CLEAN: &str = "read _; \
    for try in $(seq 100); do kill -0 -- -$2 2>/dev/null || break; sleep 0.02; done; rm -rf -- \"$1\"";

/// Kills the group when this process ends, and removes its directory. Lives as long as the processes that are started
/// under it.
#[derive(Debug)]
pub struct Guard {
    /// Leads the group. Its stdin is the pipe.
    shell: Child,
    /// In a group of its own, or it would be killed before it is done.
    cleaner: Child,
}

impl Guard {
    /// `directory` is removed when the processes are gone, unless somebody else has done so.
    pub fn start(directory: &Path) -> Result<Self> {
        let mut shell = Command::new("sh");
        let shell = waiting(shell.args(["-c", KILL]))?;
        let mut cleaner = Command::new("sh");
        cleaner.args(["-c", CLEAN, "sh"]).arg(directory).arg(shell.id().to_string());
        let cleaner = waiting(&mut cleaner)?;
        Ok(Self { shell, cleaner })
    }

    pub(super) fn group(&self) -> Result<i32> {
        Ok(i32::try_from(self.shell.id())?)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        for child in [&mut self.shell, &mut self.cleaner] {
            drop(child.stdin.take());
            let _ended = child.wait();
        }
    }
}

fn waiting(shell: &mut Command) -> Result<Child> {
    let shell = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    shell.spawn().context("failed to start the guard of the control plane")
}

/// A running program whose output is in a file. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Output is appended to `log`.
    pub fn start(guard: &Guard, name: &str, mut command: Command, log: PathBuf) -> Result<Self> {
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("failed to open {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(guard.group()?)
            .spawn()
            .with_context(|| format!("failed to start {name}"))?;
        Ok(Self { name: name.to_owned(), log, child })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    /// `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("failed to look at {}", self.name))
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("failed to kill {}", self.name))?;
        self.child.wait().with_context(|| format!("failed to wait for {}", self.name))?;
        Ok(())
    }

    /// A signal; one that has ended already is fine.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended()?.is_none() {
            kill(self.pid()?, signal).with_context(|| format!("failed to signal {}", self.name))?;
        }
        Ok(())
    }

    pub async fn wait(&mut self) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        let ended = async {
            loop {
                if let Some(status) = self.ended()? {
                    return Ok(status);
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        within(&what, ended).await?
    }

    /// The end of what it has written, for the message of a test that fails.
    pub fn complaints(&self) -> String {
        tail(&self.log)
    }

    /// All that it has written.
    pub fn output(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).with_context(|| format!("failed to read {}", self.log.display()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn tail(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

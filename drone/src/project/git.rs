//! The git command, called so that it never asks, never hangs, runs nobody's hooks and speaks only known protocols.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Status;
use super::progress::Progress;

/// What git may speak for a repository that lies on this machine.
pub(super) const LOCAL_PROTOCOLS: &str = "https:http:ssh:git:file";
/// The same for one from elsewhere: its submodules have no business with what lies on this machine.
pub(super) const REMOTE_PROTOCOLS: &str = "https:http:ssh:git";

/// Kept of what git prints.
const STDOUT: usize = 4 * 1024 * 1024;
const STDERR: usize = 16 * 1024;
/// A helper that outlives git may keep its outputs open.
const DRAIN: Duration = Duration::from_millis(500);
/// Between asking git to end and ending it. It removes its lock files meanwhile.
const GRACE: Duration = Duration::from_millis(500);

/// Handed on to git from the drone.
const ALLOWED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSH_AUTH_SOCK",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "ALL_PROXY",
    "all_proxy",
];

/// Settings that hold whatever the machine, the user or the repository says.
const CONFIGURATION: &[&str] = &[
    // Hooks and monitors of the repository would run outside the sandbox of the agent that can write them.
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    // The workspace may belong to another user id than the one that the container runs as.
    "safe.directory=*",
    "init.defaultBranch=main",
    "gc.auto=0",
    "maintenance.auto=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "credential.useHttpPath=true",
];

/// Git in a directory.
pub(super) struct Git<'a> {
    pub(super) directory: &'a Path,
    /// No repository is looked for above it.
    pub(super) workspace: &'a Path,
    /// Variables besides the usual ones.
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) protocols: &'static str,
    pub(super) cancel: &'a CancellationToken,
}

/// Why a git command did not do it.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git is not installed, or cannot be started")]
    Start { source: std::io::Error },
    #[error("git {command} failed{}", code.map_or_else(|| " by a signal".to_owned(), |code| format!(" with exit code {code}")))]
    Failed {
        command: String,
        code: Option<i32>,
        /// The end of what it said.
        stderr: String,
    },
    #[error("git {command} took longer than {} s", limit.as_secs())]
    TimedOut { command: String, limit: Duration },
    #[error("it was stopped")]
    Cancelled,
    #[error("failed to wait for git")]
    Wait { source: std::io::Error },
}

impl Git<'_> {
    /// Runs a command and gives what it printed.
    pub(super) async fn run(&self, arguments: &[&str], limit: Duration) -> Result<String, GitError> {
        self.run_showing(arguments, limit, &|_| {}).await
    }

    /// The same with progress for a person.
    pub(super) async fn run_showing(
        &self,
        arguments: &[&str],
        limit: Duration,
        status: Status<'_>,
    ) -> Result<String, GitError> {
        self.execute(self.command(arguments), arguments, limit, status).await
    }

    /// With the configuration of the user of this machine, as the agent's own git has it.
    pub(super) async fn run_as_user(&self, arguments: &[&str], limit: Duration) -> Result<String, GitError> {
        let mut command = self.command(arguments);
        command.env_remove("GIT_CONFIG_GLOBAL");
        self.execute(command, arguments, limit, &|_| {}).await
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        for setting in CONFIGURATION {
            command.args(["-c", setting]);
        }
        command
            .args(arguments)
            .current_dir(self.directory)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| ALLOWED.iter().any(|allowed| name == *allowed)))
            .envs(self.environment)
            .env("LC_ALL", "C.UTF-8")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CEILING_DIRECTORIES", self.workspace)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", self.protocols)
            .env(
                "GIT_SSH_COMMAND",
                "ssh -o BatchMode=yes -o ConnectTimeout=20 -o StrictHostKeyChecking=accept-new",
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    async fn execute(
        &self,
        mut command: Command,
        arguments: &[&str],
        limit: Duration,
        status: Status<'_>,
    ) -> Result<String, GitError> {
        let name = || (*arguments.first().unwrap_or(&"")).to_owned();
        if self.cancel.is_cancelled() {
            return Err(GitError::Cancelled);
        }
        let mut child = command.spawn().map_err(|source| GitError::Start { source })?;
        let (mut printed, mut said) = (Vec::new(), Vec::new());
        let outputs = (child.stdout.take(), child.stderr.take());
        let ended = {
            let reading = async {
                tokio::join!(read_all(outputs.0, &mut printed), read_lines(outputs.1, &mut said, status));
            };
            tokio::pin!(reading);
            tokio::select! {
                ended = wait_reading(&mut child, &mut reading) => {
                    ended.map_err(|source| GitError::Wait { source })?
                }
                () = self.cancel.cancelled() => {
                    end(&mut child).await?;
                    return Err(GitError::Cancelled);
                }
                () = sleep(limit) => {
                    end(&mut child).await?;
                    return Err(GitError::TimedOut { command: name(), limit });
                }
            }
        };
        if ended.success() {
            return Ok(String::from_utf8_lossy(&printed).into_owned());
        }
        let stderr = String::from_utf8_lossy(&said).into_owned();
        Err(GitError::Failed { command: name(), code: ended.code(), stderr })
    }
}

/// Waits for git and, for a moment longer, for what it has printed.
async fn wait_reading(
    child: &mut Child,
    reading: &mut (impl Future<Output = ()> + Unpin),
) -> std::io::Result<ExitStatus> {
    tokio::select! {
        ended = child.wait() => {
            // What a helper holds open for longer is not worth waiting for.
            let _still_open = timeout(DRAIN, reading).await;
            ended
        }
        () = &mut *reading => child.wait().await,
    }
}

/// Ends git and the helpers that it has started.
async fn end(child: &mut Child) -> Result<(), GitError> {
    let signal = |signal| {
        if let Some(pid) = child.id() {
            // It may have ended by itself.
            let _gone = killpg(Pid::from_raw(pid.cast_signed()), signal);
        }
    };
    signal(Signal::SIGTERM);
    let pid = child.id();
    let ended = timeout(GRACE, child.wait()).await;
    if let Some(pid) = pid {
        // Helpers of its group that did not listen; the number is theirs as long as one is left.
        let _gone = killpg(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }
    match ended {
        Ok(ended) => ended,
        Err(_still_there) => child.wait().await,
    }
    .map(drop)
    .map_err(|source| GitError::Wait { source })
}

async fn read_all(output: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut output) = output else { return };
    let mut chunk = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = output.read(&mut chunk).await {
        let room = STDOUT.saturating_sub(kept.len());
        kept.extend_from_slice(&chunk[..read.min(room)]);
    }
}

/// Keeps the end of what git says and tells its progress, whose lines end in carriage returns.
async fn read_lines(output: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, status: Status<'_>) {
    let Some(mut output) = output else { return };
    let (mut chunk, mut line, mut progress) = (vec![0; 4 * 1024], Vec::new(), Progress::default());
    while let Ok(read @ 1..) = output.read(&mut chunk).await {
        for byte in &chunk[..read] {
            match byte {
                b'\n' | b'\r' => {
                    if let Some(told) = progress.line(&String::from_utf8_lossy(&line)) {
                        status(told);
                    } else if *byte == b'\n' {
                        kept.extend_from_slice(&line);
                        kept.push(b'\n');
                    }
                    line.clear();
                }
                byte if line.len() < STDERR => line.push(*byte),
                _ => {}
            }
        }
        kept.drain(..kept.len().saturating_sub(STDERR));
    }
    kept.extend_from_slice(&line);
}

//! The drone's side of a job: starts a runner, follows what it writes, stops it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::directory::{DirectoryError, Exit, JobDirectory, State};
use super::process::{self, Identity};
use super::tail::Tail;
use super::{JobSettings, reaper};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long a runner may take to stop its job; it gives the command a quarter of a second itself.
const PATIENCE: Duration = Duration::from_secs(7);

/// What following a job came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Ended(Exit),
    /// The runner was killed; the job's processes are gone, and nobody knows how far they got.
    Lost,
    /// It was stopped before it began.
    NeverBegun,
}

/// What went wrong beside the job itself.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("failed to start the runner {program}")]
    Start { program: String, source: io::Error },
    #[error("the runner did not begin: {log}")]
    Silent { log: String },
    #[error("failed to wait for the runner")]
    Wait { source: io::Error },
    #[error("failed to use the job's directory")]
    Directory { source: DirectoryError },
}

/// Starts a runner. Two for one job are harmless: one of them gets it.
pub(crate) fn start(
    directory: &JobDirectory,
    settings: &JobSettings,
    environment: &BTreeMap<OsString, OsString>,
) -> Result<Child, FollowError> {
    let failed = |source| FollowError::Start { program: settings.program.display().to_string(), source };
    let log = File::create(directory.log()).map_err(failed)?;
    Command::new(&settings.program)
        .args(&settings.prefix)
        .arg("job")
        .arg(directory.path())
        .env_clear()
        .envs(environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(failed)
}

/// Follows a job until it is over. When cancelled, stops it: no process of it is left then.
///
/// `runner` is the runner that this process has started, none when the job is followed again after a restart.
pub(crate) async fn follow(
    directory: &JobDirectory,
    mut runner: Option<Child>,
    cancel: &CancellationToken,
    progress: &mpsc::Sender<String>,
) -> Result<Ending, FollowError> {
    let mut tails = [Tail::new(directory.stdout()), Tail::new(directory.stderr())];
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return stop(directory, runner).await,
            ended = wait(&mut runner) => {
                ended?;
                show(&mut tails, progress);
                match state(directory)? {
                    State::Unclaimed => return Err(FollowError::Silent { log: last_words(&directory.log()) }),
                    // Another runner has it.
                    State::Running(_) => runner = None,
                    State::Ended(exit) => return settled(directory, exit).await,
                    State::Lost(owner) => return lost(directory, &owner).await,
                }
            }
            _ = look.tick() => {
                show(&mut tails, progress);
                if runner.is_some() {
                    continue;
                }
                match state(directory)? {
                    State::Running(_) => {}
                    State::Ended(exit) => {
                        show(&mut tails, progress);
                        return settled(directory, exit).await;
                    }
                    State::Lost(owner) => return lost(directory, &owner).await,
                    State::Unclaimed => return Err(FollowError::Silent { log: last_words(&directory.log()) }),
                }
            }
        }
    }
}

/// Ends all processes of a job whose runner is gone.
pub(crate) async fn lost(directory: &JobDirectory, owner: &Identity) -> Result<Ending, FollowError> {
    let spec = directory.spec().map_err(|source| FollowError::Directory { source })?;
    let survivors = reaper::sweep_marked(&spec.marker, owner).await;
    if survivors > 0 {
        tracing::error!(survivors, "processes of a job whose runner was killed could not be ended");
    }
    Ok(Ending::Lost)
}

/// Stops every job of a workspace that still runs, and ends what is left of those whose runner was killed: for when
/// nobody will ask for their results any more.
pub async fn stop_all(workspace: &Path) -> Result<(), FollowError> {
    let jobs = JobDirectory::all(workspace).map_err(|source| FollowError::Directory { source })?;
    let stopping = jobs.iter().map(|job| async move {
        match state(job)? {
            State::Running(_) => stop(job, None).await.map(drop),
            State::Lost(owner) => lost(job, &owner).await.map(drop),
            State::Unclaimed | State::Ended(_) => Ok(()),
        }
    });
    futures_util::future::try_join_all(stopping).await.map(drop)
}

/// Asks the runner to stop its job; a runner that does not is killed and its job's processes with it.
async fn stop(directory: &JobDirectory, mut runner: Option<Child>) -> Result<Ending, FollowError> {
    let patience = Instant::now() + PATIENCE;
    if let Some(pid) = runner.as_ref().and_then(Child::id) {
        terminate(pid.cast_signed(), Signal::SIGTERM);
    }
    let mut asked = runner.is_some();
    loop {
        let has_ended = match runner.as_mut() {
            Some(child) => child.try_wait().map_err(|source| FollowError::Wait { source })?.is_some(),
            None => false,
        };
        match state(directory)? {
            State::Ended(exit) => {
                if let Some(child) = runner.as_mut() {
                    child.wait().await.map_err(|source| FollowError::Wait { source })?;
                }
                return settled(directory, exit).await;
            }
            State::Unclaimed if has_ended || runner.is_none() => return Ok(Ending::NeverBegun),
            State::Lost(owner) => return lost(directory, &owner).await,
            State::Running(owner) => {
                if !asked || has_ended {
                    asked = true;
                    runner = None;
                    terminate(owner.pid, Signal::SIGTERM);
                }
                if Instant::now() >= patience {
                    terminate(owner.pid, Signal::SIGKILL);
                    return lost(directory, &owner).await;
                }
            }
            State::Unclaimed => {
                if Instant::now() >= patience
                    && let Some(child) = runner.as_mut()
                {
                    child.kill().await.map_err(|source| FollowError::Wait { source })?;
                }
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// A runner that is not ours to wait for has said its last word, but is there for a moment longer.
async fn settled(directory: &JobDirectory, exit: Exit) -> Result<Ending, FollowError> {
    let owner = directory.owner().map_err(|source| FollowError::Directory { source })?;
    let patience = Instant::now() + PATIENCE;
    while owner.as_ref().is_some_and(process::is_alive) && Instant::now() < patience {
        sleep(Duration::from_millis(1)).await;
    }
    Ok(Ending::Ended(exit))
}

/// Waits for a runner of our own; for ever when there is none.
async fn wait(runner: &mut Option<Child>) -> Result<(), FollowError> {
    match runner {
        Some(child) => child.wait().await.map(drop).map_err(|source| FollowError::Wait { source }),
        None => std::future::pending().await,
    }
}

fn terminate(pid: i32, signal: Signal) {
    // It may be gone already; the job's state tells.
    let _gone = kill(Pid::from_raw(pid), signal);
}

/// The screen is lossy: what it has no room for is not shown.
fn show(tails: &mut [Tail], progress: &mpsc::Sender<String>) {
    for tail in tails {
        if let Some(text) = tail.look() {
            let _full = progress.try_send(text);
        }
    }
}

fn state(directory: &JobDirectory) -> Result<State, FollowError> {
    directory.state().map_err(|source| FollowError::Directory { source })
}

/// The beginning of what a runner had to say.
fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let text = text.trim();
    if text.is_empty() { "it said nothing".into() } else { text.chars().take(500).collect() }
}

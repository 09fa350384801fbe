//! The supervisor of a drone: starts the drone process, restarts it when it dies, forwards the wish to stop, reaps
//! everything, and leaves nothing behind.
//!
//! It is the process that a pod or the hub starts. A drone process that dies is back within milliseconds, and shell
//! jobs outlive it: the supervisor is their subreaper, so the next drone process finds them again. One thread and
//! little memory; works as PID 1.

mod descendants;
mod policy;
mod process;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use protocol::drone::ProcessExit;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use self::descendants::Descendant;
use self::policy::{Next, Restarts};
use self::process::{Drone, Signals};

/// The exit code of a drone process that no restart can help; it is passed on at once.
pub const EXIT_HOPELESS: u8 = 78;

/// How long a descendant of a drone that ended may take to follow it when asked.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How long the kernel may take to end what was killed.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct InitConfig {
    /// What to start as the drone process.
    pub program: PathBuf,
    /// The name that the process goes by.
    pub name: OsString,
    /// Its arguments; how often and after what it was restarted is added.
    pub args: Vec<OsString>,
    /// How long the drone may take to stop before it is killed.
    pub grace: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("failed to set up the supervisor")]
    SetUp(#[source] io::Error),
    #[error("failed to become the parent of orphaned jobs")]
    Subreaper(#[source] nix::Error),
    #[error("failed to start the drone process {program}")]
    Start {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to wait for child processes")]
    Wait(#[source] nix::Error),
    #[error("failed to look at processes")]
    Look(#[source] io::Error),
}

/// Supervises until the drone has ended for good. The answer is the exit code to end with.
pub fn supervise(config: &InitConfig) -> Result<u8, InitError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(InitError::SetUp)?;
    runtime.block_on(async {
        let listen = |kind| signal(kind).map_err(InitError::SetUp);
        let mut signals = Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
            child: listen(SignalKind::child())?,
        };
        nix::sys::prctl::set_child_subreaper(true).map_err(InitError::Subreaper)?;
        let ended = keep_running(config, &mut signals).await;
        let cleared = end_descendants().await;
        let code = ended?;
        cleared?;
        Ok(code)
    })
}

async fn keep_running(config: &InitConfig, signals: &mut Signals) -> Result<u8, InitError> {
    let mut restarts = Restarts::default();
    let mut last_exit = None;
    loop {
        let drone = Drone::start(config, restarts.total(), last_exit)?;
        let ended = drone.watch(signals, config.grace).await?;
        let ProcessExit { code, signal } = ended.exit;
        match restarts.next(ended.exit, ended.stop_asked, Instant::now()) {
            Next::End(exit_code) => {
                tracing::info!(?code, ?signal, exit_code, "the drone process ended");
                return Ok(exit_code);
            }
            Next::Restart => {
                tracing::warn!(
                    ?code,
                    ?signal,
                    restarts = restarts.total(),
                    "the drone process died and is restarted"
                );
                last_exit = Some(ended.exit);
            }
        }
    }
}

/// Ends what the drone has left: asked first, then killed, until nothing is there. Only children are asked, and what
/// becomes a child by the end of its parent: a job's runner sees to its command itself, and can then say that the command
/// was ended and did not end by itself.
async fn end_descendants() -> Result<(), InitError> {
    let asked = Instant::now();
    let mut told: Vec<i32> = Vec::new();
    loop {
        process::reap(None)?;
        let left = descendants::of_this_process().map_err(InitError::Look)?;
        let waited = asked.elapsed();
        if left.is_empty() {
            return Ok(());
        }
        if waited >= PATIENCE {
            tracing::error!(?left, "processes survive being killed; they may hang in the kernel");
            return Ok(());
        }
        for Descendant { pid, is_child } in left {
            if waited >= LAST_WORDS {
                process::send(pid, Signal::SIGKILL);
            } else if is_child && !told.contains(&pid) {
                process::send(pid, Signal::SIGTERM);
                told.push(pid);
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

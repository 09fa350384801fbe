//! The drone process under its supervisor: started, watched, told to stop, killed; and the reaping of everything else.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use protocol::drone::ProcessExit;
use tokio::signal::unix;
use tokio::time::Instant;

use super::{InitConfig, InitError};

/// The signals that the supervisor lives by.
pub(super) struct Signals {
    pub terminate: unix::Signal,
    pub interrupt: unix::Signal,
    pub hang_up: unix::Signal,
    pub child: unix::Signal,
}

/// A started drone process that nobody has waited for, so that its pid is its own.
pub(super) struct Drone {
    pid: Pid,
}

pub(super) struct Ended {
    pub exit: ProcessExit,
    /// The supervisor was told to stop while the process ran.
    pub stop_asked: bool,
}

impl Drone {
    pub(super) fn start(
        config: &InitConfig,
        restarts: u32,
        last_exit: Option<ProcessExit>,
    ) -> Result<Self, InitError> {
        let InitConfig { program, name, args, grace: _ } = config;
        let mut command = Command::new(program);
        command.arg0(name).args(args).args(["--process-restarts", &restarts.to_string()]);
        if let Some(exit) = last_exit {
            command.args(["--last-exit", &last_exit_text(exit)]);
        }
        command.args(["--supervisor", &std::process::id().to_string()]).stdin(Stdio::null());
        // Not waited for here: all children are reaped in one place.
        let child =
            command.spawn().map_err(|source| InitError::Start { program: program.clone(), source })?;
        let pid =
            i32::try_from(child.id()).map_err(|error| InitError::SetUp(std::io::Error::other(error)))?;
        Ok(Self { pid: Pid::from_raw(pid) })
    }

    /// Until the process has ended. Told to stop, it is told in turn, and killed after `grace`.
    pub(super) async fn watch(self, signals: &mut Signals, grace: Duration) -> Result<Ended, InitError> {
        let mut deadline: Option<Instant> = None;
        loop {
            if let Some(exit) = reap(Some(self.pid))? {
                return Ok(Ended { exit, stop_asked: deadline.is_some() });
            }
            let Signals { terminate, interrupt, hang_up, child } = signals;
            let overdue = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = child.recv() => {}
                () = asked_to_stop(terminate, interrupt, hang_up) => {
                    send(self.pid.as_raw(), Signal::SIGTERM);
                    deadline.get_or_insert_with(|| Instant::now() + grace);
                }
                () = overdue => {
                    tracing::warn!("the drone process did not stop within {grace:?} and is killed");
                    send(self.pid.as_raw(), Signal::SIGKILL);
                    // Once more if it should still be there then.
                    deadline = Some(Instant::now() + grace.max(Duration::from_secs(1)));
                }
            }
        }
    }
}

async fn asked_to_stop(
    terminate: &mut unix::Signal,
    interrupt: &mut unix::Signal,
    hang_up: &mut unix::Signal,
) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hang_up.recv() => {}
    }
}

/// Waits for every child that has ended. Answers how `wanted` ended, if it is among them.
pub(super) fn reap(wanted: Option<Pid>) -> Result<Option<ProcessExit>, InitError> {
    let mut found = None;
    loop {
        let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, ProcessExit { code: Some(code), signal: None }),
            Ok(WaitStatus::Signaled(pid, signal, _core)) => {
                (pid, ProcessExit { code: None, signal: Some(signal as i32) })
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(found),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => return Err(InitError::Wait(error)),
        };
        if wanted == Some(pid) {
            found = Some(exit);
        }
    }
}

pub(super) fn send(pid: i32, signal: Signal) {
    // A process that has ended meanwhile needs no signal.
    let _gone = nix::sys::signal::kill(Pid::from_raw(pid), signal);
}

/// `code:N` or `signal:N`, as the drone process takes it.
fn last_exit_text(exit: ProcessExit) -> String {
    match exit {
        ProcessExit { code: _, signal: Some(signal) } => format!("signal:{signal}"),
        ProcessExit { code, signal: None } => format!("code:{}", code.unwrap_or(1)),
    }
}

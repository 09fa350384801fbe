//! One running process, held by a pidfd: it can be waited for and signalled though it is not our child, and no signal
//! ever reaches another process that got the same pid later.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;

use super::identity::{Identity, gone};

#[derive(Debug)]
pub(super) struct Watched {
    pub identity: Identity,
    /// Readable once the process has ended.
    pidfd: AsyncFd<OwnedFd>,
}

impl Watched {
    /// `None`: that process runs no more.
    pub(super) fn open(identity: Identity) -> io::Result<Option<Self>> {
        let pidfd = match open_pidfd(identity.pid) {
            Err(error) if gone(&error) => return Ok(None),
            pidfd => pidfd?,
        };
        // Looked at only now: the pidfd holds whichever process had the pid when it was opened.
        Ok(identity.is_alive()?.then_some(Self { identity, pidfd }))
    }

    /// A child that nobody has waited for yet keeps its pid, even when it has ended.
    pub(super) fn of_child(child: &Child) -> io::Result<Self> {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| io::Error::other("the process was waited for already"))?;
        let identity = Identity::of(pid)?.ok_or_else(|| io::Error::other("the process is not in /proc"))?;
        Ok(Self { pidfd: open_pidfd(pid)?, identity })
    }

    pub(super) async fn ended(&self) -> io::Result<()> {
        self.pidfd.readable().await.map(drop)
    }

    /// No error when the process has ended meanwhile.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.pidfd.get_ref(), signal).map_err(io::Error::from) {
            Err(error) if !gone(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

#[expect(
    deprecated,
    reason = "an OwnedFd keeps the descriptor open and the same for as long as it is registered; the constructor that \
              replaces this one is unsafe for types that do not"
)]
fn open_pidfd(pid: i32) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    AsyncFd::with_interest(pidfd_open(pid, PidfdFlags::NONBLOCK)?, Interest::READABLE)
}

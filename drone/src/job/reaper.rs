//! Ends processes so that none is left, however they try to get away.
//!
//! Two who need it: the runner, below which all processes of its job stay because it is a child subreaper; and the
//! drone, when a runner itself was killed and its job's processes have been handed to somebody else.

use std::collections::HashSet;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgid};
use tokio::time::{Instant, sleep};

use super::environment::MARKER;
use super::process::{self, Entry, Identity};

/// How long processes may take to vanish after SIGKILL. One that waits for a disk can take longer.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(3);
/// How often to look for more to stop before what is stopped is killed.
const LOOKS: usize = 100;

/// How the shell ended: its exit code or the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Code(i32),
    Signal(i32),
}

/// Descendants of this process, those that have ended but were not reaped by their parents included.
pub(super) fn below_us() -> Vec<Entry> {
    process::descendants(&process::table(), nix::unistd::getpid().as_raw())
}

/// Reaps all children of this process that have ended. Gives the end of the one that is asked for.
pub(super) fn reap(wanted: i32) -> Option<End> {
    let mut found = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == wanted => found = Some(End::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() == wanted => {
                found = Some(End::Signal(signal as i32));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return found,
            Ok(_) | Err(_) => {}
        }
    }
}

/// Whether more processes are below this one than so many. Looks quickly and no further than that.
pub(super) fn has_more_below_than(limit: usize) -> bool {
    let mut count = 0;
    walk_below(|_| {
        count += 1;
        count <= limit
    });
    count > limit
}

pub(super) fn signal_all(entries: &[Entry], signal: Signal) {
    for entry in entries {
        // It may have ended meanwhile.
        let _gone = kill(Pid::from_raw(entry.pid), signal);
    }
}

/// Ends everything below this process until nothing is left. Gives how many could not be ended.
pub(super) async fn sweep_below(shell: i32, end: &mut Option<End>) -> usize {
    let patience = Instant::now() + PATIENCE;
    loop {
        kill_group(shell, end.is_none());
        freeze_below();
        if let Some(found) = reap(shell) {
            *end = Some(found);
        }
        let left = below_us();
        if left.is_empty() || Instant::now() >= patience {
            return left.iter().filter(|entry| !entry.zombie).count();
        }
        kill_all(&left);
        sleep(PAUSE).await;
    }
}

/// Kills the command's own process group: one call, for which there is time even where hundreds of processes take it all.
fn kill_group(shell: i32, is_there: bool) {
    // The number of a shell that was reaped is its group's as long as one of those that it left is in there.
    let is_group = |child: &i32| getpgid(Some(Pid::from_raw(*child))) == Ok(Pid::from_raw(shell));
    let me = nix::unistd::getpid().as_raw();
    if is_there || process::children(me).unwrap_or_default().iter().any(is_group) {
        let _gone = killpg(Pid::from_raw(shell), Signal::SIGKILL);
    }
}

/// Stops everything below this process where it stands, so that nothing starts another process while it is being killed:
/// each one is stopped the moment it is found, and what it had started until then is found at the next look. One that
/// has ended meanwhile has left its children to us.
fn freeze_below() {
    let mut stopped = HashSet::new();
    for _ in 0..LOOKS {
        let before = stopped.len();
        walk_below(|pid| {
            if stopped.insert(pid) {
                let _gone = kill(Pid::from_raw(pid), Signal::SIGSTOP);
            }
            true
        });
        if stopped.len() == before {
            return;
        }
    }
}

/// Kills processes, and with them all of their process groups: a group is killed at once, nothing that forks gets out.
fn kill_all(entries: &[Entry]) {
    let ours = nix::unistd::getpgrp().as_raw();
    let groups: HashSet<i32> =
        entries.iter().map(|entry| entry.group).filter(|group| *group > 1 && *group != ours).collect();
    for group in groups {
        let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    signal_all(entries, Signal::SIGKILL);
}

/// Shows the processes below this one, each as soon as it is found, as long as more are wanted. One that comes or goes
/// meanwhile may be missed.
fn walk_below(mut wants_more: impl FnMut(i32) -> bool) {
    let me = nix::unistd::getpid().as_raw();
    let Some(children) = process::children(me) else {
        // This kernel does not list children.
        let _enough = below_us().iter().all(|entry| wants_more(entry.pid));
        return;
    };
    let (mut seen, mut found) = (HashSet::new(), children);
    while let Some(pid) = found.pop() {
        if seen.insert(pid) {
            if !wants_more(pid) {
                return;
            }
            found.extend(process::children(pid).unwrap_or_default());
        }
    }
}

/// Kills every process of a job whose runner is gone: those of its session, those that carry its mark, and all that
/// come from them. Gives how many could not be ended.
pub(super) async fn sweep_marked(marker: &str, runner: &Identity) -> usize {
    let patience = Instant::now() + PATIENCE;
    let me = nix::unistd::getpid().as_raw();
    let same_boot = process::own_identity().is_ok_and(|own| own.boot == runner.boot);
    loop {
        let table = process::table();
        let mut left: Vec<Entry> = Vec::new();
        for entry in table.iter().filter(|entry| entry.pid != me && !entry.zombie) {
            let of_session = same_boot && entry.session == runner.pid && entry.started >= runner.started;
            if of_session || process::has_variable(entry.pid, MARKER, marker) {
                left.push(*entry);
                left.extend(process::descendants(&table, entry.pid));
            }
        }
        left.retain(|entry| entry.pid != me && !entry.zombie);
        if left.is_empty() || Instant::now() >= patience {
            return left.len();
        }
        kill_all(&left);
        for entry in &left {
            // Ours to reap if it was handed to the drone; else this says so.
            let _not_ours = waitpid(Pid::from_raw(entry.pid), Some(WaitPidFlag::WNOHANG));
        }
        sleep(PAUSE).await;
    }
}

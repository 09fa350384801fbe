//! The first process of the cluster's namespaces: starts its programs, starts again what ends, reaps what is left to it.
//! When it ends, the kernel ends all others, at once: what the store and the kubelet have on disk bears that.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::cluster::component::{self, Component};
use crate::cluster::place::Place;
use crate::cluster::stage;

const AGAIN: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(50);

struct Supervised {
    component: Component,
    pid: Option<Pid>,
    due: Instant,
}

pub(super) async fn run(place: &Place, programs: &Path) -> Result<()> {
    // From here on a dead child is a signal.
    let mut ended = signal(SignalKind::child()).context("failed to listen for signals")?;
    let mut told = signal(SignalKind::terminate()).context("failed to listen for signals")?;
    // The terminal that `up` was called in may close.
    let _ignored = signal(SignalKind::hangup()).context("failed to listen for signals")?;
    stage::set(place).await?;
    let all = component::all(place, programs).into_iter();
    let now = Instant::now();
    let mut all: Vec<_> = all.map(|component| Supervised { component, pid: None, due: now }).collect();
    loop {
        for one in &mut all {
            if one.pid.is_none() && one.due <= Instant::now() {
                one.start(place).await?;
            }
        }
        let next = all.iter().filter(|one| one.pid.is_none()).map(|one| one.due).min();
        let next = async {
            match next {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = told.recv() => return Ok(()),
            _ = ended.recv() => reap(&mut all),
            () = next => {}
        }
    }
}

impl Supervised {
    async fn start(&mut self, place: &Place) -> Result<()> {
        let Component { name, program, arguments, after } = &self.component;
        if let Some(after) = after
            && !is_open(*after).await
        {
            self.due = Instant::now() + LOOK;
            return Ok(());
        }
        let log = place.path("log").join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&log);
        let log = log.with_context(|| format!("failed to open the log of {name}"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).process_group(0);
        command.stdout(log.try_clone().context("failed to open a log twice")?).stderr(log);
        // Reaped below, with all others.
        let child = command.spawn().with_context(|| format!("failed to start {name}"))?;
        self.pid = Some(Pid::from_raw(i32::try_from(child.id()).context("a process id is out of range")?));
        say(name, "started");
        Ok(())
    }
}

async fn is_open(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_ok()
}

/// Takes note of all that ended. Most are no programs of ours: a container's last processes come to the first one.
fn reap(all: &mut [Supervised]) {
    loop {
        let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            Ok(status) => status,
            Err(_interrupted) => continue,
        };
        if let Some(one) = all.iter_mut().find(|one| one.pid.is_some() && one.pid == status.pid()) {
            one.pid = None;
            one.due = Instant::now() + AGAIN;
            say(one.component.name, &format!("ended: {status:?}"));
        }
    }
}

/// To `log/supervisor.log`.
fn say(name: &str, what: &str) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    eprintln!("{}.{:03} {name} {what}", now.as_secs(), now.subsec_millis());
}

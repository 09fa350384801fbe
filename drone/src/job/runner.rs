//! The runner: a process that carries out one job and outlives the drone that started it.
//!
//! It is in a session of its own, so that nothing that ends the drone ends it, and a child subreaper, so that a daemon
//! of the command, however it detaches itself, stays below it and is found when the job is over.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, interval_at, sleep};

use super::directory::{DirectoryError, Exit, JobDirectory, Reason, Spec};
use super::reaper::{self, End};
use super::{limits, process, sandbox};

/// Between asking processes to end and ending them.
const GRACE: Duration = Duration::from_millis(250);
/// How often processes and output are looked at.
const WATCH: Duration = Duration::from_millis(100);

/// Why a job could not be carried out. What befalls the command itself is no error, but its result.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error("failed to prepare the runner: {what}")]
    Prepare { what: &'static str, source: io::Error },
    #[error("failed to use the job's directory")]
    Directory { source: DirectoryError },
}

/// Carries out the job of a directory. For the sub-command `job DIR`, before anything else of the program has begun:
/// it makes a runtime of its own and changes the process it runs in. A job that somebody else has claimed is left
/// alone.
pub fn main(directory: &Path) -> Result<(), RunnerError> {
    let prepare = |what| move |source| RunnerError::Prepare { what, source };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(prepare("no runtime"))?
        .block_on(run(&JobDirectory::at(directory)))
}

async fn run(directory: &JobDirectory) -> Result<(), RunnerError> {
    let prepare = |what| move |source| RunnerError::Prepare { what, source };
    let system = |what| move |source: Errno| RunnerError::Prepare { what, source: source.into() };
    let failed = |source| RunnerError::Directory { source };
    let spec = directory.spec().map_err(failed)?;
    // Before the claim: a signal that comes between must not end a runner that has taken the job.
    let mut signals = Signals::new().map_err(prepare("no signals"))?;
    // It leads a session already when a person started it by hand.
    let _already = nix::unistd::setsid();
    nix::sys::prctl::set_child_subreaper(true).map_err(system("not a subreaper"))?;
    limits::be_the_first_to_go();
    limits::apply(&spec.limits).map_err(system("no limits"))?;
    let me = process::own_identity().map_err(prepare("no identity"))?;
    if !directory.claim(&me).map_err(failed)? {
        return Ok(());
    }
    let exit = carry_out(directory, &spec, &mut signals).await;
    directory.end(&exit).map_err(failed)
}

struct Signals {
    child: tokio::signal::unix::Signal,
    stop: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { child: signal(SignalKind::child())?, stop: signal(SignalKind::terminate())? })
    }
}

async fn carry_out(directory: &JobDirectory, spec: &Spec, signals: &mut Signals) -> Exit {
    let (started, ended_before) = (Instant::now(), limits::out_of_memory());
    let finish = |end, reason, confined| {
        let (code, signal) = match end {
            Some(End::Code(code)) => (Some(code), None),
            Some(End::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let out_of_memory = limits::out_of_memory().saturating_sub(ended_before);
        Exit { code, signal, reason, duration_ms, leftovers: 0, out_of_memory, survivors: 0, confined }
    };
    let (shell, confined) = match start(directory, spec) {
        Ok(started) => started,
        Err(error) => return finish(None, Reason::NotStarted(error.to_string()), false),
    };
    let (mut end, mut reason) = watch(directory, spec, shell, signals).await;
    let mut leftovers = 0;
    match reason {
        Reason::Ended => match end_leftovers(spec, shell, &mut end, signals).await {
            Some(count) => leftovers = count,
            None => reason = Reason::TooManyProcesses,
        },
        // With each moment they would be more.
        Reason::TooManyProcesses => {}
        _ => end_command(spec, shell, &mut end, signals).await,
    }
    let survivors = reaper::sweep_below(shell, &mut end).await;
    Exit { leftovers, survivors, ..finish(end, reason, confined) }
}

/// Starts the shell, confined. Gives its process number and whether the kernel could confine it.
///
/// Landlock restricts threads and what they start: the shell is started by a thread of its own, so that the runner
/// itself can still write down the result.
fn start(directory: &JobDirectory, spec: &Spec) -> io::Result<(i32, bool)> {
    let output = |path| OpenOptions::new().create(true).append(true).open(path);
    let (stdout, stderr) = (output(directory.stdout())?, output(directory.stderr())?);
    std::thread::scope(|scope| {
        let starter = scope.spawn(|| {
            let confined = sandbox::enter(&spec.writable).map_err(io::Error::other)?;
            let shell = spawn("bash", spec, &stdout, &stderr).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound if spec.cwd.is_dir() => spawn("sh", spec, &stdout, &stderr),
                _ => Err(error),
            })?;
            Ok((shell, confined))
        });
        starter.join().unwrap_or_else(|_| Err(io::Error::other("the thread that starts the shell panicked")))
    })
}

fn spawn(shell: &str, spec: &Spec, stdout: &File, stderr: &File) -> io::Result<i32> {
    let child = Command::new(shell)
        .arg("-c")
        .arg(&spec.command)
        .current_dir(&spec.cwd)
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .process_group(0)
        .spawn()?;
    i32::try_from(child.id()).map_err(io::Error::other)
}

/// Waits for the command to end or to be ended.
async fn watch(
    directory: &JobDirectory,
    spec: &Spec,
    shell: i32,
    signals: &mut Signals,
) -> (Option<End>, Reason) {
    let deadline = sleep(Duration::from_millis(spec.timeout_ms));
    tokio::pin!(deadline);
    let mut look = interval_at(Instant::now() + WATCH, WATCH);
    // A child that ended before the signals were listened to has left no signal.
    let mut end = reaper::reap(shell);
    loop {
        if end.is_some() {
            return (end, Reason::Ended);
        }
        tokio::select! {
            _ = signals.child.recv() => end = reaper::reap(shell),
            _ = signals.stop.recv() => return (None, Reason::Stopped),
            () = &mut deadline => return (None, Reason::TimedOut),
            _ = look.tick() => {
                end = reaper::reap(shell);
                if end.is_none() && let Some(reason) = excess(directory, spec) {
                    return (None, reason);
                }
            }
        }
    }
}

/// Which limit a running command is over.
fn excess(directory: &JobDirectory, spec: &Spec) -> Option<Reason> {
    let size = |path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if size(directory.stdout()) + size(directory.stderr()) > spec.limits.output {
        return Some(Reason::TooMuchOutput);
    }
    reaper::has_more_below_than(spec.limits.processes).then_some(Reason::TooManyProcesses)
}

/// Asks the command's process group to end, and gives it a moment.
async fn end_command(spec: &Spec, shell: i32, end: &mut Option<End>, signals: &mut Signals) {
    // The shell was not reaped: its number is still its own.
    let _gone = killpg(Pid::from_raw(shell), Signal::SIGTERM);
    wait_until_alone(spec, shell, end, signals).await;
}

/// What a command has left behind gets a moment to end by itself, such as the last program of a pipe, then is asked
/// to. Gives how many there were; none: they became too many.
async fn end_leftovers(
    spec: &Spec,
    shell: i32,
    end: &mut Option<End>,
    signals: &mut Signals,
) -> Option<usize> {
    let mut waited = wait_until_alone(spec, shell, end, signals).await;
    let left = reaper::below_us();
    if waited == Waited::Late {
        reaper::signal_all(&left, Signal::SIGTERM);
        waited = wait_until_alone(spec, shell, end, signals).await;
    }
    (waited != Waited::Crowded).then_some(left.len())
}

/// What came of waiting for processes to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    Alone,
    Late,
    /// There are more of them than the job may have.
    Crowded,
}

/// Waits until nothing is below this process, at most for [`GRACE`].
async fn wait_until_alone(spec: &Spec, shell: i32, end: &mut Option<End>, signals: &mut Signals) -> Waited {
    let patience = Instant::now() + GRACE;
    loop {
        if let Some(found) = reaper::reap(shell) {
            *end = Some(found);
        }
        // The quick look first: a fork bomb leaves no time for a thorough one.
        if reaper::has_more_below_than(spec.limits.processes) {
            return Waited::Crowded;
        }
        if reaper::below_us().is_empty() {
            return Waited::Alone;
        }
        if Instant::now() >= patience {
            return Waited::Late;
        }
        // Only our own children announce their end: look again after a while.
        tokio::select! {
            _ = signals.child.recv() => {}
            () = sleep(Duration::from_millis(20)) => {}
        }
    }
}

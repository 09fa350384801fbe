//! The drone's sub-commands, carried out: the same in `gadget-drone` and in `gadget drone`.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use nix::sys::signal::Signal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{Assignment, DroneArgs, DroneCommand, InitArgs, RunArgs};
use crate::init::{EXIT_HOPELESS, InitConfig};
use crate::run::config::{DEFAULT_HEARTBEAT_TIMEOUT, Exit, RunConfig};
use crate::workspace::log::RotatingLog;
use crate::{init, job, project, run};

/// This very program, also when the file that it was started from has been replaced meanwhile. For this process only:
/// in another one it is that one's program.
const ITSELF: &str = "/proc/self/exe";

/// Runs the drone's command line. `name` is how the drone is called, such as `gadget-drone`, or `gadget drone` in a
/// binary that holds more; `args` is what follows that name.
pub fn main(args: impl Iterator<Item = OsString>, name: &'static str) -> ExitCode {
    let command = DroneArgs::command().name(name).bin_name(name);
    let words = std::iter::once(OsString::from(name)).chain(args);
    let parsed = command.try_get_matches_from(words).and_then(|found| DroneArgs::from_arg_matches(&found));
    let DroneArgs { command } = match parsed {
        Ok(args) => args,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _closed = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    // Where one binary holds more than the drone, the words after its own name lead to it.
    let prefix: Vec<OsString> = name.split(' ').skip(1).map(OsString::from).collect();
    // Without it lists of processes show the name of the link that it was started by.
    let _unnamed = nix::sys::prctl::set_name(c"gadget-drone");
    match command {
        DroneCommand::Init(args) => supervise(args, name, prefix),
        DroneCommand::Run(args) => work(args, prefix),
        DroneCommand::Job { dir } => ended(job::runner::main(&dir)),
        DroneCommand::GitCredential { operation } => ended(project::credential_helper::main(&operation)),
    }
}

fn supervise(args: InitArgs, name: &str, mut prefix: Vec<OsString>) -> ExitCode {
    let InitArgs { assignment, grace } = args;
    log_to_stderr(&assignment.log_level);
    prefix.push("run".into());
    prefix.extend(assignment.to_args());
    let program = name.split(' ').next().unwrap_or(name).into();
    let config = InitConfig { program: ITSELF.into(), name: program, args: prefix, grace };
    match init::supervise(&config) {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error),
    }
}

fn work(args: RunArgs, prefix: Vec<OsString>) -> ExitCode {
    let RunArgs { assignment, process_restarts, last_exit, supervisor } = args;
    if let Some(supervisor) = supervisor
        && !follow_to_the_grave(supervisor)
    {
        return ExitCode::FAILURE;
    }
    let Assignment {
        workspace,
        hub,
        registration,
        token_file,
        orphan_timeout,
        clocks,
        clone_depth,
        job_tasks,
        health_listen,
        log_level,
    } = assignment;
    log_to_workspace(&log_level, &workspace);
    let config = RunConfig {
        workspace,
        hub,
        registration: registration.into(),
        token_file,
        orphan_timeout,
        heartbeat_timeout: DEFAULT_HEARTBEAT_TIMEOUT,
        clocks: clocks.into(),
        clone_depth,
        job_tasks,
        health_listen,
        job_program: program_file(),
        job_prefix: prefix,
        process_restarts,
        last_exit,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(run::run(config)) {
        Ok(Exit::Terminated | Exit::Orphaned) => ExitCode::SUCCESS,
        Err(error) => {
            let code = failed(&error);
            if error.is_final() { ExitCode::from(EXIT_HOPELESS) } else { code }
        }
    }
}

/// A path of this program that other processes can start it by: its file, or where that has been replaced meanwhile,
/// what this process has of it.
fn program_file() -> PathBuf {
    let own = || format!("/proc/{}/exe", std::process::id()).into();
    std::env::current_exe().ok().filter(|file| file.exists()).unwrap_or_else(own)
}

/// A drone process without its supervisor would not be restarted and not be found: it ends with it. Answers whether
/// the supervisor was there to begin with.
fn follow_to_the_grave(supervisor: u32) -> bool {
    let bound = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).is_ok();
    // It may have died before that.
    bound && u32::try_from(nix::unistd::getppid().as_raw()) == Ok(supervisor)
}

fn ended<E: std::error::Error>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Says why on standard error, which whoever started this process keeps and shows.
fn failed(error: &dyn std::error::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    let _closed = writeln!(io::stderr(), "{text}");
    ExitCode::FAILURE
}

fn log_to_stderr(level: &str) {
    let logged =
        tracing_subscriber::fmt().with_ansi(false).with_writer(io::stderr).with_env_filter(filter(level));
    // A process that logs already keeps its way.
    let _already = logged.try_init();
}

/// All of it to the workspace's own log, errors to standard error as well.
fn log_to_workspace(level: &str, workspace: &Path) {
    let log = RotatingLog::of_workspace(workspace);
    let to_file = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || log.clone());
    let to_stderr = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(io::stderr);
    let _already = tracing_subscriber::registry()
        .with(to_file.with_filter(filter(level)))
        .with(to_stderr.with_filter(LevelFilter::ERROR))
        .try_init();
}

/// A filter that cannot be read must not keep the drone from working.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"))
}

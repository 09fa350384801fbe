//! The command line of the drone, whichever binary it is in.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use protocol::drone::ProcessExit;

use crate::job::DEFAULT_MORE_TASKS;
use crate::model::endpoint::Clocks;

/// Runs a coding agent in a workspace, for a hub.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct DroneArgs {
    #[command(subcommand)]
    pub command: DroneCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DroneCommand {
    /// Start the drone under a supervisor that restarts it when it dies
    Init(InitArgs),
    /// Run the drone process itself
    Run(RunArgs),
    /// Run one shell job (called by the drone)
    #[command(hide = true)]
    Job {
        /// The job's directory
        dir: PathBuf,
    },
    /// Answer git's questions for credentials (called by git)
    #[command(hide = true)]
    GitCredential {
        /// What git wants: get, store or erase
        operation: String,
    },
}

/// What a drone is told by whoever starts it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Assignment {
    /// Directory to work in: a workspace already, or empty
    #[arg(long, value_name = "DIR")]
    pub workspace: PathBuf,
    /// Address of the hub
    #[arg(long, value_name = "URL")]
    pub hub: String,
    /// Which drone this is
    #[arg(long, value_name = "ID")]
    pub registration: String,
    /// File with the token that proves it
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// Stop after so long without a hub and without work
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub orphan_timeout: Duration,
    #[command(flatten)]
    pub clocks: ClockArgs,
    /// Clone only so many commits of a project [default: all]
    #[arg(long, value_name = "COMMITS", env = "GADGET_CLONE_DEPTH", value_parser = clap::value_parser!(u32).range(1..))]
    pub clone_depth: Option<u32>,
    /// How many processes and threads a shell command may add to those of this user (root is not held to it)
    #[arg(long, value_name = "COUNT", env = "GADGET_JOB_TASKS", default_value_t = DEFAULT_MORE_TASKS)]
    pub job_tasks: u64,
    /// Where to answer /healthz, /readyz and /metrics [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    pub health_listen: Option<SocketAddr>,
    /// What to log: error, warn, info, debug, or a filter
    #[arg(long, value_name = "LEVEL", env = "GADGET_LOG", default_value = "info")]
    pub log_level: String,
}

/// How long the model's endpoint may be silent before the call is made again.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ClockArgs {
    /// Longest wait for the model's answer to begin
    #[arg(long = "model-headers", value_name = "TIME", env = "GADGET_MODEL_HEADERS", default_value = "5m", value_parser = duration)]
    pub headers: Duration,
    /// Longest wait from there to the first piece of it
    #[arg(long = "model-first-delta", value_name = "TIME", env = "GADGET_MODEL_FIRST_DELTA", default_value = "5m", value_parser = duration)]
    pub first_delta: Duration,
    /// Longest wait from one piece to the next
    #[arg(long = "model-next-delta", value_name = "TIME", env = "GADGET_MODEL_NEXT_DELTA", default_value = "3m", value_parser = duration)]
    pub next_delta: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    pub assignment: Assignment,
    /// How long the drone may take to stop before it is killed
    #[arg(long, value_name = "TIME", default_value = "25s", value_parser = duration)]
    pub grace: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub assignment: Assignment,
    /// How often the supervisor has restarted the drone
    #[arg(long, hide = true, default_value_t = 0)]
    pub process_restarts: u32,
    /// How the process before ended: code:N or signal:N
    #[arg(long, hide = true, value_parser = process_exit)]
    pub last_exit: Option<ProcessExit>,
    /// The supervisor's pid, without which this process ends
    #[arg(long, hide = true)]
    pub supervisor: Option<u32>,
}

impl Assignment {
    /// The same, as arguments of `run`.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let Self {
            workspace,
            hub,
            registration,
            token_file,
            orphan_timeout,
            clocks: ClockArgs { headers, first_delta, next_delta },
            clone_depth,
            job_tasks,
            health_listen,
            log_level,
        } = self;
        let time = |time: &Duration| format!("{}ms", time.as_millis()).into();
        let mut args: Vec<OsString> = Vec::new();
        let mut option = |name: &str, value: OsString| args.extend([name.into(), value]);
        option("--workspace", workspace.into());
        option("--hub", hub.into());
        option("--registration", registration.into());
        option("--token-file", token_file.into());
        option("--orphan-timeout", time(orphan_timeout));
        option("--model-headers", time(headers));
        option("--model-first-delta", time(first_delta));
        option("--model-next-delta", time(next_delta));
        option("--job-tasks", job_tasks.to_string().into());
        option("--log-level", log_level.into());
        if let Some(depth) = clone_depth {
            option("--clone-depth", depth.to_string().into());
        }
        if let Some(address) = health_listen {
            option("--health-listen", address.to_string().into());
        }
        args
    }
}

impl From<ClockArgs> for Clocks {
    fn from(args: ClockArgs) -> Self {
        let ClockArgs { headers, first_delta, next_delta } = args;
        Self { headers, first_delta, next_delta }
    }
}

/// `500ms`, `30s`, `10m`, `2h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("{text:?} is not a time such as 500ms, 30s or 10m");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(wrong)
}

fn process_exit(text: &str) -> Result<ProcessExit, String> {
    let wrong = || format!("{text:?} is neither code:N nor signal:N");
    let (kind, number) = text.split_once(':').ok_or_else(wrong)?;
    let number = Some(number.parse().map_err(|_| wrong())?);
    match kind {
        "code" => Ok(ProcessExit { code: number, signal: None }),
        "signal" => Ok(ProcessExit { code: None, signal: number }),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::run::config::DEFAULT_ORPHAN_TIMEOUT;

    #[test]
    fn the_command_line_is_sound() {
        DroneArgs::command().debug_assert();
    }

    #[test]
    fn what_init_is_told_reaches_run_unchanged() {
        let told = [
            "gadget-drone",
            "init",
            "--workspace",
            "/w",
            "--hub",
            "http://h",
            "--registration",
            "d1",
            "--token-file",
            "/t",
            "--grace",
            "3s",
            "--orphan-timeout",
            "2m",
            "--model-next-delta",
            "7s",
            "--clone-depth",
            "9",
            "--job-tasks",
            "77",
            "--health-listen",
            "127.0.0.1:9",
            "--log-level",
            "debug",
        ];
        let DroneCommand::Init(init) = DroneArgs::parse_from(told).command else { panic!("not init") };
        assert_eq!(init.grace, Duration::from_secs(3));
        let mut args: Vec<OsString> = vec!["gadget-drone".into(), "run".into()];
        args.extend(init.assignment.to_args());
        args.extend(["--last-exit".into(), "signal:9".into(), "--process-restarts".into(), "2".into()]);
        let DroneCommand::Run(run) = DroneArgs::parse_from(args).command else { panic!("not run") };
        assert_eq!(format!("{:?}", run.assignment), format!("{:?}", init.assignment));
        assert_eq!(run.last_exit, Some(ProcessExit { code: None, signal: Some(9) }));
        assert_eq!(run.process_restarts, 2);
    }

    #[test]
    fn a_drone_that_is_told_nothing_is_as_patient_as_the_endpoint_by_itself() {
        let told = ["gadget-drone", "run", "--workspace", "/w", "--hub", "http://h", "--registration", "d1"];
        let told = told.into_iter().chain(["--token-file", "/t"]);
        let DroneCommand::Run(run) = DroneArgs::parse_from(told).command else { panic!("not run") };
        assert_eq!(Clocks::from(run.assignment.clocks), Clocks::default());
        assert_eq!(run.assignment.clone_depth, None);
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("10m"), Ok(DEFAULT_ORPHAN_TIMEOUT));
        for wrong in ["", "s", "5d", "-1s", "99999999999999999999h", "18446744073709551615h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}

//! Starting a drone's supervisor as a child process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use tokio::process::{Child, Command};

use super::identity::Identity;
use super::layout::{Layout, create_private_dir};
use super::record::Record;
use super::tree::{self, MARKER};
use super::watched::Watched;
use super::{output, token};

/// What is run for a drone, and what it is told: `<program> <prefix…> init --workspace … --hub … …`.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    /// Arguments before `init`, such as `drone` where one binary holds the whole product.
    pub prefix: Vec<OsString>,
    /// All of the environment that drones get. Provider keys are in the hub's own and must not be in this one.
    pub environment: BTreeMap<OsString, OsString>,
}

/// A drone's process that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub process: Watched,
    /// Absent for a process that an earlier hub started.
    pub child: Option<Child>,
}

/// Variables that are of use to a drone, to git and to the commands that it runs, and hold no secret of the hub.
const PASSED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "TERM",
    "COLORTERM",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "GOPATH",
    "GOROOT",
    "JAVA_HOME",
    "NVM_DIR",
    "PYENV_ROOT",
    "VIRTUAL_ENV",
    "GADGET_LOG",
    "GADGET_CLONE_DEPTH",
    "GADGET_JOB_TASKS",
    "GADGET_MODEL_HEADERS",
    "GADGET_MODEL_FIRST_DELTA",
    "GADGET_MODEL_NEXT_DELTA",
];

impl Program {
    /// Takes from the hub's environment what drones may see.
    pub fn new(path: PathBuf, prefix: Vec<OsString>) -> Self {
        let environment =
            std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(may_pass)).collect();
        Self { path, prefix, environment }
    }
}

fn may_pass(name: &str) -> bool {
    PASSED.contains(&name) || name.starts_with("LC_")
}

/// Makes what the process needs on disk. The new token's hash is in the record and on disk before anything runs.
pub(super) fn prepare(layout: &Layout, record: &mut Record) -> io::Result<()> {
    let Record { drone, workspace, token_sha256, process, started_at, .. } = record;
    create_private_dir(&layout.drone(drone))?;
    create_private_dir(workspace)?;
    *token_sha256 = Some(token::mint(&layout.token(drone))?);
    *process = None;
    *started_at = Some(Timestamp::now());
    output::trim(&layout.output(drone))?;
    record.save(&layout.record(&record.drone))
}

/// Starts the process in a group of its own, so that a Ctrl-C at the hub's terminal does not reach it.
pub(super) fn spawn(
    program: &Program,
    layout: &Layout,
    record: &Record,
    grace: Duration,
) -> io::Result<Running> {
    let Program { path, prefix, environment } = program;
    let output = output::open(&layout.output(&record.drone))?;
    let child = Command::new(path)
        .args(prefix)
        .arg("init")
        .arg("--workspace")
        .arg(&record.workspace)
        .args(["--hub", &record.hub])
        .args(["--registration", record.drone.as_str()])
        .arg("--token-file")
        .arg(layout.token(&record.drone))
        .arg("--grace")
        .arg(format!("{}ms", grace.as_millis()))
        .env_clear()
        .envs(environment)
        .env(MARKER, record.drone.as_str())
        .current_dir(&record.workspace)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .kill_on_drop(false)
        .spawn()?;
    let process = Watched::of_child(&child)?;
    Ok(Running { process, child: Some(child) })
}

/// Finds the process that an earlier hub left, if it still runs.
pub(super) fn find(record: &Record) -> io::Result<Option<Running>> {
    let identity = match &record.process {
        Some(identity) => Some(identity.clone()),
        // That hub died between starting the process and writing it down.
        None if record.token_sha256.is_some() => match tree::find_supervisor(&record.drone)? {
            Some(pid) => Identity::of(pid)?,
            None => None,
        },
        None => None,
    };
    let process = match identity {
        Some(identity) => Watched::open(identity)?,
        None => None,
    };
    Ok(process.map(|process| Running { process, child: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drone_gets_its_own_settings_from_the_hub_s_environment_and_no_secret() {
        for own in ["HEADERS", "FIRST_DELTA", "NEXT_DELTA"].map(|clock| format!("GADGET_MODEL_{clock}")) {
            assert!(may_pass(&own), "{own}");
        }
        for own in ["GADGET_CLONE_DEPTH", "GADGET_JOB_TASKS", "GADGET_LOG", "LC_ALL"] {
            assert!(may_pass(own), "{own}");
        }
        // A person may have called a key what they liked.
        for other in ["GADGET_DATA", "GADGET_TOKEN_FILE", "GADGET_MODEL_KEY", "OPENAI_API_KEY", "LD_PRELOAD"]
        {
            assert!(!may_pass(other), "{other}");
        }
    }
}

//! Shell commands as jobs: each has a directory with all that is known of it, and a runner process that outlives the
//! drone.
//!
//! The drone writes what is to be done ([`directory::Spec`]) and starts a runner, which is the same program again. The
//! runner claims the job, so that it runs once however often a drone dies and tries again; it keeps every process of
//! the command below itself, sends their output to files, holds them to their limits, leaves none behind, and writes
//! down how it ended. The drone only follows the files: no pipe that a background child keeps open can hold it up.
//!
//! | the directory says | after a crash of the drone |
//! | --- | --- |
//! | ended | take the result |
//! | not claimed | start it |
//! | claimed, runner alive | follow it again |
//! | claimed, runner gone | nobody knows what was done: the model and the user are told so |

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::sandbox::Projects;

pub mod directory;
pub mod environment;
pub mod follow;
pub mod limits;
mod process;
mod reaper;
pub mod report;
pub mod runner;
mod sandbox;
mod tail;

/// How shell commands are started, and what each may use up.
#[derive(Debug)]
pub struct JobSettings {
    /// The program that is its own runner, and what comes before `job DIR` in its arguments: `gadget` and `drone`, or
    /// `gadget-drone` and nothing.
    pub program: PathBuf,
    pub prefix: Vec<OsString>,
    pub limits: Limits,
    /// A command that runs longer is stopped.
    pub default_timeout: Duration,
    /// The most that a call may ask for.
    pub longest_timeout: Duration,
    /// Places outside the workspace that commands may write to besides the directories for temporary files.
    pub writable: Vec<PathBuf>,
    /// Variables that commands get from the drone's environment besides the usual ones.
    pub variables: Vec<String>,
    /// That nothing confines commands on this kernel was said once.
    warned: AtomicBool,
}

/// Enough for builds and test runs on large machines; a fork bomb ends there and the machine goes on.
pub const DEFAULT_MORE_TASKS: u64 = 8192;

/// What one command may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Bytes of writable memory for each process.
    pub memory: u64,
    /// Processes of one command at the same time. The runner counts them and stops the command that has more.
    pub processes: usize,
    /// Processes and threads that the command may add to those that its user has when it begins. The kernel counts them
    /// for the whole user, over all containers of a machine, and does not hold root to it. None: not limited.
    pub more_tasks: Option<u64>,
    /// Bytes of one file.
    pub file_size: u64,
    /// Bytes that a command may print. The runner looks at the files and stops the command that printed more.
    pub output: u64,
}

impl JobSettings {
    pub fn new(program: impl Into<PathBuf>, prefix: Vec<OsString>) -> Self {
        Self {
            program: program.into(),
            prefix,
            limits: Limits::default(),
            default_timeout: Duration::from_mins(10),
            longest_timeout: Duration::from_hours(2),
            writable: environment::package_caches(),
            variables: Vec::new(),
            warned: AtomicBool::new(false),
        }
    }

    /// Says once in the log that the kernel has no Landlock.
    pub(crate) fn note_unconfined(&self) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("this kernel has no Landlock: shell commands can write wherever the drone can");
        }
    }
}

/// Where a command may write. With `read_only` no checkout is among it.
pub(crate) fn writable_places(workspace: &Path, read_only: bool, settings: &JobSettings) -> Vec<PathBuf> {
    let projects = if read_only { Projects::ReadOnly } else { Projects::Writable };
    sandbox::writable(workspace, projects, &settings.writable)
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: limits::most_of_the_memory(),
            processes: 1024,
            more_tasks: Some(DEFAULT_MORE_TASKS),
            file_size: 32 * 1024 * 1024 * 1024,
            output: 1024 * 1024 * 1024,
        }
    }
}

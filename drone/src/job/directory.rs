//! What is known of a job, as files: who wrote which one when is all that recovery needs.
//!
//! ```text
//! spec.json          what is to be done; by the drone, before it starts a runner
//! claim/owner.json   who runs it; by the one runner that could put `claim` in place
//! stdout, stderr     by the command
//! exit.json          how it ended; by the runner, last
//! runner.log         what the runner itself had to complain of
//! ```
//!
//! Each file is synced and renamed into place, so it is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Limits;
use super::process::{self, Identity};
use crate::path::OWN;
use crate::tool::{Keep, prune};

/// What a workspace remembers of jobs that are over.
const KEPT: Keep = Keep { entries: 100, bytes: 4 * 1024 * 1024 * 1024 };
/// A job whose runner was killed is asked about by the drone's next start; later than this nobody will.
const LOST_FOR: Duration = Duration::from_hours(24);

/// A job's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDirectory(PathBuf);

/// What is to be done. The environment is not in it: a runner inherits it from the drone that starts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// In the environment of every process of the job as `GADGET_JOB`; different for each job of the machine.
    pub marker: String,
    pub command: String,
    pub cwd: PathBuf,
    pub timeout_ms: u64,
    pub limits: Limits,
    /// Where the command may write.
    pub writable: Vec<PathBuf>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    pub reason: Reason,
    pub duration_ms: u64,
    /// Processes that were still there when the command itself had ended, and were stopped.
    pub leftovers: usize,
    /// Processes that the kernel ended meanwhile, of this command or beside it, because the memory was used up.
    #[serde(default)]
    pub out_of_memory: u64,
    /// Processes that could not be stopped.
    pub survivors: usize,
    /// The kernel kept the command's writes where they belong.
    pub confined: bool,
}

/// Why a job is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "why", content = "detail")]
pub enum Reason {
    /// The command ended by itself.
    Ended,
    TimedOut,
    /// The drone asked for it.
    Stopped,
    TooManyProcesses,
    TooMuchOutput,
    /// There is no shell, or the like.
    NotStarted(String),
}

/// Where a job is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing has happened, and no runner has taken it.
    Unclaimed,
    Running(Identity),
    Ended(Exit),
    /// A runner took it and is gone, without a word.
    Lost(Identity),
}

/// What went wrong with the files of a job.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("failed to {attempt} the job's {name}")]
    Io { attempt: &'static str, name: &'static str, source: io::Error },
    #[error("the job's {name} cannot be read")]
    Broken { name: &'static str, source: serde_json::Error },
}

const SPEC: &str = "spec.json";
const CLAIM: &str = "claim";
const OWNER: &str = "owner.json";
const EXIT: &str = "exit.json";

impl JobDirectory {
    /// The directory of a job of a workspace. `name` is a single harmless file name.
    pub fn of(workspace: &Path, name: &str) -> Self {
        Self(workspace.join(OWN).join("jobs").join(name))
    }

    /// All jobs that a workspace remembers.
    pub fn all(workspace: &Path) -> Result<Vec<Self>, DirectoryError> {
        match fs::read_dir(workspace.join(OWN).join("jobs")) {
            Ok(entries) => Ok(entries.flatten().map(|entry| Self(entry.path())).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(DirectoryError::Io { attempt: "list", name: "neighbours", source }),
        }
    }

    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn stdout(&self) -> PathBuf {
        self.0.join("stdout")
    }

    pub fn stderr(&self) -> PathBuf {
        self.0.join("stderr")
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("runner.log")
    }

    /// Puts a job there that nobody has begun. A job that is there already stays as it is. The oldest jobs of the
    /// workspace that are over are forgotten.
    pub fn create(&self, spec: &Spec) -> Result<(), DirectoryError> {
        let failed = |attempt| move |source| DirectoryError::Io { attempt, name: "directory", source };
        fs::create_dir_all(&self.0).map_err(failed("create"))?;
        if let Some(jobs) = self.0.parent() {
            let is_over = |path: &Path| Self::at(path).is_over();
            prune(jobs, KEPT, is_over).map_err(failed("make room for"))?;
        }
        if self.0.join(SPEC).exists() {
            return Ok(());
        }
        self.put(SPEC, "specification", spec)
    }

    pub fn spec(&self) -> Result<Spec, DirectoryError> {
        let missing = || DirectoryError::Io {
            attempt: "find",
            name: "specification",
            source: io::Error::from(io::ErrorKind::NotFound),
        };
        self.get(SPEC, "specification")?.ok_or_else(missing)
    }

    /// The runner that has or had the job.
    pub fn owner(&self) -> Result<Option<Identity>, DirectoryError> {
        self.get(&format!("{CLAIM}/{OWNER}"), "claim")
    }

    pub fn state(&self) -> Result<State, DirectoryError> {
        if let Some(exit) = self.get(EXIT, "result")? {
            return Ok(State::Ended(exit));
        }
        let Some(owner) = self.owner()? else { return Ok(State::Unclaimed) };
        if process::is_alive(&owner) {
            return Ok(State::Running(owner));
        }
        // It may have written its last word between the first look and now.
        Ok(self.get(EXIT, "result")?.map_or(State::Lost(owner), State::Ended))
    }

    /// Nobody will ask for it any more. One that runs, or that nobody has begun, would run again without its directory.
    fn is_over(&self) -> bool {
        let untouched = fs::metadata(&self.0).and_then(|found| found.modified()).ok();
        let untouched = untouched.and_then(|at| at.elapsed().ok()).unwrap_or_default();
        match self.state() {
            Ok(State::Ended(_)) => true,
            Ok(State::Lost(_) | State::Unclaimed) | Err(_) => untouched > LOST_FOR,
            Ok(State::Running(_)) => false,
        }
    }

    /// Takes the job for this process. False: another one has it.
    ///
    /// The claim is a directory that already holds its owner when it is renamed into place: no rename replaces a
    /// directory that is not empty, so one wins, and nobody ever sees a claim without an owner.
    pub fn claim(&self, owner: &Identity) -> Result<bool, DirectoryError> {
        let failed = |source| DirectoryError::Io { attempt: "write", name: "claim", source };
        let own = tempfile::Builder::new().prefix("claim-").tempdir_in(&self.0).map_err(failed)?;
        let mut file = File::create(own.path().join(OWNER)).map_err(failed)?;
        let text =
            serde_json::to_vec(owner).map_err(|source| DirectoryError::Broken { name: "claim", source })?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        match fs::rename(own.path(), self.0.join(CLAIM)) {
            Ok(()) => {
                sync_directory(&self.0).map_err(failed)?;
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists
                        | io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(false)
            }
            Err(source) => Err(failed(source)),
        }
    }

    /// The last word on a job.
    pub fn end(&self, exit: &Exit) -> Result<(), DirectoryError> {
        self.put(EXIT, "result", exit)
    }

    fn put(&self, file: &str, name: &'static str, value: &impl Serialize) -> Result<(), DirectoryError> {
        let text = serde_json::to_vec(value).map_err(|source| DirectoryError::Broken { name, source })?;
        let write = || {
            let mut temporary = tempfile::NamedTempFile::new_in(&self.0)?;
            temporary.write_all(&text)?;
            temporary.as_file().sync_all()?;
            temporary.persist(self.0.join(file)).map_err(|error| error.error)?;
            sync_directory(&self.0)
        };
        write().map_err(|source| DirectoryError::Io { attempt: "write", name, source })
    }

    fn get<T: DeserializeOwned>(&self, file: &str, name: &'static str) -> Result<Option<T>, DirectoryError> {
        match fs::read(self.0.join(file)) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|source| DirectoryError::Broken { name, source }),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(source) => Err(DirectoryError::Io { attempt: "read", name, source }),
        }
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests;

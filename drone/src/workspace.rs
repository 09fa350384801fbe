//! The workspace directory: its layout, its identity, and the claim of the one drone that may work in it.
//!
//! Everything that a drone must find again after a crash lies below `.gadget/`; nothing is deleted that the person may
//! have put into the directory.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::task::JoinError;
use tokio::time::Instant;

use self::document::{WorkOrderDocument, WorkspaceDocument};

pub mod document;
pub mod durable;
pub mod log;

/// How long the claim of a dead process is waited for, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// A workspace that this process holds. The claim ends with the value.
#[derive(Debug)]
pub struct Workspace {
    paths: Paths,
    /// As it is on disk.
    document: WorkspaceDocument,
    /// Holds the flock on `.gadget/`.
    _claim: File,
}

/// Where things lie in a workspace.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
}

/// Who holds a workspace: what `.gadget/tmp/holder.json` says, for the one who is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    pub pid: u32,
    pub hostname: String,
    pub since: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("{path} is neither empty nor a workspace (it holds {example:?}); choose an empty directory")]
    Foreign { path: PathBuf, example: String },
    #[error("the workspace {path} is in use by {}; stop that drone first", named(holder.as_ref()))]
    Held { path: PathBuf, holder: Option<Holder> },
    #[error("the task that opens the workspace crashed")]
    Task(#[source] JoinError),
    #[error("failed to {what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is damaged; restore it or move the directory away")]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

impl WorkspaceError {
    /// Trying again without a person's help would end the same way.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Foreign { .. } | Self::Damaged { .. } => true,
            // A twin that is just being stopped lets go in a moment, and a full disk may get room.
            Self::Held { .. } | Self::Task(_) | Self::Io { .. } => false,
        }
    }
}

impl Holder {
    /// The process is there. One on another host counts as there.
    fn is_alive(&self) -> bool {
        self.hostname != hostname() || Path::new("/proc").join(self.pid.to_string()).exists()
    }
}

impl Workspace {
    /// As [`Workspace::open`], but that a claim of a process that is dead is waited for: what it had just forked lets go
    /// of it a moment later.
    pub async fn claim(directory: PathBuf) -> Result<Self, WorkspaceError> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let directory = directory.clone();
            let opened = tokio::task::spawn_blocking(move || Self::open(&directory)).await;
            match opened.map_err(WorkspaceError::Task)? {
                Err(WorkspaceError::Held { holder: Some(holder), .. })
                    if !holder.is_alive() && Instant::now() < patience =>
                {
                    tokio::time::sleep(LOOK).await;
                }
                opened => return opened,
            }
        }
    }

    /// Opens the workspace in `directory`, or makes one there if it is empty or missing, and claims it.
    pub fn open(directory: &Path) -> Result<Self, WorkspaceError> {
        fs::create_dir_all(directory).map_err(io_error("make the directory", directory))?;
        let root = directory.canonicalize().map_err(io_error("resolve", directory))?;
        let paths = Paths { root };
        refuse_foreign(&paths)?;
        let gadget = paths.gadget();
        for directory in
            [gadget.clone(), paths.journals(), paths.logs(), paths.temporary(), gadget.join("cache")]
        {
            fs::create_dir_all(&directory).map_err(io_error("make the directory", &directory))?;
        }
        let claim = claim(&paths)?;
        sweep(&gadget)?;
        let document = load_or_create(&paths)?;
        Ok(Self { paths, document, _claim: claim })
    }

    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    pub fn document(&self) -> &WorkspaceDocument {
        &self.document
    }

    /// Changes `workspace.json`; the change is on disk when this returns. On failure nothing has changed.
    pub fn update(&mut self, change: impl FnOnce(&mut WorkspaceDocument)) -> Result<(), WorkspaceError> {
        let mut document = self.document.clone();
        change(&mut document);
        if document != self.document {
            write_json(&self.paths.workspace_json(), &document)?;
            self.document = document;
        }
        Ok(())
    }

    /// The work order on disk: of the turn that runs, or of one that a crash interrupted.
    pub fn work_order(&self) -> Result<Option<WorkOrderDocument>, WorkspaceError> {
        read_json(&self.paths.work_order_json())
    }

    pub fn put_work_order(&self, order: &WorkOrderDocument) -> Result<(), WorkspaceError> {
        self.paths.put_work_order(order)
    }

    pub fn remove_work_order(&self) -> Result<(), WorkspaceError> {
        let path = self.paths.work_order_json();
        durable::remove(&path).map_err(io_error("remove", &path))
    }
}

impl Paths {
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn gadget(&self) -> PathBuf {
        self.root.join(".gadget")
    }

    pub fn workspace_json(&self) -> PathBuf {
        self.gadget().join("workspace.json")
    }

    pub fn work_order_json(&self) -> PathBuf {
        self.gadget().join("work-order.json")
    }

    /// On disk when this returns. Only for who holds the workspace.
    pub fn put_work_order(&self, order: &WorkOrderDocument) -> Result<(), WorkspaceError> {
        write_json(&self.work_order_json(), order)
    }

    /// One file for each turn, and one for each of its sub-agents.
    pub fn journals(&self) -> PathBuf {
        self.gadget().join("journal")
    }

    pub fn logs(&self) -> PathBuf {
        self.gadget().join("logs")
    }

    pub fn temporary(&self) -> PathBuf {
        self.gadget().join("tmp")
    }

    /// The checkout of a project.
    pub fn project(&self, slug: &str) -> PathBuf {
        self.root.join(slug)
    }

    fn holder(&self) -> PathBuf {
        self.temporary().join("holder.json")
    }
}

/// A directory with things of someone else in it is left alone. File systems put `lost+found` into theirs, and a drone
/// that died on its first start may have left `.gadget` without an identity.
fn refuse_foreign(paths: &Paths) -> Result<(), WorkspaceError> {
    if paths.workspace_json().exists() {
        return Ok(());
    }
    let listing = |source| WorkspaceError::Io { what: "list", path: paths.root.clone(), source };
    for entry in fs::read_dir(&paths.root).map_err(listing)? {
        let name = entry.map_err(listing)?.file_name();
        if name != "lost+found" && name != ".gadget" {
            return Err(WorkspaceError::Foreign {
                path: paths.root.clone(),
                example: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

/// Takes the flock on `.gadget/`. The kernel gives it back however the process ends.
fn claim(paths: &Paths) -> Result<File, WorkspaceError> {
    let gadget = paths.gadget();
    let directory = File::open(&gadget).map_err(io_error("open", &gadget))?;
    match directory.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = read_json(&paths.holder()).ok().flatten();
            return Err(WorkspaceError::Held { path: paths.root.clone(), holder });
        }
        Err(TryLockError::Error(source)) => {
            return Err(WorkspaceError::Io { what: "lock", path: gadget, source });
        }
    }
    let holder = Holder { pid: std::process::id(), hostname: hostname(), since: Timestamp::now() };
    write_json(&paths.holder(), &holder)?;
    Ok(directory)
}

/// Removes what a crash left of files that were being replaced.
fn sweep(gadget: &Path) -> Result<(), WorkspaceError> {
    for entry in fs::read_dir(gadget).map_err(io_error("list", gadget))? {
        let path = entry.map_err(io_error("list", gadget))?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(durable::TEMPORARY_PREFIX))
        {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
    }
    Ok(())
}

fn load_or_create(paths: &Paths) -> Result<WorkspaceDocument, WorkspaceError> {
    let path = paths.workspace_json();
    let directory = paths.root.to_string_lossy().into_owned();
    let known: Option<WorkspaceDocument> = read_json(&path)?;
    let mut document = known
        .clone()
        .unwrap_or_else(|| WorkspaceDocument::new(hostname(), directory.clone(), Timestamp::now()));
    // A volume moves between hosts; who it is does not change with that.
    document.hostname = hostname();
    document.workspace_dir = directory;
    if known.as_ref() != Some(&document) {
        write_json(&path, &document)?;
    }
    Ok(document)
}

/// The name of this host, or of this pod.
pub fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| fs::read_to_string("/etc/hostname"))
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, WorkspaceError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| WorkspaceError::Damaged { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(WorkspaceError::Io { what: "read", path: path.to_owned(), source }),
    }
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), WorkspaceError> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|source| WorkspaceError::Damaged { path: path.to_owned(), source })?;
    text.push(b'\n');
    durable::replace(path, &text).map_err(io_error("write", path))
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WorkspaceError {
    let path = path.to_owned();
    move |source| WorkspaceError::Io { what, path, source }
}

fn named(holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder { pid, hostname, since }) => format!("process {pid} on {hostname} since {since}"),
        None => "another drone".to_owned(),
    }
}

#[cfg(test)]
mod tests;

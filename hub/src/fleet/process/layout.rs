//! Where the fleet keeps what: one directory per drone, one per workspace, all below the hub's data directory.

use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use protocol::ids::{ChatSessionId, DroneId};

use crate::fleet::DroneSpec;

/// Paths below one data directory. Ids are lower-case ULIDs made by the hub, so they are safe as file names.
#[derive(Clone, Debug)]
pub struct Layout {
    data: PathBuf,
}

impl Layout {
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into() }
    }

    pub(super) fn drones(&self) -> PathBuf {
        self.data.join("drones")
    }

    pub(super) fn drone(&self, id: &DroneId) -> PathBuf {
        self.drones().join(id.as_str())
    }

    pub(super) fn token(&self, id: &DroneId) -> PathBuf {
        self.drone(id).join("token")
    }

    pub(super) fn record(&self, id: &DroneId) -> PathBuf {
        self.drone(id).join("process.json")
    }

    pub(super) fn output(&self, id: &DroneId) -> PathBuf {
        self.drone(id).join("output.log")
    }

    /// The workspace of a drone: named by its session where there is one, else by the drone.
    pub fn workspace(&self, spec: &DroneSpec) -> PathBuf {
        let DroneSpec { id, user: _, session, facts: _ } = spec;
        match session {
            Some(session) => self.session_workspace(session),
            None => self.workspaces().join(id.as_str()),
        }
    }

    pub fn session_workspace(&self, session: &ChatSessionId) -> PathBuf {
        self.workspaces().join(session.as_str())
    }

    fn workspaces(&self) -> PathBuf {
        self.data.join("workspaces")
    }

    /// Makes a directory that the user chose the workspace of a session: by a link, so that it is found again by
    /// whoever looks for the session's workspace, and so that deleting the workspace deletes the link alone.
    pub fn assign_workspace(&self, session: &ChatSessionId, directory: &Path) -> io::Result<()> {
        create_private_dir(&self.workspaces())?;
        symlink(std::fs::canonicalize(directory)?, self.session_workspace(session))
    }
}

/// Creates a directory that nobody else can look into, with its parents.
pub(super) fn create_private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a workspace, if it is there. A directory that the user chose is only unlinked: it was there before us.
pub(super) fn remove_workspace(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_symlink() => std::fs::remove_file(path),
        Ok(_) => std::fs::remove_dir_all(path),
    }
}

//! One process per data directory: a lock on a file that names the process that holds it.
//!
//! The lock is the operating system's (`flock`), so it is gone with the process, however that ends; the number in the
//! file is only there to be told to a person.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

const FILE: &str = "hub.pid";

/// The directory is this process's alone while this value lives.
#[derive(Debug)]
pub struct DataLock {
    dir: PathBuf,
    /// Held, never read: closing it frees the lock.
    _file: Flock<File>,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(transparent)]
    Held(#[from] LockedBy),
    #[error("failed to lock the data directory {dir}")]
    Io {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Another process has the directory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the data directory {dir} is in use by {}; stop that process, or choose another directory",
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
)]
pub struct LockedBy {
    pub dir: PathBuf,
    /// Absent in the moment between its lock and its writing down of the number.
    pub pid: Option<u32>,
}

impl DataLock {
    /// Makes the directory (for this user alone) where there is none.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { dir: dir.to_owned(), source };
        create_private_dir(dir).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join(FILE))
            .map_err(failed)?;
        let mut told = String::new();
        // Read before the lock is tried: what stands there is only used when the lock is refused.
        file.read_to_string(&mut told).map_err(failed)?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(LockedBy { dir: dir.to_owned(), pid: told.trim().parse().ok() }.into());
            }
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { dir: dir.to_owned(), _file: file })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn create_private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let _held = DataLock::acquire(dir.path()).unwrap();
        let LockError::Held(by) = DataLock::acquire(dir.path()).unwrap_err() else {
            panic!("not a lock refusal")
        };
        assert_eq!(by, LockedBy { dir: dir.path().to_owned(), pid: Some(std::process::id()) });
        assert!(by.to_string().contains(&format!("process {}", std::process::id())));
    }

    #[test]
    fn a_directory_that_was_let_go_can_be_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataLock::acquire(dir.path()).unwrap());
        DataLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_is_made_for_the_user_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        DataLock::acquire(&dir).unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

//! The drone's log file, rotated by size so that a workspace never fills up with logs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

const ROTATE_AT_BYTES: u64 = 5 * 1024 * 1024;
/// `drone.log.1` is the newest of them.
const KEPT: u32 = 3;

/// A writer for `.gadget/logs/drone.log`. Before the workspace is made there is no such directory, and what is written
/// goes nowhere; cheap to clone, one file.
#[derive(Clone, Debug)]
pub struct RotatingLog {
    // A lock because log lines come from any thread; held for one write.
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// The open file and its size.
    file: Option<(File, u64)>,
    rotate_at: u64,
}

impl RotatingLog {
    /// Of the workspace in `directory`.
    pub fn of_workspace(directory: &Path) -> Self {
        Self::at(directory.join(".gadget/logs/drone.log"), ROTATE_AT_BYTES)
    }

    fn at(path: PathBuf, rotate_at: u64) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { path, file: None, rotate_at })) }
    }
}

impl Write for RotatingLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.inner.lock().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Inner {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.path.parent().is_none_or(|directory| !directory.is_dir()) {
            return Ok(line.len());
        }
        let (mut file, size) = match self.file.take() {
            Some((_, size)) if size + line.len() as u64 > self.rotate_at => {
                self.rotate()?;
                self.open()?
            }
            Some(open) => open,
            None => self.open()?,
        };
        file.write_all(line)?;
        self.file = Some((file, size + line.len() as u64));
        Ok(line.len())
    }

    fn open(&self) -> io::Result<(File, u64)> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    fn rotate(&self) -> io::Result<()> {
        let numbered = |number: u32| PathBuf::from(format!("{}.{number}", self.path.display()));
        for number in (1..KEPT).rev() {
            if numbered(number).exists() {
                fs::rename(numbered(number), numbered(number + 1))?;
            }
        }
        fs::rename(&self.path, numbered(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_renamed_and_the_oldest_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("drone.log");
        let mut log = RotatingLog::at(path.clone(), 8);
        for line in ["one....\n", "two....\n", "three..\n", "four...\n", "five...\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("drone.log"), "five...\n");
        assert_eq!(read("drone.log.1"), "four...\n");
        assert_eq!(read("drone.log.3"), "two....\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }

    #[test]
    fn without_a_workspace_nothing_is_written_and_nothing_fails() {
        let dir = tempfile::tempdir().unwrap();
        RotatingLog::of_workspace(dir.path()).write_all(b"early\n").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

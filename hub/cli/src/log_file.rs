//! Where the hub of `gadget local` logs to: a file that is rotated by size, and errors on standard error too.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// A file beyond this is put aside.
const MOST: u64 = 8 * 1024 * 1024;
/// So many files that were put aside are kept.
const KEPT: u32 = 3;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("failed to open the log {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("GADGET_LOG is not a level (error, warn, info, debug) or a filter")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    #[error("failed to start logging")]
    Start(#[source] tracing_subscriber::util::TryInitError),
}

/// Sends the process's log to `<data>/logs/hub.log`.
pub(crate) fn start(data: &Path) -> Result<(), LogError> {
    let filter = std::env::var("GADGET_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::builder().parse(filter).map_err(LogError::Filter)?;
    let path = data.join("logs").join("hub.log");
    let file = RotatedFile::open(&path, MOST).map_err(|source| LogError::Open { path, source })?;
    let to_file = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Mutex::new(file));
    let to_person = tracing_subscriber::fmt::layer()
        .compact()
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_writer(io::stderr)
        .with_filter(LevelFilter::ERROR);
    tracing_subscriber::registry()
        .with(to_file.with_filter(filter))
        .with(to_person)
        .try_init()
        .map_err(LogError::Start)
}

#[derive(Debug)]
struct RotatedFile {
    path: PathBuf,
    file: File,
    written: u64,
    most: u64,
}

impl RotatedFile {
    fn open(path: &Path, most: u64) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let written = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, written, most })
    }

    /// `hub.log` becomes `hub.log.1`, that one `hub.log.2`, and so on; the oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
        let name = |number| match number {
            0 => self.path.clone(),
            number => self.path.with_extension(format!("log.{number}")),
        };
        for number in (0..KEPT).rev() {
            match std::fs::rename(name(number), name(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        *self = Self::open(&self.path, self.most)?;
        Ok(())
    }
}

impl Write for RotatedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written >= self.most {
            self.rotate()?;
        }
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_rotated_by_size_and_old_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/hub.log");
        let mut log = RotatedFile::open(&path, 10).unwrap();
        for line in 0..7 {
            log.write_all(format!("line number {line}\n").as_bytes()).unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["hub.log", "hub.log.1", "hub.log.2", "hub.log.3"]);
        assert!(std::fs::read_to_string(&path).unwrap().contains("line number 6"));
        assert!(std::fs::read_to_string(path.with_extension("log.3")).unwrap().contains("line number 3"));
    }

    #[test]
    fn a_log_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hub.log");
        writeln!(RotatedFile::open(&path, 100).unwrap(), "one").unwrap();
        writeln!(RotatedFile::open(&path, 100).unwrap(), "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}

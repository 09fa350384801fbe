//! The data directory of a hub on this machine: where it is, and the files that other commands read there.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// A hub that runs, or did not end well.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    pub url: String,
    pub pid: u32,
}

/// An absolute path: drones work in other directories.
pub(crate) fn resolve(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let dir = match given {
        Some(dir) => dir.to_owned(),
        None => dirs::data_dir()
            .context("this user has no data directory: name one with --data DIR, or set HOME")?
            .join("gadget"),
    };
    std::path::absolute(&dir).with_context(|| format!("{} is not a path that can be used", dir.display()))
}

pub(crate) fn running_file(data: &Path) -> PathBuf {
    data.join("local.json")
}

pub(crate) fn token_file(data: &Path) -> PathBuf {
    data.join("token")
}

/// Replaces a file as a whole; only the user can read it.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    match std::fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_private_file_is_replaced_and_stays_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "old").unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_relative_directory_becomes_absolute() {
        assert!(resolve(Some(Path::new("x"))).unwrap().is_absolute());
    }
}

//! What a drone's supervisor writes to stdout and stderr: a file that the drone keeps when the hub is gone, kept small.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// A file beyond this is cut.
const MOST: u64 = 1024 * 1024;
/// So much of a file that is cut lives on beside it.
const KEPT: u64 = 256 * 1024;
const LONGEST_WORDS: usize = 300;

/// Opened for appending, so that cutting the file while a drone writes leaves no hole.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Cuts the file when it has grown too long; its end is kept as `output.log.1`. What is written at the same moment
/// may be lost: this is a file for looking into, the drone keeps a log of its own.
pub(super) fn trim(path: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    if file.metadata()?.len() > MOST {
        std::fs::write(path.with_extension("log.1"), tail(&file, KEPT)?)?;
        file.set_len(0)?;
    }
    Ok(())
}

/// The last line that says something, for a person who wants to know why the drone ended.
pub(super) fn last_words(path: &Path) -> Option<String> {
    let text = tail(&File::open(path).ok()?, 4096).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(LONGEST_WORDS).collect())
}

/// The file's last `most` bytes.
fn tail(mut file: &File, most: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_that_grew_too_long_is_cut_under_the_writer_and_its_end_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output.log");
        let mut writer = open(&path).unwrap();
        writer.write_all(&vec![b'x'; usize::try_from(MOST).unwrap()]).unwrap();
        trim(&path).unwrap();
        assert_eq!(path.metadata().unwrap().len(), MOST, "not yet too long");
        writer.write_all(b"the end\n").unwrap();
        trim(&path).unwrap();
        writer.write_all(b"after\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after\n");
        let kept = std::fs::read(dir.path().join("output.log.1")).unwrap();
        assert_eq!(kept.len() as u64, KEPT);
        assert!(kept.ends_with(b"the end\n"));
    }

    #[test]
    fn last_words_are_the_last_line_with_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output.log");
        assert_eq!(last_words(&path), None);
        std::fs::write(&path, "first\n  error: \u{1b}[31mworkspace is not empty  \n\n").unwrap();
        assert_eq!(last_words(&path).as_deref(), Some("error: [31mworkspace is not empty"));
    }

    #[test]
    fn trimming_a_file_that_is_not_there_is_nothing() {
        assert!(trim(Path::new("/nonexistent/output.log")).is_ok());
    }
}

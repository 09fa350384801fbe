//! A file that grows: its newest part for the screen while it does, its head and its tail for the model in the end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What one look shows at most.
const LOOK: u64 = 16 * 1024;
/// A reader that is further behind than this skips to the end.
const BEHIND: u64 = 64 * 1024;

/// Follows a file that may not be there yet.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    file: Option<File>,
    at: u64,
}

impl Tail {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, at: 0 }
    }

    /// What is new since the last look; none when nothing is. A character whose last bytes are still to come is left
    /// for the next look.
    pub(super) fn look(&mut self) -> Option<String> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let file = self.file.as_ref()?;
        let size = file.metadata().ok()?.len();
        let mut text = String::new();
        if size.saturating_sub(self.at) > BEHIND {
            let skipped = size - LOOK - self.at;
            text = format!("\n[… {skipped} bytes skipped …]\n");
            self.at += skipped;
        }
        let mut bytes = vec![0; usize::try_from((size - self.at.min(size)).min(LOOK)).ok()?];
        let read = file.read_at(&mut bytes, self.at).ok()?;
        bytes.truncate(whole_characters(&bytes[..read]));
        self.at += bytes.len() as u64;
        text += &String::from_utf8_lossy(&bytes);
        (!text.is_empty()).then_some(text)
    }
}

/// The ends of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) size: u64,
    /// The whole text if it is not longer than head and tail may be.
    pub(super) head: String,
    /// Empty when the head is the whole.
    pub(super) tail: String,
}

/// Reads the head and the tail of a file; nothing when it is not there.
pub(super) fn ends(path: &Path, head: usize, tail: usize) -> io::Result<Ends> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ends::default()),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    if size <= (head + tail) as u64 {
        return Ok(Ends { size, head: part(&file, 0, head + tail)?, tail: String::new() });
    }
    Ok(Ends { size, head: part(&file, 0, head)?, tail: part(&file, size - tail as u64, tail)? })
}

fn part(file: &File, at: u64, length: usize) -> io::Result<String> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], at + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(String::from_utf8_lossy(&bytes[..filled]).into_owned())
}

/// How many of the bytes there are without a character at the end that is not complete yet.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        // All good; or broken in the middle: no waiting for what never comes.
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn each_look_shows_what_is_new_in_whole_characters() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let mut tail = Tail::new(path.clone());
        assert_eq!(tail.look(), None);
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one \xc3").unwrap();
        assert_eq!(tail.look().as_deref(), Some("one "));
        file.write_all(b"\xa4").unwrap();
        assert_eq!(tail.look().as_deref(), Some("ä"));
        assert_eq!(tail.look(), None);
    }

    #[test]
    fn a_flood_is_skipped_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        std::fs::write(&path, "x".repeat(1_000_000)).unwrap();
        let shown = Tail::new(path).look().unwrap();
        assert!(shown.starts_with("\n[… 983616 bytes skipped …]\nxxx"), "{}", &shown[..40]);
        assert!(shown.len() < 17_000);
    }

    #[test]
    fn the_ends_of_a_long_file_are_read_and_a_short_one_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        assert_eq!(ends(&path, 2, 2).unwrap(), Ends::default());
        std::fs::write(&path, "abcd").unwrap();
        assert_eq!(ends(&path, 2, 2).unwrap(), Ends { size: 4, head: "abcd".into(), tail: String::new() });
        std::fs::write(&path, "abcde").unwrap();
        assert_eq!(ends(&path, 2, 2).unwrap(), Ends { size: 5, head: "ab".into(), tail: "de".into() });
    }
}

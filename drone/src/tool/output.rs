//! How much of a result the model gets to read: its head and its tail, with the true size between them.
//!
//! What is left out is not lost: the whole lies in a spill file that `read` and `grep` can open.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use protocol::ids::{CallId, ChatSessionId};

use super::ToolContext;
use crate::path::content::sha256_hex;

/// Bytes of the head and of the tail that are kept of a text that is longer than both together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) head: usize,
    pub(crate) tail: usize,
}

/// Names and hits come sorted: the head tells more.
pub(crate) const LISTING: Limit = Limit { head: 24 * 1024, tail: 4 * 1024 };

/// How much stays of a directory that would grow without end. The newest stay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    pub(crate) entries: usize,
    pub(crate) bytes: u64,
}

/// The spill files that a workspace keeps.
const KEPT_SPILLS: Keep = Keep { entries: 200, bytes: 2 * 1024 * 1024 * 1024 };

/// Where the whole of long results lies, in the workspace.
pub(crate) fn spill_directory(workspace: &Path) -> PathBuf {
    workspace.join(crate::path::OWN).join("tmp").join("spill")
}

/// Cuts a result to its limit. The whole is kept in a spill file.
pub(crate) fn bounded(context: &ToolContext, call: &CallId, text: String, limit: Limit) -> String {
    if text.len() <= limit.head + limit.tail {
        return text;
    }
    let whole = match spill(context, call, &text) {
        Ok(path) => format!("the whole is in {}", path.display()),
        Err(error) => {
            tracing::warn!(%error, "failed to keep a long result");
            "the whole could not be kept".to_owned()
        }
    };
    let (head, tail) = head_and_tail(&text, limit);
    join(head, tail, text.len() as u64, &whole)
}

/// Head, a note about what is missing, and tail.
pub(crate) fn join(head: &str, tail: &str, size: u64, whole: &str) -> String {
    let left_out = size.saturating_sub((head.len() + tail.len()) as u64);
    let newline = if head.is_empty() || head.ends_with('\n') { "" } else { "\n" };
    format!("{head}{newline}[… {left_out} of {size} bytes left out; {whole} …]\n{tail}")
}

/// The parts of a text that are shown, cut at line ends where there are some.
fn head_and_tail(text: &str, limit: Limit) -> (&str, &str) {
    let head = &text[..text.floor_char_boundary(limit.head)];
    let head = head.rfind('\n').map_or(head, |end| &head[..=end]);
    let tail = &text[text.ceil_char_boundary(text.len() - limit.tail)..];
    let tail = match tail.find('\n') {
        Some(start) if start + 1 < tail.len() => &tail[start + 1..],
        _ => tail,
    };
    (head, tail)
}

/// A name for the files of a call: readable, of harmless characters, and different for each call of each session.
pub(crate) fn file_name(session: &ChatSessionId, call: &CallId) -> String {
    let readable: String =
        call.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    let hash = sha256_hex(format!("{session}\0{call}").as_bytes());
    format!("{readable}-{}", &hash[..12])
}

/// Makes room for another spill file in their directory.
pub(crate) fn make_room(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    prune(directory, KEPT_SPILLS, |_| true)
}

fn spill(context: &ToolContext, call: &CallId, text: &str) -> io::Result<PathBuf> {
    let directory = spill_directory(&context.workspace);
    make_room(&directory)?;
    let path = directory.join(format!("{}.txt", file_name(&context.chat_session, call)));
    fs::write(&path, text)?;
    Ok(path)
}

/// Removes the oldest entries of a directory, of those that may go, until there is room for one more. Calls that run at
/// the same time may prune the same entries: what is gone already is fine.
pub(crate) fn prune(directory: &Path, keep: Keep, may_go: impl Fn(&Path) -> bool) -> io::Result<()> {
    let mut entries: Vec<(SystemTime, PathBuf, u64)> = fs::read_dir(directory)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let metadata = entry.metadata().ok()?;
            let bytes = if metadata.is_dir() { size_of_files(&entry.path()) } else { metadata.len() };
            Some((metadata.modified().ok()?, entry.path(), bytes))
        })
        .collect();
    entries.sort();
    let (mut count, mut bytes) = (entries.len(), entries.iter().map(|(_, _, bytes)| bytes).sum::<u64>());
    for (_, path, size) in entries {
        if count < keep.entries && bytes <= keep.bytes {
            break;
        }
        if !may_go(&path) {
            continue;
        }
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        count -= 1;
        bytes -= size;
    }
    Ok(())
}

/// Of the files right in a directory.
fn size_of_files(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_tail_keep_whole_lines_and_characters() {
        let text = "first\nsecond\nthird\nlast\n";
        assert_eq!(head_and_tail(text, Limit { head: 8, tail: 8 }), ("first\n", "last\n"));
        let wide = "ä".repeat(50);
        let (head, tail) = head_and_tail(&wide, Limit { head: 7, tail: 7 });
        assert_eq!((head.chars().count(), tail.chars().count()), (3, 3));
    }

    #[test]
    fn the_note_says_how_much_is_missing() {
        assert_eq!(join("ab", "yz", 10, "gone"), "ab\n[… 6 of 10 bytes left out; gone …]\nyz");
    }

    #[test]
    fn calls_of_one_name_in_two_sessions_have_files_of_their_own() {
        let call = CallId::from("call/../1");
        let one = file_name(&ChatSessionId::from("a"), &call);
        assert_ne!(one, file_name(&ChatSessionId::from("b"), &call));
        assert!(one.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{one}");
    }

    /// Files of ten bytes, the first one the oldest.
    fn aged(names: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (age, name) in (0..100).rev().zip(names) {
            fs::write(directory.path().join(name), "0123456789").unwrap();
            let file = fs::File::options().write(true).open(directory.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        }
        directory
    }

    fn left(directory: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(directory.path()).unwrap().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_go_first_until_there_is_room_by_count_and_by_bytes() {
        let directory = aged(&["old", "middle", "new"]);
        prune(directory.path(), Keep { entries: 3, bytes: 1000 }, |_| true).unwrap();
        assert_eq!(left(&directory), ["middle", "new"]);
        prune(directory.path(), Keep { entries: 3, bytes: 10 }, |_| true).unwrap();
        assert_eq!(left(&directory), ["new"]);
    }

    #[test]
    fn what_may_not_go_stays_however_old_it_is() {
        let directory = aged(&["old", "middle", "new"]);
        prune(directory.path(), Keep { entries: 1, bytes: 0 }, |path| !path.ends_with("old")).unwrap();
        assert_eq!(left(&directory), ["old"]);
    }
}

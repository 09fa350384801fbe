//! How much of a result the model gets to read: its head and its tail, with the true size between them.
//!
//! What is left out is not lost: the whole lies in a spill file that `read` and `grep` can open.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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

/// How many spill files a workspace keeps. The newest stay.
const KEPT_SPILLS: usize = 200;

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

fn spill(context: &ToolContext, call: &CallId, text: &str) -> io::Result<PathBuf> {
    let directory = spill_directory(&context.workspace);
    fs::create_dir_all(&directory)?;
    prune(&directory, KEPT_SPILLS)?;
    let path = directory.join(format!("{}.txt", file_name(&context.chat_session, call)));
    fs::write(&path, text)?;
    Ok(path)
}

/// Removes the oldest entries of a directory until there is room for one more. Calls that run at the same time may
/// prune the same entries: what is gone already is fine.
pub(crate) fn prune(directory: &Path, keep: usize) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(directory)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    if entries.len() < keep {
        return Ok(());
    }
    entries.sort();
    for (_, path) in entries.iter().take(entries.len() + 1 - keep) {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
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

    #[test]
    fn the_oldest_files_go_first() {
        let directory = tempfile::tempdir().unwrap();
        for (age, name) in [(30, "old"), (20, "middle"), (10, "new")] {
            let file = fs::File::create(directory.path().join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        }
        prune(directory.path(), 3).unwrap();
        assert!(!directory.path().join("old").exists());
        assert!(directory.path().join("middle").exists() && directory.path().join("new").exists());
    }
}

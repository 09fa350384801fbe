//! One page of a file tree: directories before what is in them, names in order, so that a page can begin after any
//! path.

use std::path::Path;

use cap_std::fs::{Dir, Metadata};
use jiff::Timestamp;
use protocol::error::Refusal;
use protocol::ide::{FileTreeAnswer, FileTreeEntry, FileTreeRequest};
use protocol::value::FileKind;

use super::visible;
use crate::path::{OWN, PathError, Root};

/// What one page holds at most.
const ENTRIES: usize = 2000;
const BYTES: usize = 512 * 1024;
/// Deeper is not looked at once.
const DEEPEST: u32 = 32;

/// Lists what a request asks for.
pub(super) fn list(root: &Root, request: &FileTreeRequest) -> Result<FileTreeAnswer, Refusal> {
    let FileTreeRequest { path, depth, cursor } = request;
    let inside = visible(root, path.as_deref().unwrap_or_default())?;
    let directory = root.open_dir(&inside)?;
    let after: Vec<&str> = cursor.as_deref().map(|cursor| cursor.split('/').collect()).unwrap_or_default();
    let mut page = Page { entries: Vec::new(), bytes: 0, is_full: false };
    let prefix = inside.as_path().to_string_lossy().into_owned();
    let depth = depth.unwrap_or(1).clamp(1, DEEPEST);
    page.fill(&directory, &prefix, &after, depth).map_err(|source| PathError::Io {
        attempt: "list",
        path: inside.show(),
        source,
    })?;
    let last = page.entries.last().map(|entry| relative(&prefix, &entry.path).to_owned());
    let cursor = last.filter(|_| page.is_full);
    Ok(FileTreeAnswer { entries: Some(page.entries), error: None, code: None, cursor })
}

struct Page {
    entries: Vec<FileTreeEntry>,
    /// Of the entries as text, roughly.
    bytes: usize,
    is_full: bool,
}

impl Page {
    /// Adds what lies in a directory. `after` names the last entry of the page before, from here on downwards: all up
    /// to it is left out.
    fn fill(&mut self, directory: &Dir, prefix: &str, after: &[&str], depth: u32) -> std::io::Result<()> {
        let mut names: Vec<String> = directory
            .entries()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name != ".git" && name != OWN)
            .collect();
        names.sort_unstable();
        let first = after.first().copied();
        for name in names.iter().filter(|name| first.is_none_or(|first| name.as_str() >= first)) {
            let was_listed = first == Some(name.as_str());
            // What has gone since is not there.
            let Ok(metadata) = directory.symlink_metadata(name) else { continue };
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            if !was_listed && !self.add(name, &path, &metadata) {
                return Ok(());
            }
            if metadata.is_dir() && depth > 1 {
                let after = if was_listed { &after[1..] } else { &[] };
                // One that cannot be entered is shown without what is in it.
                if let Ok(below) = directory.open_dir(name) {
                    self.fill(&below, &path, after, depth - 1)?;
                }
                if self.is_full {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// False: there is no room.
    fn add(&mut self, name: &str, path: &str, metadata: &Metadata) -> bool {
        if self.entries.len() >= ENTRIES || self.bytes >= BYTES {
            self.is_full = true;
            return false;
        }
        let kind = if metadata.is_symlink() {
            FileKind::Symlink
        } else if metadata.is_dir() {
            FileKind::Directory
        } else {
            FileKind::File
        };
        self.bytes += name.len() + path.len() + 120;
        let modified = metadata.modified().ok().and_then(|time| Timestamp::try_from(time.into_std()).ok());
        self.entries.push(FileTreeEntry {
            name: name.to_owned(),
            path: path.to_owned(),
            kind,
            size: (kind == FileKind::File).then(|| metadata.len()),
            modified_at: modified,
        });
        true
    }
}

fn relative<'a>(prefix: &str, path: &'a str) -> &'a str {
    let below = Path::new(path).strip_prefix(prefix).ok().and_then(Path::to_str);
    below.unwrap_or(path)
}

//! What an agent has read: the guard against overwriting what somebody else has changed meanwhile.
//!
//! Each `read`, `write` and `edit` notes the hash of the whole file. A later `write` or `edit` of that file is refused
//! when the file no longer has this hash: the agent would act on what it believes, not on what is there. A file that
//! the agent has not met in this turn is not guarded.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Outcome, ToolError};
use crate::path::Inside;

/// The hashes of the files that one agent has read or written in this turn.
#[derive(Debug, Default)]
pub struct SeenFiles {
    /// By path below the project root, as it really is. A short lock, never held across an await.
    hashes: Mutex<HashMap<String, String>>,
}

impl SeenFiles {
    /// Notes what a journaled result says about a file. For a turn that goes on after a restart.
    pub fn restore(&self, outcome: &Outcome) {
        let file = outcome.data.as_ref().and_then(|data| data.get("file"));
        let text = |name| file.and_then(|file| file.get(name)).and_then(Value::as_str);
        if let (Some(path), Some(sha256)) = (text("path"), text("sha256")) {
            self.hashes.lock().insert(path.to_owned(), sha256.to_owned());
        }
    }

    pub(crate) fn note(&self, path: &Inside, sha256: &str) {
        self.hashes.lock().insert(path.show(), sha256.to_owned());
    }

    /// Refuses a change of a file that is not any more what the agent has seen.
    pub(crate) fn check(&self, path: &Inside, now: Option<&str>) -> Result<(), ToolError> {
        match (self.hashes.lock().get(&path.show()), now) {
            (Some(seen), Some(now)) if seen != now => Err(stale(path)),
            _ => Ok(()),
        }
    }
}

/// The part of a result's data that [`SeenFiles::restore`] reads.
pub(crate) fn file_data(path: &Inside, sha256: &str) -> Value {
    json!({ "path": path.show(), "sha256": sha256 })
}

pub(crate) fn stale(path: &Inside) -> ToolError {
    ToolError::new("STALE_FILE", format!("{} has changed since you read it", path.show()))
        .about("path")
        .hint("Read the file again and base the change on what it holds now.")
}

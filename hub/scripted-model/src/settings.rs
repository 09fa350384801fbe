//! What a script file holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::pace::Pace;
use crate::script::Script;

/// A script file. All fields but `scripts` may be left out.
///
/// Which script answers is decided by the newest prompt with a marker `[[script:NAME]]` in it; a conversation without
/// one gets the script called `default`, or a sentence that says that there is none.
///
/// ```json
/// { "scripts": { "hello": { "answers": [ [ { "say": "Hello!" } ] ] } }, "secrets": ["sk-123"] }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub scripts: BTreeMap<String, Script>,
    /// Texts that must never be in a request.
    pub secrets: Vec<String>,
    /// Between the pieces of an answer; none: as fast as they are read.
    pub pace: Pace,
    /// Requests of more tokens than this, at four bytes each, are refused as too long.
    pub context_window: Option<u64>,
    /// The models on offer; none: one that is called `scripted`.
    pub models: Vec<String>,
}

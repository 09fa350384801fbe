//! What a journal says: the records, in the words of the turn loop.
//!
//! Besides what happened, a record keeps the numbers of the events that told the hub about it. After a crash they say
//! what the hub is still to be told, whatever it had stored by then.

use jiff::Timestamp;
use protocol::document::TurnStats;
use protocol::ids::{ChatSessionId, TurnId};
use protocol::value::{ChatTurnStatus, SubagentKind};
use serde::{Deserialize, Serialize};

use crate::model::Completion;
use crate::tool::{Intent, Outcome};

/// One record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Of the connection under which it was written, so that a forgotten twin's records can be told apart.
    pub generation: u64,
    pub at: Timestamp,
    #[serde(flatten)]
    pub body: Body,
}

/// Calls are numbered from 0 within an agent's journal, in the order in which the model made them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Body {
    /// The first record.
    TurnOpen(Opening),
    /// A new attempt goes on from here.
    Resume(Resume),
    /// A whole answer of the model.
    Assistant {
        completion: Completion,
        /// Where its text was told; absent when it has none and none was shown.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        text: Option<TextSpan>,
        /// The `usage` event.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        usage: Option<u64>,
    },
    /// A call is about to take effect.
    Intent {
        call: usize,
        intent: Intent,
        /// The event that told of its start.
        started: u64,
    },
    /// A call has ended.
    Result {
        call: usize,
        outcome: Outcome,
        /// The event that told of its start, for a call that never had an intent.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        started: Option<u64>,
        /// The event that told of its end.
        ended: u64,
    },
    /// A sub-agent is about to begin, with a journal of its own.
    ChildOpen { call: usize, kind: SubagentKind, prompt: String, started: u64 },
    /// A sub-agent has ended. The result of its call is the next record, written in the same breath.
    ChildClose { call: usize, response: String, stats: TurnStats, complete: u64 },
    /// The conversation did not fit the model: from here on so many of its earlier turns are left out.
    Trim { omitted: u64 },
    /// The user has asked for the stop: nothing new begins.
    Cancel,
    /// The last record.
    TurnClose {
        status: ChatTurnStatus,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        message: Option<String>,
        /// The `workOrderComplete` event; absent in a sub-agent's journal.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        complete: Option<u64>,
    },
}

/// What stays the same for the whole turn, so that the prompt's bytes do after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opening {
    pub turn_id: TurnId,
    pub chat_session_id: ChatSessionId,
    pub attempt: u32,
    /// The number of the turn's first event.
    pub first_seq: u64,
    pub system: String,
    /// The user's message as the model gets it, with the facts about the environment.
    pub prompt: String,
    /// How many of the conversation's earlier turns are left out.
    pub omitted: u64,
}

/// What the hub was told again when the turn went on after a crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resume {
    pub attempt: u32,
    /// The number of the first event of this attempt: all before it are stored.
    pub first_seq: u64,
    /// The number of the last event told again; the one before `first_seq` when there is none.
    pub through: u64,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub withdrawn: Vec<Withdrawal>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub retold: Vec<Retold>,
}

/// Text of a broken-off answer that was taken back, by the `superseded` event `seq`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawal {
    /// The sub-agent's call; absent: the turn's own agent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent: Option<usize>,
    pub from: u64,
    pub to: u64,
    pub seq: u64,
}

/// Something that has new numbers now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retold {
    #[serde(flatten)]
    pub what: Telling,
    pub from: u64,
    pub to: u64,
}

/// Which event or events, by the record that they stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Telling {
    /// The sub-agent's call; absent: the turn's own agent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent: Option<usize>,
    /// The place of the record in that agent's journal, from 0.
    pub record: usize,
    pub part: Part,
}

/// Which of a record's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    Text,
    Usage,
    Started,
    Ended,
    Complete,
}

/// The events of one answer's text. Withdrawn text of broken-off tries lies in it too: everything from `from` on is this
/// answer's, good or withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TextSpan {
    pub from: u64,
    pub to: u64,
}

//! A model request as a script looks at it, whatever dialect it came in.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::dialect::Dialect;

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub dialect: Dialect,
    pub model: String,
    /// The system prompt; empty when there is none.
    pub system: String,
    /// The conversation without the system prompt, oldest first.
    pub messages: Vec<Message>,
    /// The names of the tools on offer, in the order in which they came.
    pub tools: Vec<String>,
    /// Whether the answer is wanted piece by piece.
    pub is_streamed: bool,
    /// The context that the endpoint is told to keep, where the dialect has such a field.
    pub num_ctx: Option<u64>,
    /// The size of the whole request in bytes.
    pub size: usize,
    /// A fingerprint of the bytes of the system prompt and the tools.
    pub(crate) preamble: u64,
    /// A fingerprint of each message's bytes.
    pub(crate) fingerprints: Vec<u64>,
}

/// A message of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    User {
        text: String,
    },
    Assistant {
        text: String,
        calls: Vec<Call>,
    },
    /// The result of a call. Ollama's older clients name the tool instead of the call.
    Tool {
        call_id: Option<String>,
        name: Option<String>,
        text: String,
    },
}

/// A tool call in the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub id: Option<String>,
    pub name: String,
    pub arguments: Value,
}

/// A body that is no request of the dialect.
#[derive(Debug, thiserror::Error)]
#[error("the body is no {dialect} request")]
pub struct RequestError {
    pub(crate) dialect: Dialect,
    #[source]
    pub(crate) source: serde_json::Error,
}

impl Request {
    /// The newest message of the user.
    pub fn prompt(&self) -> Option<&str> {
        self.messages.iter().rev().find_map(|message| match message {
            Message::User { text } => Some(text.as_str()),
            Message::Assistant { .. } | Message::Tool { .. } => None,
        })
    }

    /// The place of the newest message of the user that `is_meant`.
    pub fn newest_user(&self, is_meant: impl Fn(&str) -> bool) -> Option<usize> {
        self.messages.iter().rposition(|message| matches!(message, Message::User { text } if is_meant(text)))
    }

    /// How many answers the model has given since the message at `place`.
    pub fn answers_since(&self, place: usize) -> usize {
        self.messages[place..].iter().filter(|message| matches!(message, Message::Assistant { .. })).count()
    }

    /// The results of the newest answer's calls, in order.
    pub fn newest_results(&self) -> Vec<&str> {
        let newest = self.messages.iter().rposition(|message| matches!(message, Message::Assistant { .. }));
        let results = newest.map_or(&[][..], |at| &self.messages[at + 1..]);
        results
            .iter()
            .filter_map(|message| match message {
                Message::Tool { text, .. } => Some(text.as_str()),
                Message::User { .. } | Message::Assistant { .. } => None,
            })
            .collect()
    }

    pub fn offers(&self, tool: &str) -> bool {
        self.tools.iter().any(|name| name == tool)
    }

    /// Whether the model has called this tool since the message at `place`.
    pub fn has_called_since(&self, place: usize, tool: &str) -> bool {
        self.messages[place..].iter().any(|message| match message {
            Message::Assistant { calls, .. } => calls.iter().any(|call| call.name == tool),
            Message::User { .. } | Message::Tool { .. } => false,
        })
    }

    /// The text of everything in the conversation, for searching.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let messages = self.messages.iter().map(|message| match message {
            Message::User { text } | Message::Assistant { text, .. } | Message::Tool { text, .. } => {
                text.as_str()
            }
        });
        std::iter::once(self.system.as_str()).chain(messages)
    }
}

pub(crate) fn fingerprint(parts: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

pub(crate) fn raw_text(raw: Option<&RawValue>) -> &str {
    raw.map_or("", RawValue::get)
}

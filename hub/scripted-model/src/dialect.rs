//! The wire dialects: how a request is read and an answer is written in each.

mod ollama;
mod openai;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::request::{Request, RequestError};
use crate::script::{Stop, Usage};

/// A wire dialect that the scripted model speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// OpenAI chat completions, as server-sent events.
    OpenAi,
    /// Ollama's own chat API, as lines of JSON.
    Ollama,
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OpenAi => "OpenAI chat completion",
            Self::Ollama => "Ollama chat",
        })
    }
}

/// A piece of an answer, before it has bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece<'a> {
    Think(&'a str),
    Say(&'a str),
    /// A call begins. `arguments` are there at once in a dialect that does not stream them.
    CallHead {
        index: usize,
        id: &'a str,
        name: &'a str,
        arguments: &'a Value,
    },
    CallArguments {
        index: usize,
        text: &'a str,
    },
    Comment(&'a str),
    Error {
        message: &'a str,
        code: Option<&'a str>,
    },
    /// Any JSON as a frame of the dialect.
    Frame(&'a Value),
    BadFrame,
    End {
        stop: Stop,
        usage: Option<&'a Usage>,
    },
}

/// A whole answer, for a client that does not stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whole {
    pub(crate) thinking: String,
    pub(crate) text: String,
    /// Id, name, arguments.
    pub(crate) calls: Vec<(String, String, Value)>,
    pub(crate) stop: Stop,
    pub(crate) usage: Option<Usage>,
}

impl Dialect {
    /// The dialect whose endpoint has this path, whatever prefix it is mounted under.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.trim_end_matches('/');
        if path.ends_with("chat/completions") {
            Some(Self::OpenAi)
        } else if path.ends_with("api/chat") {
            Some(Self::Ollama)
        } else {
            None
        }
    }

    pub(crate) fn read(self, body: &[u8]) -> Result<Request, RequestError> {
        match self {
            Self::OpenAi => openai::read(body),
            Self::Ollama => ollama::read(body),
        }
        .map_err(|source| RequestError { dialect: self, source })
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenAi => "text/event-stream",
            Self::Ollama => "application/x-ndjson",
        }
    }

    /// Whether a call's arguments come in pieces.
    pub(crate) fn streams_arguments(self) -> bool {
        match self {
            Self::OpenAi => true,
            Self::Ollama => false,
        }
    }

    pub(crate) fn write(self, model: &str, piece: &Piece<'_>) -> Bytes {
        match self {
            Self::OpenAi => openai::write(model, piece),
            Self::Ollama => ollama::write(model, piece),
        }
        .into()
    }

    pub(crate) fn write_whole(self, model: &str, whole: &Whole) -> Value {
        match self {
            Self::OpenAi => openai::write_whole(model, whole),
            Self::Ollama => ollama::write_whole(model, whole),
        }
    }

    /// The body beside an error status.
    pub(crate) fn write_refusal(self, code: u16, message: &str) -> Value {
        match self {
            Self::OpenAi => openai::write_refusal(code, message),
            Self::Ollama => ollama::write_refusal(message),
        }
    }

    /// What this kind of endpoint says when the conversation is too long: status and body.
    pub(crate) fn write_overflow(self, tokens: u64, window: u64) -> (u16, Value) {
        match self {
            Self::OpenAi => (400, openai::write_overflow(tokens, window)),
            Self::Ollama => (400, ollama::write_overflow(tokens, window)),
        }
    }
}

//! The dialects that this drone speaks, and what differs between them.

use std::borrow::Cow;

use protocol::value::Dialect;
use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::fault::Fault;
use super::frames::Framing;
use super::{ModelRequest, ollama, openai};
use crate::tool::ToolSpec;

/// A dialect with an implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// OpenAI chat completions.
    OpenAi,
    /// Ollama's own chat API.
    Ollama,
}

impl Wire {
    pub(super) fn of(dialect: Dialect) -> Result<Self, Fault> {
        match dialect {
            Dialect::OpenAi => Ok(Self::OpenAi),
            Dialect::Ollama => Ok(Self::Ollama),
            Dialect::OpenAiResponses | Dialect::Anthropic => Err(Fault::Unsupported { dialect }),
        }
    }

    /// Below the provider's base URL.
    pub(super) fn path(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi => &["chat", "completions"],
            Self::Ollama => &["api", "chat"],
        }
    }

    /// How the dialect streams; an answer with another content type is read as one document.
    pub(super) fn framing(self) -> Framing {
        match self {
            Self::OpenAi => Framing::Sse,
            Self::Ollama => Framing::Lines,
        }
    }

    /// The body of a request. The same request gives the same bytes, and a longer conversation repeats those of the
    /// shorter one, so that endpoints find the prefix in their caches.
    pub(super) fn body(self, request: &ModelRequest) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::OpenAi => openai::body(request),
            Self::Ollama => ollama::body(request),
        }
    }

    pub(super) fn read(self, frame: &str, answer: &mut Answer) -> Result<(), Fault> {
        match self {
            Self::OpenAi => openai::read(frame, answer),
            Self::Ollama => ollama::read(frame, answer),
        }
    }
}

/// A tool as both dialects offer it to the model.
#[derive(Serialize)]
pub(super) struct OfferedTool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
}

/// Tools in the one order in which they are always sent.
pub(super) fn tools_by_name(tools: &[ToolSpec]) -> Vec<OfferedTool<'_>> {
    let mut tools: Vec<_> = tools.iter().collect();
    tools.sort_by_key(|tool| tool.name);
    tools
        .into_iter()
        .map(|ToolSpec { name, description, parameters }| OfferedTool {
            r#type: "function",
            function: Function { name, description, parameters },
        })
        .collect()
}

/// A call's arguments as JSON text of an object. Many servers parse what comes back to them and refuse the whole
/// conversation for one call that the model broke, so broken text is wrapped: the model still sees what it wrote.
pub(super) fn arguments_as_object(arguments: &str) -> Cow<'_, str> {
    if serde_json::from_str::<serde_json::Map<String, Value>>(arguments).is_ok() {
        return Cow::Borrowed(arguments);
    }
    Cow::Owned(json!({ "unreadable_arguments": arguments }).to_string())
}

#[cfg(test)]
mod tests;

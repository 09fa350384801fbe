//! The model endpoint as the turn loop sees it: one request type, one stream of events, one list of faults, whatever
//! wire dialect the endpoint speaks.
//!
//! The wire layer is our own because real endpoints disagree about how tool calls are streamed, and a call that is put
//! together wrongly runs a command that nobody asked for. What decides (framing, putting calls together, retrying) is
//! pure and lies in modules of its own; [`endpoint`] is the only part that touches the network.

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use protocol::document::Capabilities;
use protocol::value::ReasoningEffort;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use self::fault::Fault;
use crate::tool::ToolSpec;

mod answer;
mod calls;
mod decoder;
pub mod endpoint;
mod error_body;
pub mod fault;
mod frames;
mod ollama;
mod openai;
pub mod retry;
mod wire;

/// Where model calls go.
#[async_trait]
pub trait Model: Send + Sync {
    /// Sends the request and returns once the endpoint has answered with success headers.
    ///
    /// Faults before that are the error of this call, later ones an item of the stream. Cancelling ends either with
    /// [`Fault::Cancelled`].
    async fn stream(&self, request: &ModelRequest, cancel: CancellationToken) -> Result<ModelStream, Fault>;
}

/// The events of one model call: any number of deltas, then exactly one [`ModelEvent::Done`] or one [`Fault`], then the
/// end.
///
/// The consumer pulls: nothing is read from the socket while nobody polls, and dropping the stream closes the
/// connection.
pub type ModelStream = BoxStream<'static, Result<ModelEvent, Fault>>;

/// One model call, in no endpoint's words.
#[derive(Clone, Debug)]
pub struct ModelRequest {
    /// The model's id at the provider.
    pub model: String,
    pub system: String,
    pub messages: Vec<Message>,
    /// In any order: they are sent sorted by name, so that the prompt's bytes stay the same.
    pub tools: Vec<ToolSpec>,
    pub reasoning_effort: ReasoningEffort,
    pub capabilities: Capabilities,
    /// Tokens that the model can hold, prompt and answer together.
    pub context_window: Option<u64>,
    /// The most tokens to ask for in one answer; none: the endpoint's own limit.
    pub max_output_tokens: Option<u64>,
}

/// A message of the conversation, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "role")]
pub enum Message {
    User {
        text: String,
    },
    Assistant {
        text: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        thinking: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        calls: Vec<Call>,
    },
    /// The result of one call. Each call of an assistant message has exactly one, before the next message.
    ToolResult {
        call_id: String,
        name: String,
        content: String,
        is_error: bool,
    },
}

/// A tool call that the model has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// As the endpoint named it, or made up where it gave none; different within one answer, not between answers.
    pub id: String,
    pub name: String,
    /// JSON text as the model wrote it; it may be broken, and is when the answer ended at the length limit.
    pub arguments: String,
}

/// A piece of a streamed answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelEvent {
    Thinking(String),
    Text(String),
    /// A call whose name is known. `index` is its place in [`Completion::calls`], `id` its [`Call::id`].
    CallStarted {
        index: usize,
        id: String,
        name: String,
    },
    /// A piece of the arguments' JSON text of a call that has started.
    CallArguments {
        index: usize,
        delta: String,
    },
    Done(Completion),
}

/// A whole answer. Only a finished one exists: a stream that breaks off gives a [`Fault`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub thinking: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub calls: Vec<Call>,
    /// Absent when the endpoint did not count.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usage: Option<TokenUsage>,
    pub stop: Stop,
}

/// Why an answer is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stop {
    #[default]
    End,
    /// The model waits for the results of its calls; there is at least one.
    ToolCalls,
    /// Cut at the output limit; the last call's arguments may be cut too.
    Length,
    /// The endpoint or the model declined.
    Refusal,
}

/// Token counts of one call. The first four are disjoint; `thinking_tokens` is a part of `output_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenUsage {
    /// Input that was neither read from nor written to a cache.
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    pub thinking_tokens: u64,
}

impl TokenUsage {
    /// Tokens that the conversation takes after this answer.
    pub fn context_used(&self) -> u64 {
        let Self { input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, thinking_tokens: _ } =
            *self;
        input_tokens + cache_read_tokens + cache_write_tokens + output_tokens
    }
}

//! A frame of a chat completion stream, or a whole chat completion, into the answer.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::answer::Answer;
use crate::model::calls::{Arguments, Piece};
use crate::model::error_body;
use crate::model::fault::Fault;
use crate::model::{Stop, TokenUsage};

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    /// `message` is the form of an endpoint that does not stream.
    #[serde(alias = "message", default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    refusal: Option<String>,
    /// Thinking has two names in the wild, and some servers fill both with the same text.
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    reasoning: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thinking: Option<Vec<Part>>,
}

#[derive(Deserialize)]
struct ToolCall {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<Value>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
    /// Another name for what was read from the cache.
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default)]
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

pub(in crate::model) fn read(frame: &str, answer: &mut Answer) -> Result<(), Fault> {
    let frame = frame.trim();
    if frame.is_empty() {
        return Ok(());
    }
    if frame == "[DONE]" {
        answer.close();
        return Ok(());
    }
    let chunk: Chunk<'_> = serde_json::from_str(frame)
        .map_err(|error| Fault::Frame { message: format!("a frame that is no chat completion: {error}") })?;
    let Chunk { error, choices, usage } = chunk;
    if let Some(error) = error
        && error.get() != "null"
    {
        return Err(error_body::in_stream(frame));
    }
    if let Some(usage) = usage {
        answer.usage(count(&usage));
    }
    // We ask for one choice; whatever else comes is not part of the answer.
    for choice in choices.into_iter().flatten().filter(|choice| choice.index == 0) {
        if let Some(delta) = choice.delta {
            read_delta(&delta, answer)?;
        }
        if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
            answer.stop(match reason.as_str() {
                "tool_calls" | "function_call" => Stop::ToolCalls,
                "length" | "max_tokens" => Stop::Length,
                "content_filter" | "refusal" => Stop::Refusal,
                _ => Stop::End,
            });
        }
    }
    Ok(())
}

fn read_delta(delta: &Delta, answer: &mut Answer) -> Result<(), Fault> {
    let Delta { content, refusal, reasoning_content, reasoning, tool_calls } = delta;
    let thinking = reasoning_content.as_deref().filter(|text| !text.is_empty());
    if let Some(text) = thinking.or_else(|| reasoning.as_ref().and_then(Value::as_str)) {
        answer.thinking(text);
    }
    match content {
        None => {}
        Some(Content::Text(text)) => answer.text(text),
        Some(Content::Parts(parts)) => {
            for part in parts {
                for text in part.thinking.iter().flatten().filter_map(|part| part.text.as_deref()) {
                    answer.thinking(text);
                }
                answer.text(part.text.as_deref().unwrap_or_default());
            }
        }
    }
    if let Some(refusal) = refusal.as_deref().filter(|text| !text.is_empty()) {
        answer.text(refusal);
        answer.stop(Stop::Refusal);
    }
    for call in tool_calls.iter().flatten() {
        let function = call.function.as_ref();
        let whole;
        let arguments = match function.and_then(|function| function.arguments.as_ref()) {
            None | Some(Value::Null) => Arguments::None,
            Some(Value::String(text)) => Arguments::Piece(text),
            Some(value) => {
                whole = value.to_string();
                Arguments::Whole(&whole)
            }
        };
        answer.call(Piece {
            index: call.index,
            id: call.id.as_deref(),
            name: function.and_then(|function| function.name.as_deref()),
            arguments,
        })?;
    }
    Ok(())
}

/// The endpoint's counts in disjoint buckets: its prompt tokens include those that the cache gave or took.
fn count(usage: &Usage) -> TokenUsage {
    let Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens,
        prompt_tokens_details,
        completion_tokens_details,
        prompt_cache_hit_tokens,
    } = usage;
    let prompt = prompt_tokens.unwrap_or_default();
    let details = prompt_tokens_details.as_ref();
    let cache_read =
        details.and_then(|details| details.cached_tokens).or(*prompt_cache_hit_tokens).unwrap_or_default();
    let cache_write = details.and_then(|details| details.cache_write_tokens).unwrap_or_default();
    let completion = completion_tokens.unwrap_or_default();
    let thinking =
        completion_tokens_details.as_ref().and_then(|details| details.reasoning_tokens).unwrap_or_default();
    // Some servers count thinking beside the completion instead of in it; their total gives them away.
    let is_beside = thinking > 0 && *total_tokens == Some(prompt + completion + thinking);
    TokenUsage {
        input_tokens: prompt.saturating_sub(cache_read).saturating_sub(cache_write),
        cache_read_tokens: cache_read,
        cache_write_tokens: cache_write,
        output_tokens: if is_beside { completion + thinking } else { completion },
        thinking_tokens: thinking,
    }
}

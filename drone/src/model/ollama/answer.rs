//! A line of Ollama's stream into the answer.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::answer::Answer;
use crate::model::calls::{Arguments, Piece};
use crate::model::error_body;
use crate::model::fault::Fault;
use crate::model::{Stop, TokenUsage};

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    message: Option<Message>,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    done_reason: Option<String>,
    #[serde(default)]
    prompt_eval_count: Option<u64>,
    #[serde(default)]
    eval_count: Option<u64>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
struct ToolCall {
    #[serde(default)]
    id: Option<String>,
    function: Function,
}

/// The index beside the name is not read: all calls may say 0, and each comes whole.
#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<Value>,
}

pub(in crate::model) fn read(frame: &str, answer: &mut Answer) -> Result<(), Fault> {
    if frame.trim().is_empty() {
        return Ok(());
    }
    let Line { error, message, done, done_reason, prompt_eval_count, eval_count } =
        serde_json::from_str(frame)
            .map_err(|error| Fault::Frame { message: format!("a line that is no chat response: {error}") })?;
    if error.is_some_and(|error| error.get() != "null") {
        return Err(error_body::in_stream(frame));
    }
    if let Some(Message { content, thinking, tool_calls }) = message {
        answer.thinking(thinking.as_deref().unwrap_or_default());
        answer.text(content.as_deref().unwrap_or_default());
        for ToolCall { id, function: Function { name, arguments } } in tool_calls.into_iter().flatten() {
            let arguments = match arguments {
                None | Some(Value::Null) => "{}".to_owned(),
                Some(Value::String(text)) => text,
                Some(value) => value.to_string(),
            };
            answer.call(Piece {
                index: None,
                id: id.as_deref(),
                name: name.as_deref(),
                arguments: Arguments::Whole(&arguments),
            })?;
        }
    }
    if done {
        if prompt_eval_count.is_some() || eval_count.is_some() {
            answer.usage(TokenUsage {
                input_tokens: prompt_eval_count.unwrap_or_default(),
                output_tokens: eval_count.unwrap_or_default(),
                ..TokenUsage::default()
            });
        }
        answer.stop(match done_reason.as_deref() {
            Some("length") => Stop::Length,
            _ => Stop::End,
        });
        answer.close();
    }
    Ok(())
}

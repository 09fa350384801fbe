//! OpenAI chat completions.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Dialect, Piece, Whole};
use crate::request::{Call, Message, Request, fingerprint, raw_text};
use crate::script::{Stop, Usage};

#[derive(Deserialize)]
struct Body<'a> {
    model: String,
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
    #[serde(default)]
    stream: Option<bool>,
}

#[derive(Deserialize)]
struct Entry {
    role: String,
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
    #[serde(default)]
    tool_call_id: Option<String>,
    #[serde(default)]
    name: Option<String>,
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
    text: String,
}

#[derive(Deserialize)]
struct ToolCall {
    #[serde(default)]
    id: Option<String>,
    function: FunctionCall,
}

#[derive(Deserialize)]
struct FunctionCall {
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
pub(super) struct Tool {
    function: ToolFunction,
}

#[derive(Deserialize)]
struct ToolFunction {
    name: String,
}

impl Content {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.into_iter().map(|part| part.text).collect(),
        }
    }
}

pub(super) fn read(body: &[u8]) -> Result<Request, serde_json::Error> {
    let Body { model, messages: raw, tools, stream } = serde_json::from_slice(body)?;
    let mut request = Request {
        dialect: Dialect::OpenAi,
        model,
        system: String::new(),
        messages: Vec::with_capacity(raw.len()),
        tools: tool_names(tools)?,
        is_streamed: stream.unwrap_or(false),
        num_ctx: None,
        size: body.len(),
        preamble: 0,
        fingerprints: Vec::with_capacity(raw.len()),
    };
    let mut system_bytes = "";
    for raw in raw {
        let Entry { role, content, tool_calls, tool_call_id, name } = serde_json::from_str(raw.get())?;
        let text = content.map(Content::into_text).unwrap_or_default();
        let message = match role.as_str() {
            "system" | "developer" => {
                request.system.push_str(&text);
                system_bytes = raw.get();
                continue;
            }
            "assistant" => Message::Assistant {
                text,
                calls: tool_calls
                    .into_iter()
                    .flatten()
                    .map(|call| {
                        // Text that is no JSON is kept as it is: the check of the request reports it.
                        let arguments = serde_json::from_str(&call.function.arguments);
                        Call {
                            id: call.id,
                            name: call.function.name,
                            arguments: arguments.unwrap_or(Value::String(call.function.arguments)),
                        }
                    })
                    .collect(),
            },
            "tool" => Message::Tool { call_id: tool_call_id, name, text },
            _ => Message::User { text },
        };
        request.messages.push(message);
        request.fingerprints.push(fingerprint(&[raw.get()]));
    }
    request.preamble = fingerprint(&[system_bytes, raw_text(tools)]);
    Ok(request)
}

pub(super) fn tool_names(tools: Option<&RawValue>) -> Result<Vec<String>, serde_json::Error> {
    let Some(tools) = tools else { return Ok(Vec::new()) };
    let tools: Option<Vec<Tool>> = serde_json::from_str(tools.get())?;
    Ok(tools.into_iter().flatten().map(|tool| tool.function.name).collect())
}

pub(super) fn write(model: &str, piece: &Piece<'_>) -> String {
    let delta =
        |delta: Value| frame(&chunk(model, &json!([{ "index": 0, "delta": delta, "finish_reason": null }])));
    match piece {
        Piece::Think(text) => delta(json!({ "reasoning_content": text })),
        Piece::Say(text) => delta(json!({ "content": text })),
        Piece::CallHead { index, id, name, arguments: _ } => delta(json!({ "tool_calls": [
            { "index": index, "id": id, "type": "function", "function": { "name": name, "arguments": "" } },
        ] })),
        Piece::CallArguments { index, text } => {
            delta(json!({ "tool_calls": [{ "index": index, "function": { "arguments": text } }] }))
        }
        Piece::Comment(text) => format!(": {text}\n\n"),
        Piece::Error { message, code } => {
            frame(&json!({ "error": { "message": message, "type": "server_error", "code": code } }))
        }
        Piece::Frame(value) => frame(value),
        Piece::BadFrame => "data: {\"choices\":[{\"delta\":{\"content\":\"br\n\n".to_owned(),
        Piece::End { stop, usage } => {
            let end = json!([{ "index": 0, "delta": {}, "finish_reason": finish_reason(*stop) }]);
            let mut out = frame(&chunk(model, &end));
            if let Some(usage) = usage {
                let mut last = chunk(model, &json!([]));
                last["usage"] = counts(usage);
                out.push_str(&frame(&last));
            }
            out + "data: [DONE]\n\n"
        }
    }
}

pub(super) fn write_whole(model: &str, whole: &Whole) -> Value {
    let Whole { thinking, text, calls, stop, usage } = whole;
    let mut message = json!({ "role": "assistant", "content": text });
    if !thinking.is_empty() {
        message["reasoning_content"] = thinking.as_str().into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls
            .iter()
            .map(|(id, name, arguments)| {
                json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments.to_string() } })
            })
            .collect();
    }
    let mut body = json!({
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{ "index": 0, "message": message, "finish_reason": finish_reason(*stop) }],
    });
    if let Some(usage) = usage {
        body["usage"] = counts(usage);
    }
    body
}

pub(super) fn write_refusal(code: u16, message: &str) -> Value {
    let kind = if code >= 500 { "server_error" } else { "invalid_request_error" };
    json!({ "error": { "message": message, "type": kind, "param": null, "code": null } })
}

pub(super) fn write_overflow(tokens: u64, window: u64) -> Value {
    let message = format!(
        "This model's maximum context length is {window} tokens. However, your messages resulted in {tokens} tokens. \
         Please reduce the length of the messages."
    );
    json!({ "error": {
        "message": message,
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    } })
}

fn chunk(model: &str, choices: &Value) -> Value {
    json!({
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": model,
        "choices": choices,
    })
}

fn frame(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn finish_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::End => "stop",
        Stop::ToolCalls => "tool_calls",
        Stop::Length => "length",
        Stop::Refusal => "content_filter",
    }
}

/// OpenAI counts what the cache gave within the prompt, and thinking within the completion.
fn counts(usage: &Usage) -> Value {
    let Usage { input, cached, output, thinking } = *usage;
    json!({
        "prompt_tokens": input + cached,
        "completion_tokens": output,
        "total_tokens": input + cached + output,
        "prompt_tokens_details": { "cached_tokens": cached },
        "completion_tokens_details": { "reasoning_tokens": thinking },
    })
}

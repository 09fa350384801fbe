//! Ollama's own chat API.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::openai::tool_names;
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
    #[serde(default)]
    options: Option<Options>,
}

#[derive(Deserialize)]
struct Options {
    #[serde(default)]
    num_ctx: Option<u64>,
}

#[derive(Deserialize)]
struct Entry {
    role: String,
    #[serde(default)]
    content: String,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
    #[serde(default)]
    tool_call_id: Option<String>,
    #[serde(default)]
    tool_name: Option<String>,
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
    #[serde(default)]
    arguments: Value,
}

pub(super) fn read(body: &[u8]) -> Result<Request, serde_json::Error> {
    let Body { model, messages: raw, tools, stream, options } = serde_json::from_slice(body)?;
    let mut request = Request {
        dialect: Dialect::Ollama,
        model,
        system: String::new(),
        messages: Vec::with_capacity(raw.len()),
        tools: tool_names(tools)?,
        is_streamed: stream.unwrap_or(true),
        num_ctx: options.and_then(|options| options.num_ctx),
        size: body.len(),
        preamble: 0,
        fingerprints: Vec::with_capacity(raw.len()),
    };
    let mut system_bytes = "";
    for raw in raw {
        let Entry { role, content: text, tool_calls, tool_call_id, tool_name } =
            serde_json::from_str(raw.get())?;
        let message = match role.as_str() {
            "system" => {
                request.system.push_str(&text);
                system_bytes = raw.get();
                continue;
            }
            "assistant" => Message::Assistant {
                text,
                calls: tool_calls
                    .into_iter()
                    .flatten()
                    .map(|ToolCall { id, function: FunctionCall { name, arguments } }| Call {
                        id,
                        name,
                        arguments,
                    })
                    .collect(),
            },
            "tool" => Message::Tool { call_id: tool_call_id, name: tool_name, text },
            _ => Message::User { text },
        };
        request.messages.push(message);
        request.fingerprints.push(fingerprint(&[raw.get()]));
    }
    request.preamble = fingerprint(&[system_bytes, raw_text(tools)]);
    Ok(request)
}

pub(super) fn write(model: &str, piece: &Piece<'_>) -> String {
    let message = |fields: Value| line(&response(model, fields, false));
    match piece {
        Piece::Think(text) => message(json!({ "role": "assistant", "content": "", "thinking": text })),
        Piece::Say(text) => message(json!({ "role": "assistant", "content": text })),
        // Ollama gives no ids, and numbers every call 0 that comes in a line of its own.
        Piece::CallHead { index: _, id: _, name, arguments } => message(json!({
            "role": "assistant",
            "content": "",
            "tool_calls": [{ "function": { "index": 0, "name": name, "arguments": arguments } }],
        })),
        Piece::CallArguments { .. } => String::new(),
        Piece::Comment(_) => "\n".to_owned(),
        Piece::Error { message, code: _ } => line(&json!({ "error": message })),
        Piece::Frame(value) => line(value),
        Piece::BadFrame => "{\"message\":{\"content\":\"br\n".to_owned(),
        Piece::End { stop, usage } => {
            let mut last = response(model, json!({ "role": "assistant", "content": "" }), true);
            last["done_reason"] = done_reason(*stop).into();
            if let Some(usage) = usage {
                count(&mut last, usage);
            }
            line(&last)
        }
    }
}

pub(super) fn write_whole(model: &str, whole: &Whole) -> Value {
    let Whole { thinking, text, calls, stop, usage } = whole;
    let mut message = json!({ "role": "assistant", "content": text });
    if !thinking.is_empty() {
        message["thinking"] = thinking.as_str().into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls
            .iter()
            .map(|(_, name, arguments)| json!({ "function": { "name": name, "arguments": arguments } }))
            .collect();
    }
    let mut body = response(model, message, true);
    body["done_reason"] = done_reason(*stop).into();
    if let Some(usage) = usage {
        count(&mut body, usage);
    }
    body
}

pub(super) fn write_refusal(message: &str) -> Value {
    json!({ "error": message })
}

pub(super) fn write_overflow(tokens: u64, window: u64) -> Value {
    let excess = tokens.saturating_sub(window);
    json!({ "error": format!("prompt too long; exceeded max context length by {excess} tokens") })
}

fn response(model: &str, message: Value, is_done: bool) -> Value {
    json!({ "model": model, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": is_done })
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

/// Ollama says "stop" after calls too, and has no word for a refusal.
fn done_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::End | Stop::ToolCalls | Stop::Refusal => "stop",
        Stop::Length => "length",
    }
}

fn count(body: &mut Value, usage: &Usage) {
    let Usage { input, cached, output, thinking: _ } = *usage;
    body["prompt_eval_count"] = (input + cached).into();
    body["eval_count"] = output.into();
}

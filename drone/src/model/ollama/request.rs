//! A model request as the body of `POST …/api/chat`.

use protocol::value::ReasoningEffort;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::wire::{OfferedTool, arguments_as_object, tools_by_name};
use crate::model::{Message, ModelRequest};

/// The context to ask for when nothing is known of the model: Ollama's own default is too small for any agent.
const DEFAULT_CONTEXT: u64 = 32_768;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<OfferedTool<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<Think>,
    options: Options,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Think {
    Switch(bool),
    Level(&'static str),
}

#[derive(Serialize)]
struct Options {
    num_ctx: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_predict: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase", tag = "role")]
enum Entry<'a> {
    System {
        content: &'a str,
    },
    User {
        content: &'a str,
    },
    Assistant {
        content: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        thinking: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall<'a>>,
    },
    Tool {
        tool_name: &'a str,
        tool_call_id: &'a str,
        content: &'a str,
    },
}

#[derive(Serialize)]
struct ToolCall<'a> {
    id: &'a str,
    function: FunctionCall<'a>,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    name: &'a str,
    arguments: Box<RawValue>,
}

pub(in crate::model) fn body(request: &ModelRequest) -> Result<Vec<u8>, serde_json::Error> {
    let ModelRequest {
        model,
        system,
        messages,
        tools,
        reasoning_effort,
        capabilities,
        context_window,
        max_output_tokens,
    } = request;
    let mut entries = Vec::with_capacity(messages.len() + 1);
    if !system.is_empty() {
        entries.push(Entry::System { content: system });
    }
    for message in messages {
        entries.push(entry(message)?);
    }
    let tools = if capabilities.tools { tools_by_name(tools) } else { Vec::new() };
    serde_json::to_vec(&Body {
        model,
        messages: entries,
        tools,
        stream: true,
        // Ollama refuses the field for a model that cannot think.
        think: capabilities.thinking.then(|| think(model, *reasoning_effort)),
        options: Options {
            num_ctx: context_window.unwrap_or(DEFAULT_CONTEXT),
            num_predict: *max_output_tokens,
        },
    })
}

/// Levels are known by the gpt-oss family alone, which in turn ignores a switch.
fn think(model: &str, effort: ReasoningEffort) -> Think {
    match effort {
        ReasoningEffort::Off => Think::Switch(false),
        ReasoningEffort::Low | ReasoningEffort::Medium | ReasoningEffort::High => {
            if model.contains("gpt-oss") { Think::Level(effort.as_str()) } else { Think::Switch(true) }
        }
    }
}

fn entry(message: &Message) -> Result<Entry<'_>, serde_json::Error> {
    Ok(match message {
        Message::User { text } => Entry::User { content: text },
        Message::Assistant { text, thinking, calls } => Entry::Assistant {
            content: text,
            thinking: thinking.as_deref(),
            tool_calls: calls
                .iter()
                .map(|call| {
                    let arguments = RawValue::from_string(arguments_as_object(&call.arguments).into_owned())?;
                    Ok(ToolCall { id: &call.id, function: FunctionCall { name: &call.name, arguments } })
                })
                .collect::<Result<_, serde_json::Error>>()?,
        },
        Message::ToolResult { call_id, name, content, is_error: _ } => {
            Entry::Tool { tool_name: name, tool_call_id: call_id, content }
        }
    })
}

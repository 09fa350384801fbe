//! A model request as the body of `POST …/chat/completions`.

use std::borrow::Cow;

use protocol::value::ReasoningEffort;
use serde::Serialize;

use crate::model::wire::{OfferedTool, arguments_as_object, tools_by_name};
use crate::model::{Message, ModelRequest};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<OfferedTool<'a>>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
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
        /// Null beside tool calls when the model said nothing.
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        content: &'a str,
    },
}

#[derive(Serialize)]
struct ToolCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: FunctionCall<'a>,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    name: &'a str,
    arguments: Cow<'a, str>,
}

pub(in crate::model) fn body(request: &ModelRequest) -> Result<Vec<u8>, serde_json::Error> {
    let ModelRequest {
        model,
        system,
        messages,
        tools,
        reasoning_effort,
        capabilities,
        context_window: _,
        max_output_tokens,
    } = request;
    let system =
        Some(system.as_str()).filter(|text| !text.is_empty()).map(|content| Entry::System { content });
    let tools = if capabilities.tools { tools_by_name(tools) } else { Vec::new() };
    serde_json::to_vec(&Body {
        model,
        messages: system.into_iter().chain(messages.iter().map(entry)).collect(),
        tools,
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        reasoning_effort: match reasoning_effort {
            // There is no value for "off" that all servers take.
            ReasoningEffort::Off => None,
            ReasoningEffort::Low | ReasoningEffort::Medium | ReasoningEffort::High => {
                capabilities.thinking.then(|| reasoning_effort.as_str())
            }
        },
        // Thinking models of OpenAI refuse `max_tokens`; many other servers know nothing else.
        max_tokens: max_output_tokens.filter(|_| !capabilities.thinking),
        max_completion_tokens: max_output_tokens.filter(|_| capabilities.thinking),
    })
}

fn entry(message: &Message) -> Entry<'_> {
    match message {
        Message::User { text } => Entry::User { content: text },
        // Not all servers take thinking back, and none needs it.
        Message::Assistant { text, thinking: _, calls } => Entry::Assistant {
            content: Some(text.as_str()).filter(|text| !text.is_empty() || calls.is_empty()),
            tool_calls: calls
                .iter()
                .map(|call| ToolCall {
                    id: &call.id,
                    r#type: "function",
                    function: FunctionCall {
                        name: &call.name,
                        arguments: arguments_as_object(&call.arguments),
                    },
                })
                .collect(),
        },
        Message::ToolResult { call_id, name: _, content, is_error: _ } => {
            Entry::Tool { tool_call_id: call_id, content }
        }
    }
}

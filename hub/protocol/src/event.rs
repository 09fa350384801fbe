//! Events that a drone makes for a turn: numbered, stored by the hub, passed on to IDEs.
//!
//! On the wire an event is a name and positional arguments. A drone appends [`DroneMeta`] as the last argument, the
//! hub replaces it by [`Meta`] for IDEs. Arguments before it are the same in both directions, so the hub relays and
//! stores their JSON text as it came ([`RawEvent`]); only who needs the content parses it into [`TurnEvent`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::document::{Subagent, TurnStats};
use crate::error::{Code, Refusal};
use crate::ids::{CallId, TurnId};
use crate::value::ChatTurnStatus;

/// The names of turn events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventName {
    #[serde(rename = "thinking")]
    Thinking,
    #[serde(rename = "response")]
    Response,
    #[serde(rename = "toolCallStarted")]
    ToolCallStarted,
    #[serde(rename = "toolCallProgress")]
    ToolCallProgress,
    #[serde(rename = "toolCall")]
    ToolCall,
    #[serde(rename = "agent:thinking")]
    AgentThinking,
    #[serde(rename = "agent:response")]
    AgentResponse,
    #[serde(rename = "agent:tool-call")]
    AgentToolCall,
    #[serde(rename = "agent:tool-result")]
    AgentToolResult,
    #[serde(rename = "agent:complete")]
    AgentComplete,
    #[serde(rename = "usage")]
    Usage,
    #[serde(rename = "superseded")]
    Superseded,
    #[serde(rename = "workOrderComplete")]
    WorkOrderComplete,
}

impl EventName {
    pub const ALL: &[Self] = &[
        Self::Thinking,
        Self::Response,
        Self::ToolCallStarted,
        Self::ToolCallProgress,
        Self::ToolCall,
        Self::AgentThinking,
        Self::AgentResponse,
        Self::AgentToolCall,
        Self::AgentToolResult,
        Self::AgentComplete,
        Self::Usage,
        Self::Superseded,
        Self::WorkOrderComplete,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Thinking => "thinking",
            Self::Response => "response",
            Self::ToolCallStarted => "toolCallStarted",
            Self::ToolCallProgress => "toolCallProgress",
            Self::ToolCall => "toolCall",
            Self::AgentThinking => "agent:thinking",
            Self::AgentResponse => "agent:response",
            Self::AgentToolCall => "agent:tool-call",
            Self::AgentToolResult => "agent:tool-result",
            Self::AgentComplete => "agent:complete",
            Self::Usage => "usage",
            Self::Superseded => "superseded",
            Self::WorkOrderComplete => "workOrderComplete",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|name| name.as_str() == text)
    }

    /// How many positional arguments come before the meta argument.
    fn arity(self) -> usize {
        match self {
            Self::ToolCallStarted | Self::WorkOrderComplete => 3,
            Self::ToolCallProgress => 2,
            Self::ToolCall => 4,
            Self::Thinking
            | Self::Response
            | Self::AgentThinking
            | Self::AgentResponse
            | Self::AgentToolCall
            | Self::AgentToolResult
            | Self::AgentComplete
            | Self::Usage
            | Self::Superseded => 1,
        }
    }
}

/// A turn event, parsed.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnEvent {
    /// A piece of the model's thinking.
    Thinking {
        content: String,
    },
    /// A piece of the model's answer.
    Response {
        content: String,
    },
    /// A tool call begins. `params` is JSON text.
    ToolCallStarted {
        call_id: CallId,
        name: String,
        params: String,
    },
    /// A piece of a running tool's output, for the screen only.
    ToolCallProgress {
        call_id: CallId,
        chunk: String,
    },
    /// A tool call has ended. `params` and `response` are JSON texts.
    ToolCall {
        call_id: CallId,
        name: String,
        params: String,
        response: String,
        is_error: bool,
        unknown_outcome: bool,
    },
    AgentThinking(AgentThinking),
    AgentResponse(AgentResponse),
    AgentToolCall(AgentToolCall),
    AgentToolResult(AgentToolResult),
    AgentComplete(Box<AgentComplete>),
    Usage(Usage),
    Superseded(Superseded),
    /// The turn is over. `status` is never `processing`.
    WorkOrderComplete {
        turn_id: TurnId,
        status: ChatTurnStatus,
        message: Option<String>,
    },
}

/// `agent_id` is the id of the `subagent` call that started the sub-agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentThinking {
    pub agent_id: CallId,
    pub thinking: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentResponse {
    pub agent_id: CallId,
    pub chunk: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentToolCall {
    pub agent_id: CallId,
    pub tool: String,
    pub args: Value,
    /// The sub-agent's own call id, to pair call and result when several run at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call_id: Option<CallId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentToolResult {
    pub agent_id: CallId,
    pub tool: String,
    pub result: Value,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call_id: Option<CallId>,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_error: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentComplete {
    pub agent_id: CallId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub response: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subagent: Option<Subagent>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stats: Option<TurnStats>,
}

/// Token counts of one finished model call, in disjoint buckets; `thinking_tokens` is a part of `output_tokens`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    pub turn_id: Option<TurnId>,
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    pub thinking_tokens: u64,
    /// Tokens that the model can hold.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub context_window: Option<u64>,
    /// Tokens that the history takes now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub context_used: Option<u64>,
}

/// Withdraws the text (thinking and response, nothing else) numbered `from_seq ..= to_seq`, of a model call that broke
/// off and is made again: of the sub-agent `agent_id`, or of the turn's own agent when that is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Superseded {
    pub turn_id: TurnId,
    pub from_seq: u64,
    pub to_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agent_id: Option<CallId>,
}

/// What an event's last argument says besides its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Notes {
    /// `toolCall`: the tool failed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
    /// `toolCall`: nobody can know whether it took effect.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unknown_outcome: bool,
    /// `workOrderComplete`: how the turn ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<ChatTurnStatus>,
}

/// The last argument of a turn event from drone to hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DroneMeta {
    pub turn_id: TurnId,
    pub attempt: u32,
    /// The generation that the hub gave to the connection for which the work order was accepted or confirmed.
    pub generation: u64,
    pub seq: u64,
    #[serde(flatten)]
    pub notes: Notes,
}

/// The last argument of a turn event from hub to IDE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    pub turn_id: TurnId,
    pub seq: u64,
    pub at: Timestamp,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub replay: bool,
    #[serde(flatten)]
    pub notes: Notes,
}

/// An event whose content nobody has looked at: what the hub relays and stores.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RawEvent {
    pub name: EventName,
    /// JSON array of the arguments, without the meta argument.
    pub args: Box<RawValue>,
    pub notes: Notes,
}

impl PartialEq for RawEvent {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.args.get() == other.args.get() && self.notes == other.notes
    }
}

impl RawEvent {
    /// Splits what a drone sent: `args` are all arguments of the event, the meta argument last.
    pub fn from_drone(name: &str, mut args: Vec<Box<RawValue>>) -> Result<(Self, DroneMeta), Refusal> {
        let Some(name) = EventName::parse(name) else {
            return Err(Refusal::new(Code::UnknownEvent, format!("no turn event is called {name:?}")));
        };
        let malformed = |what: &str| Refusal::new(Code::Invalid, format!("{}: {what}", name.as_str()));
        let last = args.pop().ok_or_else(|| malformed("the meta argument is missing"))?;
        let meta: DroneMeta = serde_json::from_str(last.get())
            .map_err(|error| malformed(&format!("the last argument is not a meta object: {error}")))?;
        if args.len() != name.arity() {
            return Err(malformed(&format!(
                "has {} arguments before its meta, {} are expected",
                args.len(),
                name.arity()
            )));
        }
        let mut text = String::with_capacity(args.iter().map(|arg| arg.get().len() + 1).sum::<usize>() + 2);
        text.push('[');
        for (index, arg) in args.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(arg.get());
        }
        text.push(']');
        let args = RawValue::from_string(text).map_err(|error| malformed(&error.to_string()))?;
        let notes = meta.notes;
        Ok((Self { name, args, notes }, meta))
    }

    /// The positional arguments as JSON texts, for sending on.
    pub fn arguments(&self) -> Result<Vec<&RawValue>, serde_json::Error> {
        serde_json::from_str(self.args.get())
    }

    pub fn parse(&self) -> Result<TurnEvent, Refusal> {
        TurnEvent::parse(self)
    }
}

impl TurnEvent {
    pub fn name(&self) -> EventName {
        match self {
            Self::Thinking { .. } => EventName::Thinking,
            Self::Response { .. } => EventName::Response,
            Self::ToolCallStarted { .. } => EventName::ToolCallStarted,
            Self::ToolCallProgress { .. } => EventName::ToolCallProgress,
            Self::ToolCall { .. } => EventName::ToolCall,
            Self::AgentThinking(_) => EventName::AgentThinking,
            Self::AgentResponse(_) => EventName::AgentResponse,
            Self::AgentToolCall(_) => EventName::AgentToolCall,
            Self::AgentToolResult(_) => EventName::AgentToolResult,
            Self::AgentComplete(_) => EventName::AgentComplete,
            Self::Usage(_) => EventName::Usage,
            Self::Superseded(_) => EventName::Superseded,
            Self::WorkOrderComplete { .. } => EventName::WorkOrderComplete,
        }
    }

    /// What goes into the meta argument.
    pub fn notes(&self) -> Notes {
        match self {
            Self::ToolCall { is_error, unknown_outcome, .. } => {
                Notes { is_error: *is_error, unknown_outcome: *unknown_outcome, status: None }
            }
            Self::WorkOrderComplete { status, .. } => Notes { status: Some(*status), ..Notes::default() },
            _ => Notes::default(),
        }
    }

    /// The positional arguments, without the meta argument.
    pub fn args(&self) -> Vec<Value> {
        let object = |value: Result<Value, serde_json::Error>| vec![value.unwrap_or(Value::Null)];
        match self {
            Self::Thinking { content } | Self::Response { content } => vec![content.as_str().into()],
            Self::ToolCallStarted { call_id, name, params } => {
                vec![call_id.as_str().into(), name.as_str().into(), params.as_str().into()]
            }
            Self::ToolCallProgress { call_id, chunk } => vec![call_id.as_str().into(), chunk.as_str().into()],
            Self::ToolCall { call_id, name, params, response, is_error: _, unknown_outcome: _ } => vec![
                call_id.as_str().into(),
                name.as_str().into(),
                params.as_str().into(),
                response.as_str().into(),
            ],
            Self::AgentThinking(event) => object(serde_json::to_value(event)),
            Self::AgentResponse(event) => object(serde_json::to_value(event)),
            Self::AgentToolCall(event) => object(serde_json::to_value(event)),
            Self::AgentToolResult(event) => object(serde_json::to_value(event)),
            Self::AgentComplete(event) => object(serde_json::to_value(event)),
            Self::Usage(event) => object(serde_json::to_value(event)),
            Self::Superseded(event) => object(serde_json::to_value(event)),
            Self::WorkOrderComplete { turn_id, status, message } => vec![
                turn_id.as_str().into(),
                (*status != ChatTurnStatus::Error).into(),
                message.as_deref().map_or(Value::Null, Value::from),
            ],
        }
    }

    fn parse(raw: &RawEvent) -> Result<Self, Refusal> {
        fn args<T: serde::de::DeserializeOwned>(raw: &RawEvent) -> Result<T, Refusal> {
            serde_json::from_str(raw.args.get())
                .map_err(|error| Refusal::new(Code::Invalid, format!("{}: {error}", raw.name.as_str())))
        }
        fn object<T: serde::de::DeserializeOwned>(raw: &RawEvent) -> Result<T, Refusal> {
            let (value,): (T,) = args(raw)?;
            Ok(value)
        }
        Ok(match raw.name {
            EventName::Thinking => Self::Thinking { content: object(raw)? },
            EventName::Response => Self::Response { content: object(raw)? },
            EventName::ToolCallStarted => {
                let (call_id, name, params) = args(raw)?;
                Self::ToolCallStarted { call_id, name, params }
            }
            EventName::ToolCallProgress => {
                let (call_id, chunk) = args(raw)?;
                Self::ToolCallProgress { call_id, chunk }
            }
            EventName::ToolCall => {
                let (call_id, name, params, response) = args(raw)?;
                let Notes { is_error, unknown_outcome, status: _ } = raw.notes;
                Self::ToolCall { call_id, name, params, response, is_error, unknown_outcome }
            }
            EventName::AgentThinking => Self::AgentThinking(object(raw)?),
            EventName::AgentResponse => Self::AgentResponse(object(raw)?),
            EventName::AgentToolCall => Self::AgentToolCall(object(raw)?),
            EventName::AgentToolResult => Self::AgentToolResult(object(raw)?),
            EventName::AgentComplete => Self::AgentComplete(Box::new(object(raw)?)),
            EventName::Usage => Self::Usage(object(raw)?),
            EventName::Superseded => Self::Superseded(object(raw)?),
            EventName::WorkOrderComplete => {
                let (turn_id, success, message): (TurnId, bool, Option<String>) = args(raw)?;
                let status = match raw.notes.status {
                    Some(ChatTurnStatus::Processing) => {
                        return Err(Refusal::new(
                            Code::Invalid,
                            "workOrderComplete: the status cannot be processing",
                        ));
                    }
                    Some(status) => status,
                    None if !success => ChatTurnStatus::Error,
                    None if message.as_deref() == Some("aborted") => ChatTurnStatus::Aborted,
                    None => ChatTurnStatus::Finished,
                };
                Self::WorkOrderComplete { turn_id, status, message }
            }
        })
    }

    /// The form that the hub stores and relays.
    pub fn to_raw(&self) -> Result<RawEvent, serde_json::Error> {
        Ok(RawEvent {
            name: self.name(),
            args: serde_json::value::to_raw_value(&self.args())?,
            notes: self.notes(),
        })
    }
}

#[cfg(test)]
mod tests;

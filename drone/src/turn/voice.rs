//! An agent's events in the words of the protocol: the turn's own agent speaks as itself, a sub-agent as `agent:*`.
//! Pure; the same words are used live and when the hub is told again after a crash.

use protocol::document::TurnStats;
use protocol::event::{
    AgentComplete, AgentResponse, AgentThinking, AgentToolCall, AgentToolResult, Superseded, TurnEvent, Usage,
};
use protocol::ids::{CallId, TurnId};
use protocol::value::ChatTurnStatus;
use serde_json::{Value, json};

use crate::model::{Call, Completion, TokenUsage};
use crate::outbox::coalesce::chunks;
use crate::tool::Outcome;

/// Larger arguments and results are shown in part: an event has at most 1 MiB, JSON escapes included.
const MOST_SHOWN: usize = 64 * 1024;
/// How much text one event carries when an answer is told again.
const PIECE: usize = 32 * 1024;

/// The two kinds of text that an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    Thinking,
    Response,
}

/// Who speaks.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    turn: TurnId,
    /// The place and the id of the call that started this sub-agent; none: the turn's own agent.
    agent: Option<(usize, CallId)>,
    /// Tokens that the model can hold.
    context_window: Option<u64>,
}

impl Voice {
    pub(crate) fn main(turn: TurnId, context_window: Option<u64>) -> Self {
        Self { turn, agent: None, context_window }
    }

    /// Whether this is the turn's own agent.
    pub(crate) fn is_main(&self) -> bool {
        self.agent.is_none()
    }

    /// The voice of the sub-agent that the main agent's call `number` started.
    pub(crate) fn sub_agent(&self, number: usize, call: &Call) -> Self {
        let id = self.call_id(number, call);
        Self { turn: self.turn.clone(), agent: Some((number, id)), context_window: self.context_window }
    }

    /// As the model named the call, made unique: models count from zero in each answer.
    pub(crate) fn call_id(&self, number: usize, call: &Call) -> CallId {
        let named: String = call
            .id
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
            .take(40)
            .collect();
        let turn = self.turn.as_str();
        let tail = &turn[turn.floor_char_boundary(turn.len().saturating_sub(10))..];
        match &self.agent {
            None => format!("{named}-{tail}-{number}").into(),
            Some((agent, _)) => format!("{named}-{tail}-{agent}.{number}").into(),
        }
    }

    pub(crate) fn text(&self, kind: Text, content: String) -> TurnEvent {
        match (&self.agent, kind) {
            (None, Text::Thinking) => TurnEvent::Thinking { content },
            (None, Text::Response) => TurnEvent::Response { content },
            (Some((_, id)), Text::Thinking) => {
                TurnEvent::AgentThinking(AgentThinking { agent_id: id.clone(), thinking: content })
            }
            (Some((_, id)), Text::Response) => {
                TurnEvent::AgentResponse(AgentResponse { agent_id: id.clone(), chunk: content })
            }
        }
    }

    /// A whole answer's text, as it is told again.
    pub(crate) fn answer(&self, completion: &Completion) -> Vec<TurnEvent> {
        let thinking = completion.thinking.as_deref().unwrap_or_default();
        let pieces = |kind: Text, text: &str| -> Vec<TurnEvent> {
            chunks(text, PIECE).map(|piece| self.text(kind, piece.to_owned())).collect()
        };
        let mut events = pieces(Text::Thinking, thinking);
        events.extend(pieces(Text::Response, &completion.text));
        events
    }

    pub(crate) fn superseded(&self, from_seq: u64, to_seq: u64) -> TurnEvent {
        let agent_id = self.agent.as_ref().map(|(_, id)| id.clone());
        TurnEvent::Superseded(Superseded { turn_id: self.turn.clone(), from_seq, to_seq, agent_id })
    }

    pub(crate) fn usage(&self, usage: &TokenUsage) -> TurnEvent {
        let TokenUsage {
            input_tokens,
            cache_read_tokens,
            cache_write_tokens,
            output_tokens,
            thinking_tokens,
        } = *usage;
        TurnEvent::Usage(Usage {
            turn_id: Some(self.turn.clone()),
            input_tokens,
            cache_read_tokens,
            cache_write_tokens,
            output_tokens,
            thinking_tokens,
            context_window: self.context_window,
            // What a sub-agent's conversation takes says nothing about the session's.
            context_used: self.agent.is_none().then(|| usage.context_used()),
        })
    }

    pub(crate) fn started(&self, number: usize, call: &Call) -> TurnEvent {
        let call_id = self.call_id(number, call);
        match &self.agent {
            None => TurnEvent::ToolCallStarted { call_id, name: call.name.clone(), params: params(call) },
            Some((_, id)) => TurnEvent::AgentToolCall(AgentToolCall {
                agent_id: id.clone(),
                tool: call.name.clone(),
                args: serde_json::from_str(&params(call)).unwrap_or(Value::Null),
                call_id: Some(call_id),
            }),
        }
    }

    pub(crate) fn ended(&self, number: usize, call: &Call, outcome: &Outcome) -> TurnEvent {
        let call_id = self.call_id(number, call);
        let response = response(outcome);
        match &self.agent {
            None => TurnEvent::ToolCall {
                call_id,
                name: call.name.clone(),
                params: params(call),
                response: response.to_string(),
                is_error: outcome.is_error,
                unknown_outcome: outcome.unknown_outcome,
            },
            Some((_, id)) => TurnEvent::AgentToolResult(AgentToolResult {
                agent_id: id.clone(),
                tool: call.name.clone(),
                result: response,
                call_id: Some(call_id),
                is_error: outcome.is_error,
            }),
        }
    }

    /// The end of the sub-agent that the main agent's call `number` started.
    pub(crate) fn agent_complete(
        &self,
        number: usize,
        call: &Call,
        response: String,
        stats: TurnStats,
    ) -> TurnEvent {
        TurnEvent::AgentComplete(Box::new(AgentComplete {
            agent_id: self.call_id(number, call),
            // Told already, piece by piece; a huge one does not fit into one event.
            response: Some(response).filter(|response| response.len() <= MOST_SHOWN),
            subagent: None,
            stats: Some(stats),
        }))
    }

    pub(crate) fn complete(&self, status: ChatTurnStatus, message: Option<String>) -> TurnEvent {
        TurnEvent::WorkOrderComplete { turn_id: self.turn.clone(), status, message }
    }
}

/// The arguments as JSON text, whatever the model wrote.
fn params(call: &Call) -> String {
    let text = call.arguments.trim();
    if text.is_empty() {
        return "{}".to_owned();
    }
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    match text.len() {
        length if length > MOST_SHOWN => {
            json!({ "truncated": true, "bytes": length, "head": head(text) }).to_string()
        }
        _ if is_json => text.to_owned(),
        _ => Value::from(text).to_string(),
    }
}

/// A result as clients get it.
fn response(outcome: &Outcome) -> Value {
    let Outcome { text, is_error, unknown_outcome: _, data } = outcome;
    let mut response = json!({ "text": text, "isError": is_error });
    if text.len() > MOST_SHOWN {
        response["text"] = head(text).into();
        response["truncated"] = true.into();
        response["bytes"] = text.len().into();
    }
    if let Some(data) = data
        && data.to_string().len() <= MOST_SHOWN
    {
        response["data"] = data.clone();
    }
    response
}

fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_SHOWN)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, arguments: &str) -> Call {
        Call { id: id.to_owned(), name: "write".to_owned(), arguments: arguments.to_owned() }
    }

    #[test]
    fn call_ids_differ_between_answers_agents_and_turns_though_the_model_repeats_them() {
        let main = Voice::main("01j-turn-one".into(), None);
        let same = call("call_0", "{}");
        let sub = main.sub_agent(1, &same);
        let other = Voice::main("01j-turn-two".into(), None);
        let ids = [
            main.call_id(0, &same),
            main.call_id(1, &same),
            sub.call_id(0, &same),
            sub.call_id(1, &same),
            other.call_id(0, &same),
        ];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "{ids:?}");
        assert_eq!(main.call_id(0, &same), main.call_id(0, &same));
    }

    #[test]
    fn broken_and_huge_arguments_are_still_shown_as_json_text() {
        assert_eq!(params(&call("a", "")), "{}");
        assert_eq!(params(&call("a", r#"{"path": "#)), r#""{\"path\":""#);
        let huge = format!(r#"{{"content":"{}"}}"#, "ä".repeat(1024 * 1024));
        let shown = params(&call("a", &huge));
        assert!(shown.len() < 2 * MOST_SHOWN);
        assert!(serde_json::from_str::<Value>(&shown).is_ok());
    }

    #[test]
    fn the_largest_call_fits_an_event_even_when_every_character_is_escaped() {
        let outcome = Outcome {
            text: "\u{1}".repeat(10 * MOST_SHOWN),
            is_error: false,
            unknown_outcome: false,
            data: Some(json!({ "big": "\"".repeat(MOST_SHOWN / 2 - 10) })),
        };
        let quotes = call("a", &json!({ "content": "\"\\".repeat(MOST_SHOWN) }).to_string());
        let event = Voice::main("t".into(), None).ended(0, &quotes, &outcome);
        let size = event.to_raw().unwrap().args.get().len();
        assert!(size < 1024 * 1024, "{size}");
    }
}

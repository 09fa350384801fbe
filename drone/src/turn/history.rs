//! The conversation before this turn, as messages for the model.
//!
//! A turn that this workspace ran itself is told from its own journal, byte for byte as the model had it, so that the
//! endpoint's prompt cache holds. One that ran elsewhere is put together from what the hub has stored.

use std::sync::Arc;

use protocol::document::{Block, ToolCall};
use protocol::drone::ContextTurn;
use protocol::value::ChatTurnStatus;
use serde_json::Value;

use super::state::AgentState;
use crate::journal::record::Body;
use crate::model::{Call, Message};
use crate::tool::ToolSpec;

/// What the model can hold when nobody says so.
const UNKNOWN_WINDOW: u64 = 128_000;
/// Kept free for the answer, unless the window is small.
const RESERVE: u64 = 16_000;

/// The messages of a turn that was run in this workspace; `None` when its journal does not hold it. `status`: how it
/// ended for the hub, where the journal does not say.
pub(crate) fn from_journal(records: &[Body], status: ChatTurnStatus) -> Option<Vec<Message>> {
    let state = AgentState::of(records);
    let prompt = state.opening.as_ref()?.prompt.clone();
    Some(of_state(prompt, state, status))
}

/// The same, of a turn that this process has run.
pub(crate) fn of_state(prompt: String, state: AgentState, status: ChatTurnStatus) -> Vec<Message> {
    let closed = state.closed.clone();
    let mut messages = vec![Message::User { text: prompt }];
    messages.extend(state.into_history());
    finished(messages, closed.map_or(status, |(status, _)| status))
}

/// The messages of a turn as the hub has stored it. Thinking is left out: it was for that turn alone.
pub(crate) fn from_stored(turn: &ContextTurn) -> Vec<Message> {
    let mut messages = vec![Message::User { text: turn.prompt.clone() }];
    let (mut said, mut calls) = (String::new(), Vec::new());
    for block in &turn.blocks {
        match block {
            Block::Thinking { .. } => {}
            Block::Responding { content, .. } => {
                if !calls.is_empty() {
                    flush(&mut messages, &mut said, &mut calls);
                }
                said.push_str(content);
            }
            Block::Tool { content, .. } => calls.push(content),
        }
    }
    flush(&mut messages, &mut said, &mut calls);
    finished(messages, turn.status)
}

fn flush(messages: &mut Vec<Message>, said: &mut String, calls: &mut Vec<&ToolCall>) {
    if said.is_empty() && calls.is_empty() {
        return;
    }
    let calls = std::mem::take(calls);
    let made = |call: &&ToolCall| Call {
        id: call.call_id.to_string(),
        name: call.name.clone(),
        arguments: call.parameters.clone(),
    };
    messages.push(Message::Assistant {
        text: std::mem::take(said),
        thinking: None,
        calls: calls.iter().map(made).collect(),
    });
    for call in calls {
        messages.push(Message::ToolResult {
            call_id: call.call_id.to_string(),
            name: call.name.clone(),
            content: stored_result(call),
            is_error: call.is_error,
        });
    }
}

/// The text that the model had got, out of what clients get.
fn stored_result(call: &ToolCall) -> String {
    let response: Option<Value> = serde_json::from_str(&call.response).ok();
    match response.as_ref().and_then(|response| response.get("text")).and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None if call.response.is_empty() => "No result is known.".to_owned(),
        None => call.response.clone(),
    }
}

/// Every turn ends with words of the assistant, so that the next prompt does not read as part of this one.
fn finished(mut messages: Vec<Message>, status: ChatTurnStatus) -> Vec<Message> {
    let note = match status {
        ChatTurnStatus::Finished => "(no answer)",
        ChatTurnStatus::Aborted | ChatTurnStatus::Processing => "(stopped by the user)",
        ChatTurnStatus::Error => "(broken off by an error)",
    };
    if !matches!(messages.last(), Some(Message::Assistant { calls, .. }) if calls.is_empty()) {
        messages.push(Message::Assistant { text: note.to_owned(), thinking: None, calls: Vec::new() });
    }
    messages
}

/// What the model still has room for, in tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room(u64);

impl Room {
    /// System prompt, prompt and tools take `fixed` bytes.
    pub(crate) fn new(fixed: u64, context_window: Option<u64>) -> Self {
        let window = context_window.unwrap_or(UNKNOWN_WINDOW);
        let budget = (window / 5 * 4).min(window.saturating_sub(RESERVE.min(window / 4)));
        Self(budget.saturating_sub(tokens(fixed)))
    }

    /// Whether a turn fits. One that does takes its room.
    pub(crate) fn takes(&mut self, turn: &[Message]) -> bool {
        let left = self.0.checked_sub(tokens(turn.iter().map(size).sum()));
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// The turns that are kept, with a word about those that are not. `unsent`: turns that the hub left out already.
pub(crate) fn fitted(turns: &[Arc<[Message]>], omitted: usize, unsent: u64) -> Vec<Message> {
    let kept = turns.get(omitted..).unwrap_or_default();
    let mut messages: Vec<Message> = kept.iter().flat_map(|turn| turn.iter()).cloned().collect();
    let left_out = omitted as u64 + unsent;
    if left_out > 0
        && let Some(Message::User { text }) = messages.first_mut()
    {
        *text = format!("{}\n\n{text}", left_out_note(left_out));
    }
    messages
}

/// What the model is told about turns that it does not see.
pub(crate) fn left_out_note(turns: u64) -> String {
    format!("[{turns} earlier turns of this conversation are left out here. Ask the user if they matter.]")
}

/// The bytes that system prompt, prompt and tools take in every request.
pub(crate) fn fixed_size(system: &str, prompt: &str, tools: &[ToolSpec]) -> u64 {
    let tools: usize =
        tools.iter().map(|tool| tool.description.len() + tool.parameters.to_string().len() + 40).sum();
    (system.len() + prompt.len() + tools) as u64
}

fn size(message: &Message) -> u64 {
    let bytes = match message {
        Message::User { text } => text.len(),
        Message::Assistant { text, thinking, calls } => {
            let calls: usize =
                calls.iter().map(|call| call.id.len() + call.name.len() + call.arguments.len() + 40).sum();
            text.len() + thinking.as_deref().map_or(0, str::len) + calls
        }
        Message::ToolResult { call_id, name, content, is_error: _ } => {
            call_id.len() + name.len() + content.len()
        }
    };
    bytes as u64 + 16
}

/// About three and a half bytes to a token: code has more tokens than prose, and too few must not be guessed.
fn tokens(bytes: u64) -> u64 {
    bytes * 2 / 7
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use protocol::document::ToolCallStatus;

    use super::*;
    use crate::journal::record::Opening;
    use crate::model::{Completion, Stop};

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn responding(content: &str) -> Block {
        Block::Responding { created_at: AT, content: content.to_owned() }
    }

    fn tool(id: &str, response: &str) -> Block {
        let content = ToolCall {
            call_id: id.into(),
            name: "read".to_owned(),
            parameters: r#"{"path":"a"}"#.to_owned(),
            response: response.to_owned(),
            subagent: None,
            status: ToolCallStatus::Finished,
            is_error: false,
            started_at: AT,
            ended_at: None,
            unknown_outcome: false,
        };
        Block::Tool { created_at: AT, content }
    }

    fn user(text: &str) -> Message {
        Message::User { text: text.to_owned() }
    }

    fn said(text: &str) -> Message {
        Message::Assistant { text: text.to_owned(), thinking: None, calls: Vec::new() }
    }

    #[test]
    fn a_stored_turn_becomes_messages_in_which_each_call_has_its_result() {
        let turn = ContextTurn {
            turn_id: "t".into(),
            status: ChatTurnStatus::Finished,
            prompt: "fix it".to_owned(),
            blocks: vec![
                Block::Thinking { created_at: AT, content: "hm".to_owned() },
                responding("I look."),
                tool("c1", r#"{"text":"one","isError":false}"#),
                tool("c2", "plain"),
                responding("Done."),
            ],
        };
        let call = |id: &str| Call {
            id: id.to_owned(),
            name: "read".to_owned(),
            arguments: r#"{"path":"a"}"#.to_owned(),
        };
        let result = |id: &str, content: &str| Message::ToolResult {
            call_id: id.to_owned(),
            name: "read".to_owned(),
            content: content.to_owned(),
            is_error: false,
        };
        assert_eq!(
            from_stored(&turn),
            [
                user("fix it"),
                Message::Assistant {
                    text: "I look.".to_owned(),
                    thinking: None,
                    calls: vec![call("c1"), call("c2")]
                },
                result("c1", "one"),
                result("c2", "plain"),
                said("Done."),
            ]
        );
    }

    #[test]
    fn a_turn_that_came_to_nothing_still_ends_with_the_assistant() {
        let turn = ContextTurn {
            turn_id: "t".into(),
            status: ChatTurnStatus::Error,
            prompt: "fix it".to_owned(),
            blocks: Vec::new(),
        };
        assert_eq!(from_stored(&turn), [user("fix it"), said("(broken off by an error)")]);
    }

    #[test]
    fn the_own_journal_of_a_turn_that_was_stopped_gives_whole_history() {
        let call = Call { id: "c".into(), name: "read".into(), arguments: "{}".into() };
        let opening = Opening {
            turn_id: "t".into(),
            chat_session_id: "s".into(),
            attempt: 1,
            first_seq: 1,
            system: String::new(),
            prompt: "go".to_owned(),
            omitted: 0,
        };
        let completion = Completion { calls: vec![call], stop: Stop::ToolCalls, ..Completion::default() };
        let records =
            [Body::TurnOpen(opening), Body::Assistant { completion, text: None, usage: None }, Body::Cancel];
        let messages = from_journal(&records, ChatTurnStatus::Aborted).unwrap();
        assert!(
            matches!(&messages[2], Message::ToolResult { call_id, is_error: true, .. } if call_id == "c")
        );
        assert_eq!(messages[3], said("(stopped by the user)"));
        assert_eq!(from_journal(&records[1..], ChatTurnStatus::Aborted), None);
        // The same where the hub ended it because the drone did not come back: the user has stopped nothing.
        let messages = from_journal(&records[..2], ChatTurnStatus::Error).unwrap();
        assert_eq!(messages[3], said("(broken off by an error)"));
        assert!(messages.iter().all(|message| !format!("{message:?}").contains("user stopped")));
    }

    #[test]
    fn turns_take_room_until_none_is_left_and_the_model_is_told_of_those_left_out() {
        let turn = |text: &str| -> Arc<[Message]> { vec![user(text), said(&"x".repeat(3500))].into() };
        let turns = [turn("one"), turn("two"), turn("three")];
        let taken = |fixed, window| {
            let mut room = Room::new(fixed, window);
            turns.iter().filter(|turn| room.takes(turn)).count()
        };
        assert_eq!(taken(0, None), 3);
        assert_eq!(taken(0, Some(3000)), 2);
        assert_eq!(taken(100_000, Some(3000)), 0);
        let messages = fitted(&turns, 1, 4);
        assert_eq!(messages.len(), 4);
        assert!(
            matches!(&messages[0], Message::User { text } if text.starts_with("[5 earlier") && text.ends_with("two"))
        );
        assert_eq!(fitted(&turns, 0, 0), turns.concat());
    }
}

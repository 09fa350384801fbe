//! Turn events folded into what a reader of a turn sees: blocks, tool calls, counts.
//!
//! A pure function of the events in their order, used by the hub for stored turns and by tests for what a client
//! should have on its screen. Text that a `superseded` withdrew is gone, whatever came after it.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::document::{Block, Subagent, ToolCall, ToolCallStatus, TurnStats};
use crate::event::{AgentComplete, Superseded, TurnEvent};
use crate::ids::CallId;
use crate::value::SubagentKind;

/// What the events of a turn amount to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assembled {
    pub blocks: Vec<Block>,
    pub tool_calls: Vec<ToolCall>,
    /// Counts only; durations are the caller's.
    pub stats: TurnStats,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Thinking,
    Responding,
}

enum Piece {
    Text {
        seq: u64,
        at: Timestamp,
        text: Text,
        content: String,
    },
    /// Where a tool call stands in the order of blocks.
    Call {
        at: Timestamp,
        call_id: CallId,
    },
}

#[derive(Default)]
struct AgentPieces {
    text: Vec<(u64, Text, String)>,
    calls: Vec<ToolCall>,
    complete: Option<Box<AgentComplete>>,
}

/// Takes a turn's events in order.
#[derive(Default)]
pub struct TurnAssembler {
    /// The turn's own agent, in order.
    pieces: Vec<Piece>,
    /// Calls by id: what is known of each now.
    calls: HashMap<CallId, ToolCall>,
    agents: HashMap<CallId, AgentPieces>,
    superseded: Vec<Superseded>,
    stats: TurnStats,
}

impl TurnAssembler {
    pub fn apply(&mut self, seq: u64, at: Timestamp, event: TurnEvent) {
        match event {
            TurnEvent::Thinking { content } => {
                self.pieces.push(Piece::Text { seq, at, text: Text::Thinking, content });
            }
            TurnEvent::Response { content } => {
                self.pieces.push(Piece::Text { seq, at, text: Text::Responding, content });
            }
            TurnEvent::ToolCallStarted { call_id, name, params } => {
                self.call(at, call_id, name, params);
            }
            TurnEvent::ToolCallProgress { .. } | TurnEvent::WorkOrderComplete { .. } => {}
            TurnEvent::ToolCall { call_id, name, params, response, is_error, unknown_outcome } => {
                let call = self.call(at, call_id, name, params);
                call.response = response;
                call.is_error = is_error;
                call.unknown_outcome = unknown_outcome;
                call.status = ToolCallStatus::Finished;
                call.ended_at = Some(at);
            }
            TurnEvent::AgentThinking(event) => {
                self.agent(event.agent_id).text.push((seq, Text::Thinking, event.thinking));
            }
            TurnEvent::AgentResponse(event) => {
                self.agent(event.agent_id).text.push((seq, Text::Responding, event.chunk));
            }
            TurnEvent::AgentToolCall(event) => {
                let agent = self.agent(event.agent_id);
                let call_id = event.call_id.unwrap_or_else(|| format!("{}", agent.calls.len()).into());
                if agent.calls.iter().all(|call| call.call_id != call_id) {
                    agent.calls.push(new_call(at, call_id, event.tool, event.args.to_string()));
                }
            }
            TurnEvent::AgentToolResult(event) => {
                let agent = self.agent(event.agent_id);
                let open = agent.calls.iter_mut().find(|call| match &event.call_id {
                    Some(id) => call.call_id == *id,
                    None => call.name == event.tool && call.status == ToolCallStatus::Running,
                });
                if let Some(call) = open {
                    call.response = event.result.to_string();
                    call.is_error = event.is_error;
                    call.status = ToolCallStatus::Finished;
                    call.ended_at = Some(at);
                }
            }
            TurnEvent::AgentComplete(event) => {
                let id = event.agent_id.clone();
                self.agent(id).complete = Some(event);
            }
            TurnEvent::Usage(usage) => {
                self.stats.input_tokens += usage.input_tokens;
                self.stats.cache_read_tokens += usage.cache_read_tokens;
                self.stats.cache_write_tokens += usage.cache_write_tokens;
                self.stats.response_tokens += usage.output_tokens.saturating_sub(usage.thinking_tokens);
                self.stats.thinking_token_count += usage.thinking_tokens;
            }
            TurnEvent::Superseded(range) => {
                self.stats.retries += 1;
                self.superseded.push(range);
            }
        }
    }

    pub fn finish(self) -> Assembled {
        let Self { pieces, mut calls, agents, superseded, mut stats } = self;
        let withdrawn = |agent: Option<&CallId>, seq: u64| {
            superseded.iter().any(|range| {
                range.agent_id.as_ref() == agent && (range.from_seq..=range.to_seq).contains(&seq)
            })
        };
        for (id, pieces) in agents {
            if let Some(call) = calls.get_mut(&id) {
                call.subagent = Some(subagent(&id, &call.parameters, pieces, &withdrawn));
            }
        }
        let mut blocks: Vec<Block> = Vec::new();
        let mut tool_calls = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text { seq, .. } if withdrawn(None, seq) => {}
                Piece::Text { seq: _, at, text, content } => match (blocks.last_mut(), text) {
                    (Some(Block::Thinking { content: last, .. }), Text::Thinking)
                    | (Some(Block::Responding { content: last, .. }), Text::Responding) => {
                        last.push_str(&content);
                    }
                    (_, Text::Thinking) => blocks.push(Block::Thinking { created_at: at, content }),
                    (_, Text::Responding) => blocks.push(Block::Responding { created_at: at, content }),
                },
                Piece::Call { at, call_id } => {
                    if let Some(call) = calls.get(&call_id) {
                        tool_calls.push(call.clone());
                        blocks.push(Block::Tool { created_at: at, content: call.clone() });
                    }
                }
            }
        }
        stats.tool_call_count = tool_calls.len() as u64;
        Assembled { blocks, tool_calls, stats }
    }

    fn call(&mut self, at: Timestamp, call_id: CallId, name: String, params: String) -> &mut ToolCall {
        let pieces = &mut self.pieces;
        self.calls.entry(call_id.clone()).or_insert_with(|| {
            pieces.push(Piece::Call { at, call_id: call_id.clone() });
            new_call(at, call_id, name, params)
        })
    }

    fn agent(&mut self, id: CallId) -> &mut AgentPieces {
        self.agents.entry(id).or_default()
    }
}

fn new_call(at: Timestamp, call_id: CallId, name: String, parameters: String) -> ToolCall {
    ToolCall {
        call_id,
        name,
        parameters,
        response: String::new(),
        subagent: None,
        status: ToolCallStatus::Running,
        is_error: false,
        started_at: at,
        ended_at: None,
        unknown_outcome: false,
    }
}

fn subagent(
    id: &CallId,
    parameters: &str,
    pieces: AgentPieces,
    withdrawn: &impl Fn(Option<&CallId>, u64) -> bool,
) -> Subagent {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Arguments {
        agent_type: Option<SubagentKind>,
        prompt: String,
    }
    let AgentPieces { text, calls, complete } = pieces;
    let join = |wanted: Text| -> String {
        text.iter()
            .filter(|(seq, kind, _)| *kind == wanted && !withdrawn(Some(id), *seq))
            .map(|(_, _, content)| content.as_str())
            .collect()
    };
    let Arguments { agent_type, prompt } = serde_json::from_str(parameters).unwrap_or_default();
    let thinking = Some(join(Text::Thinking)).filter(|text| !text.is_empty());
    let mut assembled = Subagent {
        kind: agent_type,
        prompt,
        thinking,
        response: join(Text::Responding),
        stats: TurnStats { tool_call_count: calls.len() as u64, ..TurnStats::default() },
        tool_calls: calls,
    };
    if let Some(complete) = complete {
        let AgentComplete { agent_id: _, response, subagent, stats } = *complete;
        if let Some(told) = subagent {
            return told;
        }
        if let Some(response) = response {
            assembled.response = response;
        }
        if let Some(stats) = stats {
            assembled.stats = stats;
        }
    }
    assembled
}

#[cfg(test)]
mod tests;

//! What a turn's events add up to, counted as they pass, so that its end needs no second reading.

use std::collections::HashSet;

use jiff::Timestamp;
use protocol::document::TurnStats;
use protocol::event::{EventName, RawEvent, TurnEvent};
use protocol::ids::CallId;

#[derive(Debug, Default)]
pub(super) struct Tally {
    stats: TurnStats,
    calls: HashSet<CallId>,
    first_text_at: Option<Timestamp>,
}

impl Tally {
    /// Looks into the few kinds of event that count. Hands back an event's fault, where it cannot be read.
    pub(super) fn count(&mut self, event: &RawEvent, at: Timestamp) -> Result<(), protocol::error::Refusal> {
        match event.name {
            EventName::Thinking | EventName::Response => {
                self.first_text_at.get_or_insert(at);
            }
            EventName::ToolCallStarted | EventName::ToolCall | EventName::Usage | EventName::Superseded => {
                self.count_parsed(event.parse()?);
            }
            EventName::ToolCallProgress
            | EventName::AgentThinking
            | EventName::AgentResponse
            | EventName::AgentToolCall
            | EventName::AgentToolResult
            | EventName::AgentComplete
            | EventName::WorkOrderComplete => {}
        }
        Ok(())
    }

    fn count_parsed(&mut self, event: TurnEvent) {
        match event {
            TurnEvent::ToolCallStarted { call_id, .. } | TurnEvent::ToolCall { call_id, .. } => {
                self.calls.insert(call_id);
            }
            TurnEvent::Usage(usage) => {
                self.stats.input_tokens += usage.input_tokens;
                self.stats.cache_read_tokens += usage.cache_read_tokens;
                self.stats.cache_write_tokens += usage.cache_write_tokens;
                self.stats.response_tokens += usage.output_tokens.saturating_sub(usage.thinking_tokens);
                self.stats.thinking_token_count += usage.thinking_tokens;
            }
            TurnEvent::Superseded(_) => self.stats.retries += 1,
            _ => {}
        }
    }

    /// The sums of a turn that began at `created_at` and ends at `ended_at`.
    pub(super) fn finish(&self, created_at: Timestamp, ended_at: Timestamp) -> TurnStats {
        let mut stats = self.stats.clone();
        stats.tool_call_count = self.calls.len() as u64;
        stats.set_duration(milliseconds(created_at, ended_at));
        stats.time_to_first_token_ms = self.first_text_at.map(|at| milliseconds(created_at, at));
        stats
    }
}

fn milliseconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0)
}

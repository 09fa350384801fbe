//! Sub-agents: agents of their own, started by a call of the turn's agent, with a journal and a conversation of their
//! own. Only their last message comes back.

use std::pin::Pin;
use std::sync::Arc;

use jiff::Timestamp;
use protocol::document::TurnStats;
use protocol::value::{ChatTurnStatus, SubagentKind};
use serde_json::{Value, json};

use super::agent::{Agent, Conversation, Ended};
use super::shared::Shared;
use super::voice::Voice;
use super::{TurnError, journal_path, open_journal, prompt};
use crate::journal::record::Body;
use crate::tool::{Audience, Outcome, ToolError, ToolSpec};

pub(super) const NAME: &str = "subagent";

/// The most sub-agents that one turn may start.
pub(super) const MOST: usize = 32;

/// What the model asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub kind: SubagentKind,
    pub prompt: String,
}

/// What a sub-agent came to.
pub(super) struct ChildEnd {
    pub response: String,
    pub stats: TurnStats,
    pub outcome: Outcome,
}

pub(super) fn spec() -> ToolSpec {
    ToolSpec {
        name: NAME,
        description: "Gives a task to a sub-agent, which works on it alone and answers with one message. It does not see \
                      this conversation: the prompt must say everything that it needs. Type `explore` only reads and is \
                      for finding things out; type `general` may change files and run commands. Several started in one \
                      answer work side by side.",
        parameters: json!({
            "type": "object",
            "properties": {
                "agent_type": {
                    "type": "string",
                    "enum": ["explore", "general"],
                    "description": "explore: reads only; general: all tools but this one",
                },
                "prompt": { "type": "string", "description": "The task, with all that it needs to know" },
            },
            "required": ["agent_type", "prompt"],
        }),
    }
}

/// Reads the arguments. `started`: how many sub-agents the turn has had.
pub(super) fn parse(arguments: &Value, started: usize) -> Result<Task, ToolError> {
    let text = |name: &str| {
        arguments.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
    };
    let kind = text("agent_type")
        .ok_or_else(|| missing("MISSING_AGENT_TYPE", "agent_type", "Say `explore` or `general`."))?;
    let kind = SubagentKind::parse(kind).ok_or_else(|| {
        ToolError::new("INVALID_PARAMETER", format!("there is no sub-agent of type {kind:?}"))
            .about("agent_type")
            .hint("Say `explore` or `general`.")
    })?;
    let prompt =
        text("prompt").ok_or_else(|| missing("MISSING_PROMPT", "prompt", "Say what it is to do."))?;
    if started >= MOST {
        return Err(ToolError::new(
            "OPERATION_NOT_ALLOWED",
            format!("this turn has started {MOST} sub-agents, which is the limit"),
        )
        .hint("Do the rest yourself."));
    }
    Ok(Task { kind, prompt: prompt.to_owned() })
}

fn missing(code: &str, parameter: &str, hint: &str) -> ToolError {
    ToolError::new(code, format!("`{parameter}` is missing")).about(parameter).hint(hint)
}

/// Runs the sub-agent of call `number`, from where its journal ends. `None`: it was left as it is.
///
/// Boxed because an agent runs its sub-agents inside its own work.
pub(super) fn run(
    shared: Arc<Shared>,
    voice: Voice,
    number: usize,
    task: Task,
) -> Pin<Box<dyn Future<Output = Result<Option<ChildEnd>, TurnError>> + Send>> {
    Box::pin(async move {
        let Task { kind, prompt } = task;
        let setup = &shared.setup;
        let path = journal_path(&setup.paths, &setup.order.id, Some(number));
        let (journal, records) = open_journal(path).await?;
        let began = records.first().map_or_else(Timestamp::now, |record| record.at);
        let bodies: Vec<Body> = records.into_iter().map(|record| record.body).collect();
        let conversation = Conversation {
            system: prompt::sub_agent_system(&setup.order.session, kind, shared.agents_md.as_deref()),
            earlier: Vec::new(),
            unsent: 0,
            prompt,
        };
        let tools = (setup.tools)(setup.order.mode, Audience::Sub(kind));
        let mut agent = Agent::new(shared.clone(), voice, journal, &bodies, conversation, tools, None);
        let ended = agent.work().await?;
        let (status, message) = match &ended {
            Ended::Left => return Ok(None),
            Ended::Finished => (ChatTurnStatus::Finished, None),
            Ended::Failed(message) => (ChatTurnStatus::Error, Some(message.clone())),
            Ended::Aborted => (ChatTurnStatus::Aborted, None),
        };
        if agent.state.closed.is_none() {
            let mut batch = super::agent::Batch::default();
            agent.settle_calls(&mut batch);
            batch.note(move |_| Body::TurnClose { status, message, complete: None });
            agent.commit(batch).await?;
        }
        Ok(Some(end(&agent, &ended, began)))
    })
}

fn end(agent: &Agent, ended: &Ended, began: Timestamp) -> ChildEnd {
    let done = &agent.state;
    let mut stats = TurnStats {
        tool_call_count: done.calls as u64,
        input_tokens: done.usage.input_tokens,
        cache_read_tokens: done.usage.cache_read_tokens,
        cache_write_tokens: done.usage.cache_write_tokens,
        thinking_token_count: done.usage.thinking_tokens,
        response_tokens: done.usage.output_tokens.saturating_sub(done.usage.thinking_tokens),
        ..TurnStats::default()
    };
    let took = Timestamp::now().duration_since(began).as_millis();
    stats.set_duration(u64::try_from(took).unwrap_or_default());
    let response = done.last_text.clone();
    let (text, is_error) = match ended {
        Ended::Failed(message) => {
            (format!("The sub-agent failed: {message}\n\nIts last words: {response}"), true)
        }
        Ended::Aborted => ("The sub-agent was stopped by the user.".to_owned(), true),
        _ if response.trim().is_empty() => ("The sub-agent ended without an answer.".to_owned(), true),
        _ => (response.clone(), false),
    };
    ChildEnd { response, stats, outcome: Outcome { text, is_error, unknown_outcome: false, data: None } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_wrong_arguments_are_told_apart() {
        let code = |arguments: Value| parse(&arguments, 0).unwrap_err().code;
        assert_eq!(code(json!({ "prompt": "look" })), "MISSING_AGENT_TYPE");
        assert_eq!(code(json!({ "agent_type": "explore" })), "MISSING_PROMPT");
        assert_eq!(code(json!({ "agent_type": "boss", "prompt": "look" })), "INVALID_PARAMETER");
    }

    #[test]
    fn a_turn_cannot_start_sub_agents_without_end() {
        let arguments = json!({ "agent_type": "explore", "prompt": "look" });
        let task = Task { kind: SubagentKind::Explore, prompt: "look".to_owned() };
        assert_eq!(parse(&arguments, MOST - 1), Ok(task));
        assert_eq!(parse(&arguments, MOST).unwrap_err().code, "OPERATION_NOT_ALLOWED");
    }
}

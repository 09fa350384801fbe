//! Comparing transcripts: what the script says, what is on the screen, what is stored.

use anyhow::{Context, Result, bail, ensure};
use protocol::assemble::Assembled;
use protocol::document::{Block, ToolCall, ToolCallStatus};
use scripted_model::script::{Answer, Step};
use serde_json::Value;

/// A block of a transcript without what differs from run to run.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Thinking(String),
    Responding(String),
    Called { name: String, arguments: Value },
}

/// What a reader of the scripted answers must see: consecutive text of one kind is one block.
pub fn scripted(answers: &[Answer]) -> Vec<Said> {
    let mut said: Vec<Said> = Vec::new();
    for step in answers.iter().flat_map(|answer| answer.nth_try(usize::MAX)) {
        match (step, said.last_mut()) {
            (Step::Think(text), Some(Said::Thinking(last)))
            | (Step::Say(text), Some(Said::Responding(last))) => {
                last.push_str(text);
            }
            (Step::Think(text), _) => said.push(Said::Thinking(text.clone())),
            (Step::Say(text), _) => said.push(Said::Responding(text.clone())),
            (Step::Call(call), _) => {
                said.push(Said::Called { name: call.name.clone(), arguments: call.arguments.clone() });
            }
            _ => {}
        }
    }
    said
}

pub fn said(blocks: &[Block]) -> Result<Vec<Said>> {
    let said = |block: &Block| {
        Ok(match block {
            Block::Thinking { content, .. } => Said::Thinking(content.clone()),
            Block::Responding { content, .. } => Said::Responding(content.clone()),
            Block::Tool { content, .. } => Said::Called {
                name: content.name.clone(),
                arguments: serde_json::from_str(&content.parameters)
                    .with_context(|| format!("call {} has strange arguments", content.call_id))?,
            },
        })
    };
    blocks.iter().map(said).collect()
}

/// Both show the same: text, calls with their results and flags. Times may differ.
pub fn same(screen: &Assembled, stored: &[Block]) -> Result<()> {
    let comparable = |blocks: &[Block]| -> Result<Vec<(Said, Option<ToolCall>)>> {
        let call = |block: &Block| match block {
            Block::Tool { content, .. } => {
                let at = jiff::Timestamp::UNIX_EPOCH;
                let ended_at = content.ended_at.map(|_| at);
                Some(ToolCall { started_at: at, ended_at, ..content.clone() })
            }
            _ => None,
        };
        Ok(said(blocks)?.into_iter().zip(blocks.iter().map(call)).collect())
    };
    let (shown, kept) = (comparable(&screen.blocks)?, comparable(stored)?);
    ensure!(shown == kept, "the screen shows {shown:#?}, the store has {kept:#?}");
    Ok(())
}

/// All tool calls have ended, without error and with a known outcome.
pub fn all_ended_well(calls: &[ToolCall]) -> Result<()> {
    for call in calls {
        if call.status != ToolCallStatus::Finished || call.is_error || call.unknown_outcome {
            bail!("a call did not end well: {call:?}");
        }
    }
    Ok(())
}

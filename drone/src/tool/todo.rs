//! `todo`: the agent's own list of what is to do in this session.
//!
//! Each call replaces the list whole, so doing it twice is the same as doing it once. The list lies in the drone's own
//! directory and outlives the turn.

use std::io::Write;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use protocol::ids::{CallId, ChatSessionId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::arguments::{Arguments, read_plan};
use super::blocking::blocking;
use super::output::file_name;
use super::{Effect, Intent, Outcome, Resource, Tool, ToolContext, ToolError, ToolSpec, Verdict};
use crate::path::OWN;

const MOST_ITEMS: usize = 200;
const LONGEST: usize = 2000;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TodoItem {
    pub text: String,
    pub status: TodoStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TodoStatus {
    Pending,
    InProgress,
    Completed,
}

/// The list of a session; empty when there is none.
pub fn todo_list(workspace: &Path, session: &ChatSessionId) -> Vec<TodoItem> {
    let Ok(text) = std::fs::read(list_path(workspace, session)) else { return Vec::new() };
    serde_json::from_slice(&text).unwrap_or_default()
}

pub(crate) struct Todo;

#[async_trait]
impl Tool for Todo {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "todo",
            description: "Replaces your list of what is to do in this session. Keep it for work of several steps; the \
                          user sees it. Give all items each time.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "items": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "text": { "type": "string" },
                                "status": { "type": "string", "enum": ["pending", "in_progress", "completed"] }
                            },
                            "required": ["text", "status"]
                        }
                    }
                },
                "required": ["items"]
            }),
        }
    }

    fn resources(&self, _: &Value, context: &ToolContext) -> Vec<Resource> {
        vec![Resource::Write(list_path(&context.workspace, &context.chat_session))]
    }

    async fn plan(&self, call_id: &CallId, arguments: &Value, _: &ToolContext) -> Result<Intent, ToolError> {
        let items = items(Arguments::new(arguments, &["items"])?.list("items")?)?;
        Ok(Intent {
            call_id: call_id.clone(),
            tool: "todo".into(),
            effect: Effect::Keyed,
            plan: json!(items),
        })
    }

    async fn apply(&self, intent: &Intent, context: &ToolContext) -> Outcome {
        let (plan, context) = (intent.plan.clone(), context.clone());
        blocking(move || store(read_plan(plan)?, &context)).await.unwrap_or_else(Into::into)
    }

    async fn reconcile(&self, _: &Intent, _: &ToolContext) -> Verdict {
        Verdict::NotDone
    }
}

fn items(values: &[Value]) -> Result<Vec<TodoItem>, ToolError> {
    let invalid = |message: String| {
        ToolError::new("INVALID_PARAMETER", message)
            .about("items")
            .hint("Each item is {\"text\": …, \"status\": \"pending\", \"in_progress\" or \"completed\"}.")
    };
    if values.len() > MOST_ITEMS {
        return Err(invalid(format!("the list has more than {MOST_ITEMS} items")));
    }
    values
        .iter()
        .enumerate()
        .map(|(at, value)| match TodoItem::deserialize(value) {
            Ok(item) if item.text.len() > LONGEST => {
                Err(invalid(format!("item {} is longer than {LONGEST} bytes", at + 1)))
            }
            Ok(item) => Ok(item),
            Err(error) => Err(invalid(format!("item {} cannot be read: {error}", at + 1))),
        })
        .collect()
}

fn store(items: Vec<TodoItem>, context: &ToolContext) -> Result<Outcome, ToolError> {
    let path = list_path(&context.workspace, &context.chat_session);
    let written = || {
        let directory = path.parent().unwrap_or(&context.workspace);
        std::fs::create_dir_all(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(json!(items).to_string().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)
    };
    written().map_err(|error| ToolError::new("IO", format!("the list could not be kept: {error}")))?;
    let open = items.iter().filter(|item| item.status != TodoStatus::Completed).count();
    let text = format!("kept {} items, {open} of them open", items.len());
    Ok(Outcome::success(text).with_data(json!({ "items": items })))
}

fn list_path(workspace: &Path, session: &ChatSessionId) -> PathBuf {
    let name = file_name(session, &CallId::from("todo"));
    workspace.join(OWN).join("todo").join(format!("{name}.json"))
}

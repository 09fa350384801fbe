//! `write`: puts a whole file in place.

use async_trait::async_trait;
use protocol::ids::CallId;
use serde_json::{Value, json};

use super::arguments::{Arguments, named_path};
use super::blocking::blocking;
use super::guarded::{self, Body, Change, LARGEST};
use super::{Effect, Intent, Outcome, Resource, Tool, ToolContext, ToolError, ToolSpec, Verdict};
use crate::path::Root;
use crate::path::content::sha256_hex;

pub(crate) struct Write;

#[async_trait]
impl Tool for Write {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "write",
            description: "Writes a file, whole: creates it with its directories, or replaces what is there. \
                          To change a part of a file use `edit`.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": { "type": "string", "description": "Relative to the project root." },
                    "content": { "type": "string", "description": "The file's whole new content." }
                },
                "required": ["path", "content"]
            }),
        }
    }

    fn resources(&self, arguments: &Value, context: &ToolContext) -> Vec<Resource> {
        vec![match named_path(arguments, "path") {
            Some(path) => Resource::Write(context.project_root.join(path)),
            None => Resource::None,
        }]
    }

    async fn plan(
        &self,
        call_id: &CallId,
        arguments: &Value,
        context: &ToolContext,
    ) -> Result<Intent, ToolError> {
        let arguments = Arguments::new(arguments, &["path", "content"])?;
        let path = arguments.text("path")?;
        let text = arguments.text("content")?;
        if text.len() as u64 > LARGEST {
            return Err(ToolError::new("TOO_LARGE", format!("`content` is longer than {LARGEST} bytes"))
                .about("content")
                .hint("Make large files with a command in `shell_exec`."));
        }
        let context = context.clone();
        let change = blocking(move || {
            let root = Root::open(&context.project_root)?;
            let inside = guarded::target(&root, &path)?;
            let now = guarded::current(&root, &inside)?;
            let before = now.map(|now| now.sha256);
            context.seen.check(&inside, before.as_deref())?;
            let after = sha256_hex(text.as_bytes());
            Ok(Change { path: inside.show(), before, after, body: Body::Whole { content: text } })
        })
        .await?;
        Ok(Intent {
            call_id: call_id.clone(),
            tool: "write".into(),
            effect: Effect::Guarded,
            plan: json!(change),
        })
    }

    async fn apply(&self, intent: &Intent, context: &ToolContext) -> Outcome {
        guarded::apply_intent(intent, context).await
    }

    async fn reconcile(&self, intent: &Intent, context: &ToolContext) -> Verdict {
        guarded::reconcile_intent(intent, context).await
    }
}

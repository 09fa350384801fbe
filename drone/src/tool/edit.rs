//! `edit`: replaces a text in a file by another.

use async_trait::async_trait;
use protocol::ids::CallId;
use serde_json::{Value, json};

use super::arguments::{Arguments, named_path};
use super::blocking::blocking;
use super::guarded::{self, Body, Change};
use super::{Effect, Intent, Outcome, Resource, Tool, ToolContext, ToolError, ToolSpec, Verdict};
use crate::path::content::sha256_hex;
use crate::path::{PathError, Root};

pub(crate) mod matching;

pub(crate) struct Edit;

#[async_trait]
impl Tool for Edit {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "edit",
            description: "Replaces `old` by `new` in a file. `old` must be in the file exactly, blanks and line ends \
                          included, without the line numbers that `read` shows, and only once: take as many lines \
                          around the place as make it unique, or set `replace_all`.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": { "type": "string", "description": "Relative to the project root." },
                    "old": { "type": "string", "description": "The text to replace, as it is in the file." },
                    "new": { "type": "string", "description": "What stands there afterwards." },
                    "replace_all": { "type": "boolean", "description": "Replace every occurrence; default false." }
                },
                "required": ["path", "old", "new"]
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
        let arguments = Arguments::new(arguments, &["path", "old", "new", "replace_all"])?;
        let path = arguments.text("path")?;
        let (old, new) = (arguments.text("old")?, arguments.text("new")?);
        let all = arguments.flag("replace_all")?;
        let context = context.clone();
        let change = blocking(move || {
            let root = Root::open(&context.project_root)?;
            let inside = guarded::target(&root, &path)?;
            let now = guarded::current(&root, &inside)?.ok_or(PathError::NotFound { path })?;
            context.seen.check(&inside, Some(&now.sha256))?;
            let body = Body::Replace { old, new, all };
            let after = sha256_hex(&body.content(Some(&now.bytes), &inside.show())?);
            Ok(Change { path: inside.show(), before: Some(now.sha256), after, body })
        })
        .await?;
        Ok(Intent {
            call_id: call_id.clone(),
            tool: "edit".into(),
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

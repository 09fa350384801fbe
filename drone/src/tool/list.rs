//! `list`: shows what a directory holds.

use async_trait::async_trait;
use protocol::ids::CallId;
use serde_json::{Value, json};

use super::arguments::{Arguments, named_path};
use super::blocking::blocking;
use super::output::{LISTING, bounded};
use super::{Effect, Intent, Outcome, Resource, Tool, ToolContext, ToolError, ToolSpec, Verdict};
use crate::path::{OWN, PathError, Root};

pub(crate) struct List;

#[async_trait]
impl Tool for List {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "list",
            description: "Lists a directory, sorted: directories end in a slash, files have their size in bytes, \
                          links show where they point. Ignored files are shown too.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "path": { "type": "string", "description": "Relative to the project root; default the root." }
                }
            }),
        }
    }

    fn resources(&self, arguments: &Value, context: &ToolContext) -> Vec<Resource> {
        let path = named_path(arguments, "path").unwrap_or_default();
        vec![Resource::Read(context.project_root.join(path))]
    }

    async fn plan(&self, call_id: &CallId, arguments: &Value, _: &ToolContext) -> Result<Intent, ToolError> {
        let path = Arguments::new(arguments, &["path"])?.optional_text("path")?.unwrap_or_default();
        Ok(Intent { call_id: call_id.clone(), tool: "list".into(), effect: Effect::Pure, plan: json!(path) })
    }

    async fn apply(&self, intent: &Intent, context: &ToolContext) -> Outcome {
        let (intent, context) = (intent.clone(), context.clone());
        blocking(move || entries(&intent, &context)).await.unwrap_or_else(Into::into)
    }

    async fn reconcile(&self, _: &Intent, _: &ToolContext) -> Verdict {
        Verdict::NotDone
    }
}

fn entries(intent: &Intent, context: &ToolContext) -> Result<Outcome, ToolError> {
    let path: String = super::arguments::read_plan(intent.plan.clone())?;
    let root = Root::open(&context.project_root)?;
    let inside = root.resolve(&path)?;
    let directory = root.open_dir(&inside)?;
    let failed = |source| PathError::Io { attempt: "list", path: inside.show(), source };
    let mut names = Vec::new();
    for entry in directory.entries().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name == ".git" || name == OWN {
            continue;
        }
        // An entry that has gone since is not there.
        let Ok(metadata) = directory.symlink_metadata(&name) else { continue };
        let shown = name.to_string_lossy();
        names.push(if metadata.is_dir() {
            format!("{shown}/")
        } else if metadata.is_symlink() {
            let target = directory.read_link_contents(&name).unwrap_or_default();
            format!("{shown} -> {}", target.display())
        } else {
            format!("{shown} ({})", metadata.len())
        });
    }
    if names.is_empty() {
        return Ok(Outcome::success("[the directory is empty]").with_data(json!({ "entries": 0 })));
    }
    names.sort();
    let text = bounded(context, &intent.call_id, names.join("\n") + "\n", LISTING);
    Ok(Outcome::success(text).with_data(json!({ "entries": names.len() })))
}

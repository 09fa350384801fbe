//! `glob`: finds files by name.

use std::fmt::Write as _;

use async_trait::async_trait;
use globset::{GlobBuilder, GlobMatcher};
use protocol::ids::CallId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::arguments::{Arguments, read_plan};
use super::blocking::blocking;
use super::output::{LISTING, bounded};
use super::walk::{Files, readable};
use super::{Effect, Intent, Outcome, Resource, Tool, ToolContext, ToolError, ToolSpec, Verdict};

/// More files than this are not listed.
const MOST: usize = 20_000;

pub(crate) struct Glob;

#[derive(Serialize, Deserialize)]
struct Plan {
    pattern: String,
    path: String,
}

#[async_trait]
impl Tool for Glob {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "glob",
            description: "Lists files whose path matches a pattern such as `src/**/*.rs` or `*.md`, sorted. Ignored \
                          files are left out. A pattern without a slash matches file names at any depth.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "pattern": { "type": "string", "description": "With *, **, ?, [a-z] and {a,b}; relative to `path`." },
                    "path": { "type": "string", "description": "Directory to look in; default the project root." }
                },
                "required": ["pattern"]
            }),
        }
    }

    fn resources(&self, _: &Value, _: &ToolContext) -> Vec<Resource> {
        vec![Resource::ReadProject]
    }

    async fn plan(&self, call_id: &CallId, arguments: &Value, _: &ToolContext) -> Result<Intent, ToolError> {
        let arguments = Arguments::new(arguments, &["pattern", "path"])?;
        let pattern = arguments.text("pattern")?;
        matcher(&pattern, "pattern")?;
        let plan = Plan { pattern, path: arguments.optional_text("path")?.unwrap_or_default() };
        Ok(Intent { call_id: call_id.clone(), tool: "glob".into(), effect: Effect::Pure, plan: json!(plan) })
    }

    async fn apply(&self, intent: &Intent, context: &ToolContext) -> Outcome {
        let (intent, context) = (intent.clone(), context.clone());
        blocking(move || find(&intent, &context)).await.unwrap_or_else(Into::into)
    }

    async fn reconcile(&self, _: &Intent, _: &ToolContext) -> Verdict {
        Verdict::NotDone
    }
}

/// A pattern for paths; one without a slash is for file names.
pub(crate) fn matcher(pattern: &str, parameter: &str) -> Result<GlobMatcher, ToolError> {
    let pattern = pattern.trim_start_matches("./");
    let anywhere = if pattern.contains('/') { pattern.to_owned() } else { format!("**/{pattern}") };
    GlobBuilder::new(&anywhere).literal_separator(true).build().map(|glob| glob.compile_matcher()).map_err(
        |error| {
            ToolError::new("INVALID_PARAMETER", format!("the pattern cannot be read: {}", error.kind()))
            .about(parameter)
            .hint("Use *, **, ?, [a-z] and {a,b}; put a backslash before a character that is meant as such.")
        },
    )
}

fn find(intent: &Intent, context: &ToolContext) -> Result<Outcome, ToolError> {
    let plan: Plan = read_plan(intent.plan.clone())?;
    let (root, inside) = readable(context, &plan.path)?;
    let start = root.absolute(&inside);
    // A pattern may begin with the directory's own absolute path.
    let below = start.to_str().and_then(|start| plan.pattern.strip_prefix(start)?.strip_prefix('/'));
    let matcher = matcher(below.unwrap_or(&plan.pattern), "pattern")?;
    let mut files = Files::below(context, &plan.path)?;
    let (mut found, mut lines) = (0usize, String::new());
    while let Some(path) = files.next() {
        let path = path?;
        if !matcher.is_match(path.strip_prefix(&start).unwrap_or(&path)) {
            continue;
        }
        found += 1;
        if found > MOST {
            let _infallible = writeln!(lines, "[more than {MOST} files match; use a narrower pattern]");
            break;
        }
        let _infallible = writeln!(lines, "{}", files.relative(&path).display());
    }
    if found == 0 {
        return Ok(Outcome::success("[no file matches]").with_data(json!({ "files": 0 })));
    }
    let text = bounded(context, &intent.call_id, lines, LISTING);
    Ok(Outcome::success(text).with_data(json!({ "files": found })))
}

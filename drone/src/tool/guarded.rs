//! A change of one file that is safe against crashes and against other writers.
//!
//! The intent holds the file's hash before and after. Applied, the file is looked at first: it has the hash before (do
//! it), the hash after (it is done already), or another one (somebody else was here: leave it alone).

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::arguments::read_plan;
use super::blocking::blocking;
use super::edit::matching::replace;
use super::seen::{file_data, stale};
use super::{Intent, Outcome, ToolContext, ToolError, Verdict};
use crate::path::content::{self, Content, ContentError, sha256_hex};
use crate::path::{Inside, PathError, Root};

/// The largest file that `write` and `edit` change.
pub(crate) const LARGEST: u64 = 16 * 1024 * 1024;

/// Longer diffs are left out of a result's data.
const LARGEST_DIFF: usize = 32 * 1024;

/// A decided change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    /// Below the project root, links followed.
    pub(crate) path: String,
    /// Hash of the whole file; none: it was not there.
    pub(crate) before: Option<String>,
    pub(crate) after: String,
    pub(crate) body: Body,
}

/// How the new content comes from the old.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub(crate) enum Body {
    Whole { content: String },
    Replace { old: String, new: String, all: bool },
}

/// Resolves the file to change. `.git` is refused: hooks and configuration run code outside the sandbox.
pub(crate) fn target(root: &Root, path: &str) -> Result<Inside, ToolError> {
    let inside = root.resolve(path)?;
    if inside.as_path().as_os_str().is_empty() {
        return Err(PathError::NotAFile { path: path.to_owned() }.into());
    }
    if inside.has_component(".git") {
        return Err(ToolError::new("OPERATION_NOT_ALLOWED", format!("{path} belongs to git"))
            .about("path")
            .hint("Change the repository with git commands in `shell_exec`."));
    }
    Ok(inside)
}

/// Reads the file to change; none when it is not there.
pub(crate) fn current(root: &Root, inside: &Inside) -> Result<Option<Content>, ToolError> {
    Ok(content::read(root, inside, LARGEST)?)
}

/// [`Tool::apply`](super::Tool::apply) of a tool whose plan is a [`Change`].
pub(crate) async fn apply_intent(intent: &Intent, context: &ToolContext) -> Outcome {
    let (plan, context) = (intent.plan.clone(), context.clone());
    blocking(move || apply(&read_plan(plan)?, &context)).await.unwrap_or_else(Into::into)
}

/// [`Tool::reconcile`](super::Tool::reconcile) of a tool whose plan is a [`Change`].
pub(crate) async fn reconcile_intent(intent: &Intent, context: &ToolContext) -> Verdict {
    let (plan, context) = (intent.plan.clone(), context.clone());
    blocking(move || Ok(reconcile(&read_plan(plan)?, &context)))
        .await
        .unwrap_or_else(|error| Verdict::Unsafe(error.into()))
}

/// Carries a change out.
fn apply(change: &Change, context: &ToolContext) -> Result<Outcome, ToolError> {
    let root = Root::open(&context.project_root)?;
    let inside = target(&root, &change.path)?;
    let now = current(&root, &inside)?;
    let sha256 = now.as_ref().map(|now| now.sha256.clone());
    if sha256.as_deref() == Some(&change.after) {
        context.seen.note(&inside, &change.after);
        return Ok(done(change, &inside, None));
    }
    if sha256 != change.before {
        return Err(stale(&inside));
    }
    let old = now.map(|now| now.bytes);
    let new = change.body.content(old.as_deref(), &change.path)?;
    if sha256_hex(&new) != change.after {
        return Err(ToolError::new("INTERNAL", "the change came out different from what was planned")
            .hint("Read the file and decide on the change again."));
    }
    content::replace(&root, &context.workspace, &inside, &new, change.before.as_deref())?;
    context.seen.note(&inside, &change.after);
    let diff = old.as_deref().and_then(|old| diff(&inside.show(), old, &new));
    Ok(done(change, &inside, diff))
}

/// Says of a change that was about to be carried out when the drone died what became of it.
fn reconcile(change: &Change, context: &ToolContext) -> Verdict {
    let look = || {
        let root = Root::open(&context.project_root)?;
        let inside = target(&root, &change.path)?;
        Ok::<_, ToolError>((current(&root, &inside)?, inside))
    };
    let (now, inside) = match look() {
        Ok(found) => found,
        Err(error) => return Verdict::Unsafe(error.into()),
    };
    match now {
        Some(now) if now.sha256 == change.after => {
            context.seen.note(&inside, &change.after);
            Verdict::Done(done(change, &inside, None))
        }
        now if now.as_ref().map(|now| now.sha256.as_str()) == change.before.as_deref() => Verdict::NotDone,
        now => Verdict::Unsafe(conflict(change, &inside, now.as_ref()).into()),
    }
}

impl Body {
    /// The new content of the file.
    pub(crate) fn content(&self, old: Option<&[u8]>, path: &str) -> Result<Vec<u8>, ToolError> {
        match self {
            Self::Whole { content } => Ok(content.clone().into_bytes()),
            Self::Replace { old: search, new, all } => {
                let Some(bytes) = old else {
                    return Err(PathError::NotFound { path: path.to_owned() }.into());
                };
                let text = std::str::from_utf8(bytes).map_err(|_| not_text(path))?;
                Ok(replace(text, search, new, *all)?.text.into_bytes())
            }
        }
    }
}

fn done(change: &Change, inside: &Inside, diff: Option<String>) -> Outcome {
    let path = inside.show();
    let text = match &change.body {
        Body::Whole { content } => {
            let what = if change.before.is_none() { "created" } else { "replaced" };
            format!("{what} {path} ({} lines, {} bytes)", content.lines().count(), content.len())
        }
        Body::Replace { .. } => format!("edited {path}"),
    };
    let mut data = json!({ "file": file_data(inside, &change.after), "created": change.before.is_none() });
    if let Some(diff) = diff {
        data["diff"] = diff.into();
    }
    Outcome::success(text).with_data(data)
}

fn conflict(change: &Change, inside: &Inside, now: Option<&Content>) -> ToolError {
    let path = inside.show();
    let wanted = match &change.body {
        Body::Whole { content } => content.clone(),
        Body::Replace { old, new, .. } => return conflict_of_edit(&path, old, new),
    };
    let difference = match now {
        None => "The file is not there any more.".to_owned(),
        Some(now) => diff(&path, &now.bytes, wanted.as_bytes())
            .unwrap_or_else(|| "It differs too much for a diff.".to_owned()),
    };
    ToolError::new(
        "CONFLICT",
        format!("{path} was changed by somebody else while the call was interrupted; it was left alone. From what it holds now to what you wanted:\n{difference}"),
    )
    .hint("Read the file again and decide whether the change is still wanted.")
}

fn conflict_of_edit(path: &str, old: &str, new: &str) -> ToolError {
    let line = |text: &str| format!("{}\n", text.trim_end_matches('\n'));
    let wanted = diff(path, line(old).as_bytes(), line(new).as_bytes()).unwrap_or_default();
    ToolError::new(
        "CONFLICT",
        format!("{path} was changed by somebody else while the call was interrupted; it was left alone. The change that you wanted:\n{wanted}"),
    )
    .hint("Read the file again and decide whether the change is still wanted.")
}

/// A unified diff; none when either side is no text or the diff is long.
pub(crate) fn diff(path: &str, old: &[u8], new: &[u8]) -> Option<String> {
    let (old, new) = (std::str::from_utf8(old).ok()?, std::str::from_utf8(new).ok()?);
    let mut config = similar::TextDiff::configure();
    config.timeout(std::time::Duration::from_millis(200));
    let diff = config.diff_lines(old, new);
    let text = diff.unified_diff().header(path, path).to_string();
    (text.len() <= LARGEST_DIFF).then_some(text)
}

impl From<ContentError> for ToolError {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::Path(error) => error.into(),
            ContentError::TooLarge { .. } => {
                Self::new("TOO_LARGE", error.to_string()).hint("Use a command in `shell_exec` for it.")
            }
            ContentError::Changed { .. } => Self::new("STALE_FILE", error.to_string())
                .hint("Read the file again and base the change on what it holds now."),
        }
    }
}

pub(crate) fn not_text(path: &str) -> ToolError {
    ToolError::new("BINARY_FILE", format!("{path} is not UTF-8 text"))
        .about("path")
        .hint("Look at it or change it with a command in `shell_exec`.")
}

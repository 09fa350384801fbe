//! What the agent can do to the world: the tool contract, and which tools a session mode offers.
//!
//! A call runs in two steps, so that a crash between any two instructions is safe: `plan` looks and decides without any
//! effect and yields an [`Intent`]; the turn loop journals it; `apply` carries it out. After a crash `reconcile` says
//! of a journaled intent whether it took effect.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use protocol::ids::{CallId, ChatSessionId};
use protocol::value::{ChatSessionMode, SubagentKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::job::JobSettings;
use crate::tool::seen::SeenFiles;

mod arguments;
mod blocking;
mod edit;
mod glob;
mod grep;
mod guarded;
mod list;
mod output;
mod read;
pub mod registry;
pub mod seen;
mod shell_exec;
pub mod todo;
mod walk;
mod write;

pub(crate) use output::{Keep, join, make_room, prune};

/// What a second execution after a crash would mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// Changes nothing: run again.
    Pure,
    /// Changes one file, whose hash before and after is in the intent.
    Guarded,
    /// Changes something under a key that makes a repetition harmless: run again with the same key.
    Keyed,
    /// Anything may have happened; only the job's own record tells.
    Opaque,
}

/// What a call touches. Calls of one message run in parallel where their resources do not clash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    Read(PathBuf),
    Write(PathBuf),
    /// Everything below the project root may be read.
    ReadProject,
    /// Everything may be touched: runs alone, but for sub-agents.
    Exclusive,
    /// Touches nothing that another call could.
    None,
}

/// A tool as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    pub name: &'static str,
    pub description: &'static str,
    /// JSON schema of the arguments, an object.
    pub parameters: Value,
}

/// An error that helps the model to do it right the next time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolError {
    /// `MISSING_PARAMETER`, `INVALID_PARAMETER`, `OPERATION_NOT_ALLOWED`, `NOT_FOUND`, `NO_MATCH`, …
    pub code: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parameter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub recovery_hint: Option<String>,
}

impl ToolError {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), parameter: None, recovery_hint: None }
    }

    /// The call was stopped before it was done.
    pub fn cancelled() -> Self {
        Self::new("CANCELLED", "the call was stopped")
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.recovery_hint = Some(hint.into());
        self
    }

    /// Says which parameter is meant.
    #[must_use]
    pub fn about(mut self, parameter: &str) -> Self {
        self.parameter = Some(parameter.to_owned());
        self
    }
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// For the model: plain text. For clients it is wrapped as JSON text.
    pub text: String,
    pub is_error: bool,
    /// The drone died while the call ran and nobody can know whether it took effect.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub unknown_outcome: bool,
    /// More about the result, for clients: exit code, diff, paths.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub data: Option<Value>,
}

impl Outcome {
    pub fn success(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_error: false, unknown_outcome: false, data: None }
    }

    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }
}

/// The model reads the error as JSON text, with its code and its hint.
impl From<ToolError> for Outcome {
    fn from(error: ToolError) -> Self {
        let data = serde_json::to_value(&error).unwrap_or_default();
        Self { text: data.to_string(), is_error: true, unknown_outcome: false, data: Some(data) }
    }
}

/// A decided call: all that `apply` and `reconcile` need, in the journal before anything happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    pub call_id: CallId,
    pub tool: String,
    pub effect: Effect,
    /// The tool's own words to itself.
    pub plan: Value,
}

/// What became of an intent that has no result.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It took effect: this is the outcome.
    Done(Outcome),
    /// It did not: apply it.
    NotDone,
    /// It goes on now: `apply` attaches to it again.
    Running,
    /// Nobody can know, or the world changed since: tell the model this instead of applying.
    Unsafe(Outcome),
}

/// Where a call runs.
#[derive(Clone)]
pub struct ToolContext {
    /// Whose todo list `todo` replaces; part of the names of jobs and spill files.
    pub chat_session: ChatSessionId,
    /// The workspace directory, holding `.gadget/`.
    pub workspace: PathBuf,
    /// The project's checkout: nothing outside it is read or written by file tools.
    pub project_root: PathBuf,
    pub mode: ChatSessionMode,
    /// Stops the call: its processes are gone when `apply` returns.
    pub cancel: CancellationToken,
    /// Live output for the screen. Lossy: a full channel drops.
    pub progress: mpsc::Sender<String>,
    /// Environment that shell jobs get besides the allow-list (git credential helper and the like).
    pub job_env: Arc<BTreeMap<String, String>>,
    /// What the agent has read in this turn, so that it never overwrites what it has not seen. One for each agent of
    /// a turn: what a sub-agent has read, its parent has not. After a restart feed it the journaled results of the
    /// turn, in order, with [`SeenFiles::restore`].
    pub seen: Arc<SeenFiles>,
    /// How shell commands are started and what each may use up.
    pub jobs: Arc<JobSettings>,
}

#[async_trait]
pub trait Tool: Send + Sync + 'static {
    fn spec(&self) -> ToolSpec;

    /// Before `plan`, from the arguments alone.
    fn resources(&self, arguments: &Value, context: &ToolContext) -> Vec<Resource>;

    /// Checks the arguments and looks at the world. No effect.
    async fn plan(
        &self,
        call_id: &CallId,
        arguments: &Value,
        context: &ToolContext,
    ) -> Result<Intent, ToolError>;

    /// Carries the intent out. May run again after a crash when `reconcile` said so.
    async fn apply(&self, intent: &Intent, context: &ToolContext) -> Outcome;

    /// Of an intent found in the journal without a result.
    async fn reconcile(&self, intent: &Intent, context: &ToolContext) -> Verdict;
}

/// For whom a set of tools is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The turn's own agent. The turn loop adds `subagent` itself.
    Main,
    Sub(SubagentKind),
}

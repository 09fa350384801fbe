//! `shell_exec`: runs a command as a job, see [`crate::job`].

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use protocol::ids::CallId;
use protocol::value::ChatSessionMode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::arguments::{Arguments, read_plan};
use super::blocking::blocking;
use super::output::{file_name, spill_directory};
use super::{Effect, Intent, Outcome, Resource, Tool, ToolContext, ToolError, ToolSpec, Verdict};
use crate::job::directory::{Exit, JobDirectory, Reason, Spec, State};
use crate::job::follow::{self, Ending, FollowError};
use crate::job::{environment, report, writable_places};
use crate::path::Root;

/// A longer command belongs into a file.
const LONGEST: usize = 128 * 1024;

pub(crate) struct ShellExec;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    /// The name of the job's directory: the same after a restart.
    job: String,
    command: String,
    /// Below the project root.
    cwd: String,
    timeout_ms: u64,
}

#[async_trait]
impl Tool for ShellExec {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "shell_exec",
            description: "Runs a command with bash in the project and gives its output and exit code. There is no \
                          terminal and no input. Processes that it leaves in the background are ended when it ends. \
                          Only the project and temporary files can be written; scratch files belong into $TMPDIR.",
            parameters: json!({
                "type": "object",
                "properties": {
                    "command": { "type": "string" },
                    "cwd": { "type": "string", "description": "Directory relative to the project root; default the root." },
                    "timeout": { "type": "integer", "description": "Milliseconds until it is stopped; default 600000." }
                },
                "required": ["command"]
            }),
        }
    }

    fn resources(&self, _: &Value, _: &ToolContext) -> Vec<Resource> {
        vec![Resource::Exclusive]
    }

    async fn plan(
        &self,
        call_id: &CallId,
        arguments: &Value,
        context: &ToolContext,
    ) -> Result<Intent, ToolError> {
        let arguments = Arguments::new(arguments, &["command", "cwd", "timeout"])?;
        let command = arguments.text("command")?;
        if command.trim().is_empty() || command.contains('\0') || command.len() > LONGEST {
            return Err(ToolError::new(
                "INVALID_PARAMETER",
                "`command` is empty, too long or holds a zero byte",
            )
            .about("command")
            .hint("Give a command for bash; put a long script into a file with `write` and run that."));
        }
        let timeout_ms = timeout(arguments.optional_count("timeout")?, context)?;
        let cwd = arguments.optional_text("cwd")?.unwrap_or_default();
        let root = context.project_root.clone();
        let cwd = blocking(move || {
            let root = Root::open(&root)?;
            let inside = root.resolve(&cwd).map_err(|error| ToolError::from(error).about("cwd"))?;
            root.open_dir(&inside).map_err(|error| ToolError::from(error).about("cwd"))?;
            Ok(inside.show())
        })
        .await?;
        let job = file_name(&context.chat_session, call_id);
        let plan = Plan { job, command, cwd, timeout_ms };
        Ok(Intent {
            call_id: call_id.clone(),
            tool: "shell_exec".into(),
            effect: Effect::Opaque,
            plan: json!(plan),
        })
    }

    /// Starts the job, or follows it again when it was started before; also called with a token that is cancelled
    /// already, to stop such a job.
    async fn apply(&self, intent: &Intent, context: &ToolContext) -> Outcome {
        match read_plan(intent.plan.clone()) {
            Ok(plan) => run(&plan, context).await.unwrap_or_else(Into::into),
            Err(error) => error.into(),
        }
    }

    async fn reconcile(&self, intent: &Intent, context: &ToolContext) -> Verdict {
        let plan: Plan = match read_plan(intent.plan.clone()) {
            Ok(plan) => plan,
            Err(error) => return Verdict::Unsafe(error.into()),
        };
        let directory = JobDirectory::of(&context.workspace, &plan.job);
        match directory.state() {
            Ok(State::Unclaimed) => Verdict::NotDone,
            Ok(State::Running(_)) => Verdict::Running,
            Ok(State::Ended(exit)) if was_cut_off(&exit, context) => {
                Verdict::Unsafe(report::unknown(&plan.command, &directory, &spill(&plan, context)))
            }
            Ok(State::Ended(exit)) => Verdict::Done(ended(&exit, &plan, &directory, context)),
            Ok(State::Lost(owner)) => {
                if let Err(error) = follow::lost(&directory, &owner).await {
                    tracing::warn!(%error, "failed to clean up after a lost job");
                }
                Verdict::Unsafe(report::unknown(&plan.command, &directory, &spill(&plan, context)))
            }
            Err(error) => {
                tracing::error!(%error, "the record of a job is damaged");
                Verdict::Unsafe(report::unknown(&plan.command, &directory, &spill(&plan, context)))
            }
        }
    }
}

async fn run(plan: &Plan, context: &ToolContext) -> Result<Outcome, ToolError> {
    let directory = JobDirectory::of(&context.workspace, &plan.job);
    let state = directory.state().map_err(|error| internal(&error))?;
    let ending = match state {
        State::Ended(exit) => Ending::Ended(exit),
        State::Unclaimed if context.cancel.is_cancelled() => Ending::NeverBegun,
        State::Unclaimed => {
            let runner = prepare(plan, &directory, context).await?;
            follow::follow(&directory, Some(runner), &context.cancel, &context.progress)
                .await
                .map_err(|error| failed(&error))?
        }
        State::Running(_) | State::Lost(_) => {
            follow::follow(&directory, None, &context.cancel, &context.progress)
                .await
                .map_err(|error| failed(&error))?
        }
    };
    Ok(match ending {
        Ending::Ended(exit) if !was_cut_off(&exit, context) => ended(&exit, plan, &directory, context),
        Ending::Ended(_) | Ending::Lost => report::unknown(&plan.command, &directory, &spill(plan, context)),
        Ending::NeverBegun => ToolError::cancelled().into(),
    })
}

/// Writes down what is to be done and starts a runner for it.
async fn prepare(
    plan: &Plan,
    directory: &JobDirectory,
    context: &ToolContext,
) -> Result<tokio::process::Child, ToolError> {
    let (directory, context) = (directory.clone(), context.clone());
    let (command, cwd, timeout_ms) = (plan.command.clone(), plan.cwd.clone(), plan.timeout_ms);
    let runtime = tokio::runtime::Handle::current();
    blocking(move || {
        let root = Root::open(&context.project_root)?;
        let cwd = root.absolute(&root.resolve(&cwd)?);
        let spec = Spec {
            marker: ulid::Ulid::generate().to_string(),
            command,
            cwd,
            timeout_ms,
            limits: context.jobs.limits,
            writable: writable_places(
                &context.workspace,
                context.mode == ChatSessionMode::Plan,
                &context.jobs,
            ),
        };
        environment::make_directories(&context.workspace).map_err(|error| {
            ToolError::new("IO", format!("there is no place for temporary files: {error}"))
        })?;
        directory.create(&spec).map_err(|error| internal(&error))?;
        // An earlier drone may have put the job there: its mark counts.
        let marker = directory.spec().map_err(|error| internal(&error))?.marker;
        let environment = environment::build(
            std::env::vars_os(),
            &context.jobs.variables,
            &context.job_env,
            &context.workspace,
            &marker,
        );
        let _runtime = runtime.enter();
        follow::start(&directory, &context.jobs, &environment).map_err(|error| failed(&error))
    })
    .await
}

/// Its runner was told to stop, and not by this turn: the drone before this one ended, or its supervisor did. The user
/// has nothing to do with it, and how far the command got is not known.
fn was_cut_off(exit: &Exit, context: &ToolContext) -> bool {
    exit.reason == Reason::Stopped && !context.cancel.is_cancelled()
}

fn ended(exit: &Exit, plan: &Plan, directory: &JobDirectory, context: &ToolContext) -> Outcome {
    if !exit.confined && !matches!(exit.reason, Reason::NotStarted(_)) {
        context.jobs.note_unconfined();
    }
    report::outcome(exit, directory, &spill(plan, context))
}

/// Where long output goes, without its extension.
fn spill(plan: &Plan, context: &ToolContext) -> PathBuf {
    spill_directory(&context.workspace).join(&plan.job)
}

fn timeout(wanted: Option<u64>, context: &ToolContext) -> Result<u64, ToolError> {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let longest = milliseconds(context.jobs.longest_timeout);
    match wanted {
        None => Ok(milliseconds(context.jobs.default_timeout)),
        Some(wanted) if (1..=longest).contains(&wanted) => Ok(wanted),
        Some(_) => {
            Err(ToolError::new("INVALID_PARAMETER", format!("`timeout` must be from 1 to {longest} ms"))
                .about("timeout")
                .hint("Leave it out for the usual limit."))
        }
    }
}

fn failed(error: &FollowError) -> ToolError {
    ToolError::new("NOT_STARTED", chain(error)).hint("The harness could not run the command; tell the user.")
}

fn internal(error: &(dyn std::error::Error + 'static)) -> ToolError {
    ToolError::new("IO", chain(error)).hint("The harness could not keep the job; tell the user.")
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _infallible = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

//! What the test does, step by step, and when it is content. Reaches nothing by itself.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use protocol::document::{Block, ChatTurn, ToolCallStatus};
use protocol::ids::TurnId;
use protocol::value::ChatTurnStatus;
use tokio::time::Instant;

/// The demo provider answers anything with its tour, which uses the real tools.
const PROMPT: &str = "Start the tour.";
/// So many calls must be behind a turn that is disturbed.
const BEFORE_KILL: usize = 2;
const LOOK: Duration = Duration::from_millis(250);
/// Before the hub has let the pod in, nothing can come of the rest.
const SIGN_IN: Duration = Duration::from_secs(30);

/// An installation that is tried.
#[async_trait]
pub(super) trait Installation: Send + Sync {
    async fn sign_in(&mut self) -> anyhow::Result<()>;
    async fn sign_out(&mut self) -> anyhow::Result<()>;
    async fn make_session(&mut self) -> anyhow::Result<()>;
    async fn session(&self) -> anyhow::Result<Look>;
    /// The uid of the drone's pod, unless it is none or on its way out.
    async fn pod(&self) -> anyhow::Result<Option<String>>;
    async fn delete_pod(&self, uid: &str) -> anyhow::Result<()>;
    /// `uid`: of the session.
    async fn prompt(&mut self, uid: &str, text: &str) -> anyhow::Result<TurnId>;
    /// The turn of that prompt, as it is stored.
    async fn turn(&self) -> anyhow::Result<ChatTurn>;
    async fn delete_session(&self) -> anyhow::Result<()>;
    /// What is still there of session, pod and workspace.
    async fn left(&self) -> anyhow::Result<Option<String>>;
}

/// How the session looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Ready {
        uid: String,
    },
    /// In words.
    NotYet(String),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// Until when the turn must have ended.
    pub(super) test: Instant,
    /// Until when all must be cleared away.
    pub(super) end: Instant,
}

/// Says each step once it is done.
pub(super) type Say<'a> = &'a mut (dyn FnMut(&str) -> io::Result<()> + Send);

/// Tries it, and clears up whatever came of it.
pub(super) async fn run(
    installation: &mut dyn Installation,
    deadlines: Deadlines,
    say: Say<'_>,
) -> anyhow::Result<()> {
    let tried = attempt(installation, deadlines.test, say).await;
    if let Err(error) = &tried {
        say(&format!("failed: {error:#}"))?;
    }
    let cleared = clear_up(installation, deadlines.end).await;
    match &cleared {
        Ok(()) => say("removed the session with its pod and its workspace")?,
        Err(error) => say(&format!("failed to clear up: {error:#}"))?,
    }
    // A token that is not signed out is over soon.
    let signed_out = installation.sign_out().await;
    tried.and(cleared).and(signed_out.context("failed to sign out"))?;
    say("passed: a turn outlived its drone")?;
    Ok(())
}

async fn attempt(installation: &mut dyn Installation, deadline: Instant, say: Say<'_>) -> anyhow::Result<()> {
    sign_in(installation, deadline.min(Instant::now() + SIGN_IN))
        .await
        .context("failed to sign in at the hub")?;
    say("signed in at the hub by the service account's token")?;
    installation.delete_session().await.context("failed to remove the session of an earlier test")?;
    until("the session of an earlier test to be gone", deadline, async || {
        Ok(installation.left().await?.map_or(Ok(()), Err))
    })
    .await?;
    installation.make_session().await.context("failed to make a session")?;
    say("made a session")?;
    let session = until("the session to be ready", deadline, async || {
        Ok(match installation.session().await? {
            Look::Ready { uid } => Ok(uid),
            Look::NotYet(words) => Err(words),
        })
    })
    .await?;
    let first = installation.pod().await?.context("the session is ready and has no pod")?;
    say("its drone is ready in a pod")?;

    let turn = installation.prompt(&session, PROMPT).await.context("failed to give a prompt")?;
    say(&format!("the hub took a prompt for the demo provider: turn {turn}"))?;
    let calls = until("the turn to be in its middle", deadline, async || {
        let turn = installation.turn().await?;
        if turn.status.is_over() {
            bail!("the turn was over before its drone could be killed: {}", ending(&turn));
        }
        let calls = turn.tool_calls.iter().filter(|call| call.status == ToolCallStatus::Finished).count();
        Ok(if calls >= BEFORE_KILL { Ok(calls) } else { Err(format!("{calls} tool calls are behind it")) })
    })
    .await?;
    installation.delete_pod(&first).await.context("failed to delete the drone's pod")?;
    say(&format!("deleted the drone's pod in the middle, after {calls} tool calls"))?;
    until("another pod", deadline, async || {
        let next = installation.pod().await?;
        Ok(if next.is_some_and(|uid| uid != first) { Ok(()) } else { Err("there is none".to_owned()) })
    })
    .await?;
    say("the next pod of the drone is there")?;

    let ended = until("the turn's end", deadline, async || {
        let turn = installation.turn().await?;
        Ok(if turn.status.is_over() { Ok(turn) } else { Err(ending(&turn)) })
    })
    .await?;
    whole(&ended).map_err(|words| anyhow::anyhow!("the turn did not end whole: {words}"))?;
    say(&format!("the turn ended whole: {} tool calls, each with its result", ended.tool_calls.len()))?;
    Ok(())
}

/// A hub that has just become ready may not be reached at once.
async fn sign_in(installation: &mut dyn Installation, deadline: Instant) -> anyhow::Result<()> {
    loop {
        match installation.sign_in().await {
            Err(error) if Instant::now() + LOOK >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(LOOK).await,
            Ok(()) => return Ok(()),
        }
    }
}

async fn clear_up(installation: &dyn Installation, deadline: Instant) -> anyhow::Result<()> {
    installation.delete_session().await?;
    until("the session to be gone", deadline, async || Ok(installation.left().await?.map_or(Ok(()), Err)))
        .await
}

/// Looks until there is what is waited for. An inner `Err` says how things are meanwhile; an outer one ends it.
async fn until<T>(
    what: &str,
    deadline: Instant,
    look: impl AsyncFn() -> anyhow::Result<Result<T, String>>,
) -> anyhow::Result<T> {
    let mut last = String::new();
    let looking = async {
        loop {
            match look().await? {
                Ok(found) => return anyhow::Ok(found),
                Err(words) => last = words,
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    match tokio::time::timeout_at(deadline, looking).await {
        Ok(found) => found.with_context(|| format!("waited for {what}")),
        Err(_) => bail!("waited too long for {what}; last seen: {last}"),
    }
}

fn ending(turn: &ChatTurn) -> String {
    let calls = turn.tool_calls.len();
    let error = turn.error_message.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
    format!("{:?} after {calls} tool calls{error}", turn.status)
}

/// Nothing is missing, nothing is there twice, and it was a second drone that ended it.
fn whole(turn: &ChatTurn) -> Result<(), String> {
    if turn.status != ChatTurnStatus::Finished {
        return Err(ending(turn));
    }
    if turn.attempts < 2 {
        return Err("no second drone worked on it".to_owned());
    }
    if let Some(call) = turn.tool_calls.iter().find(|call| call.status != ToolCallStatus::Finished) {
        return Err(format!("the call of {} has no result", call.name));
    }
    let known: HashSet<_> = turn.tool_calls.iter().map(|call| &call.call_id).collect();
    if known.len() != turn.tool_calls.len() {
        return Err("a tool call is there twice".to_owned());
    }
    match turn.blocks.last() {
        Some(Block::Responding { content, .. }) if !content.trim().is_empty() => Ok(()),
        _ => Err("it does not end with an answer".to_owned()),
    }
}

#[cfg(test)]
mod tests;

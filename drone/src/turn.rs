//! A turn: one prompt, and everything that the agent makes of it.
//!
//! `state` decides what comes next from the journal's records alone, `told` what the hub must still be told, `schedule`
//! which calls run together; `agent`, `ask`, `calls` and `subagent` do it. A turn that was interrupted goes on from its
//! journal: no call is made twice, no text is told twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use protocol::drone::ContextTurn;
use protocol::ids::TurnId;
use protocol::value::ChatTurnStatus;
use tokio::task::JoinError;

use self::agent::{Agent, Batch, Conversation, Ended};
use self::history::Room;
pub use self::memory::Memory;
use self::memory::{Earlier, Omitted};
pub use self::opening::Opening;
use self::shared::Shared;
pub use self::shared::{ToolsFor, TurnSetup};
pub use self::stop::{Stop, Wish};
use self::told::{CatchUp, Journals};
use self::voice::Voice;
use crate::job::follow;
use crate::journal::prune::prune;
use crate::journal::record::{self, Body, Record};
use crate::journal::{self, Journal, JournalError};
use crate::outbox;
use crate::tool::Audience;
use crate::workspace::Paths;

mod agent;
mod ask;
mod calls;
mod guard;
mod history;
mod memory;
mod opening;
mod prompt;
mod schedule;
mod shared;
mod state;
mod stop;
mod subagent;
mod told;
mod voice;

/// How long calls that were stopped may take to be gone.
const STRAGGLER_PATIENCE: Duration = Duration::from_secs(10);

/// How many turns' journals are kept, as the memory of conversations.
const KEPT_TURNS: usize = 200;

/// A turn that is in the journal and may begin or go on.
pub struct Turn {
    agent: Agent,
    /// What the hub has to be told again first.
    catch_up: Vec<protocol::event::TurnEvent>,
    /// An earlier process has begun it.
    is_resumed: bool,
}

/// How a turn left this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnEnd {
    /// It is over. The last event is in the outbox.
    Closed { status: ChatTurnStatus, message: Option<String> },
    /// It was left as it is, to go on later.
    Left,
    /// The hub does not want it any more.
    Dropped,
}

#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    #[error("failed to keep the journal")]
    Journal(#[source] JournalError),
    #[error("failed to make an event")]
    Event(#[source] outbox::PushError),
    #[error("a task of the turn crashed")]
    Task(#[source] JoinError),
    #[error("the turn was given up before it had begun")]
    NotOpened,
}

/// What the journals say of a turn that a crash interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupted {
    /// The turn can go on where it stopped.
    pub is_resumable: bool,
    /// The highest number of an event in the journal.
    pub last_seq: u64,
    /// How many records the last attempt has added.
    pub progress: u64,
}

/// Whether a turn's id may be the name of its journal.
pub fn is_safe_id(turn: &TurnId) -> bool {
    let id = turn.as_str();
    (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Looks at the journals of a turn that was interrupted.
pub async fn interrupted(paths: &Paths, turn: &TurnId) -> Result<Interrupted, TurnError> {
    let (paths, turn) = (paths.clone(), turn.clone());
    let look = move || {
        let main = journal::read(&journal_path(&paths, &turn, None))?;
        let mut all: Vec<Record> = main.clone();
        for number in child_numbers(main.iter().map(|record| &record.body)) {
            all.extend(journal::read(&journal_path(&paths, &turn, Some(number)))?);
        }
        let opened = main.iter().rev().find_map(|record| match &record.body {
            Body::TurnOpen(_) | Body::Resume(_) => Some(record.at),
            _ => None,
        });
        let is_opening = |body: &Body| matches!(body, Body::TurnOpen(_) | Body::Resume(_));
        let added =
            |record: &&Record| opened.is_some_and(|opened| record.at >= opened) && !is_opening(&record.body);
        Ok(Interrupted {
            is_resumable: opened.is_some(),
            last_seq: all.iter().map(|record| told::last_number(&record.body)).max().unwrap_or_default(),
            progress: all.iter().filter(added).count() as u64,
        })
    };
    tokio::task::spawn_blocking(look).await.map_err(TurnError::Task)?.map_err(TurnError::Journal)
}

impl Turn {
    /// Begins the turn, or goes on with it. It may be run at once: until the other value lets it, it only asks the model.
    pub async fn open(mut setup: TurnSetup) -> Result<(Self, Opening), TurnError> {
        let context = std::mem::take(&mut setup.order.work_order.context);
        let order = &setup.order;
        let voice = Voice::main(order.id.clone(), order.work_order.model.context_window);
        let (journal, records) = open_journal(journal_path(&setup.paths, &order.id, None)).await?;
        let mut bodies: Vec<Body> = records.into_iter().map(|record| record.body).collect();

        let project_root = setup.paths.project(&order.session.project.slug);
        let agents_md = agents_md(&setup, &project_root);
        let tools = (setup.tools)(order.mode, Audience::Main);
        let opened = bodies.iter().find_map(|body| match body {
            Body::TurnOpen(opening) => Some(opening.clone()),
            _ => None,
        });
        let is_resumed = opened.is_some();
        let mut catch_up = Vec::new();
        let (opening, earlier, first) = if let Some(opening) = opened {
            let CatchUp { resume, events } = catch_up_of(&setup, &bodies, &voice).await?;
            catch_up = events;
            let omitted = usize::try_from(opening.omitted).unwrap_or(usize::MAX);
            let earlier = earlier_turns(&setup, context.turns, Omitted::Known(omitted)).await?;
            (opening, earlier, Body::Resume(resume))
        } else {
            // A journal without its first record is worth nothing, and there is none but an empty one.
            bodies.clear();
            let system = prompt::system(&order.session, order.mode, agents_md.as_deref());
            let prompt = prompt::user(&order.prompts.user, &order.session, &project_root, Timestamp::now());
            let specs: Vec<_> = tools.iter().map(|tool| tool.spec()).chain([subagent::spec()]).collect();
            let fixed = history::fixed_size(&system, &prompt, &specs);
            let room = Room::new(fixed, order.work_order.model.context_window);
            let earlier = earlier_turns(&setup, context.turns, Omitted::ToFit(room)).await?;
            let opening = record::Opening {
                turn_id: order.id.clone(),
                chat_session_id: order.session.id.clone(),
                attempt: order.work_order.attempt,
                first_seq: order.work_order.first_seq,
                system,
                prompt,
                omitted: earlier.omitted as u64,
            };
            (opening.clone(), earlier, Body::TurnOpen(opening))
        };
        let conversation = Conversation {
            system: opening.system,
            earlier: earlier.turns,
            unsent: context.omitted,
            prompt: opening.prompt,
        };
        let shared = Arc::new(Shared { setup, agents_md, stragglers: Mutex::default() });
        let mut agent =
            Agent::new(shared, voice, journal, &bodies, conversation, tools, Some(subagent::spec()));
        let opening = agent.begin(&[first]);
        Ok((Self { agent, catch_up, is_resumed }, opening))
    }

    /// Runs the turn to its end, or until it is to be left. When this returns, nothing of it runs any more.
    pub async fn run(mut self) -> TurnEnd {
        let end = match self.work().await {
            Ok(end) => end,
            Err(error) => self.give_up(&error).await,
        };
        let stragglers = std::mem::take(&mut *self.agent.shared.stragglers.lock());
        let gone = async {
            for mut tasks in stragglers {
                while tasks.join_next().await.is_some() {}
            }
        };
        if tokio::time::timeout(STRAGGLER_PATIENCE, gone).await.is_err() {
            tracing::error!("calls of a turn that was stopped do not end; they are given up");
        }
        if let TurnEnd::Closed { status, .. } = end {
            self.remember(status).await;
        }
        end
    }

    /// Keeps what the next turn needs to know of this one, and makes room for its journal.
    async fn remember(self, status: ChatTurnStatus) {
        let Agent { shared, state, conversation, .. } = self.agent;
        let TurnSetup { order, paths, memory, .. } = &shared.setup;
        // One that is not closed on disk is looked at there.
        if state.closed.is_some() {
            memory.keep(order.id.clone(), history::of_state(conversation.prompt, state, status));
        }
        prune_journals(paths, &order.id).await;
    }

    async fn work(&mut self) -> Result<TurnEnd, TurnError> {
        if self.is_resumed {
            // What an earlier process had begun to do is gone on with: more than asking the model.
            self.agent.gate.pass().await?;
        }
        for event in std::mem::take(&mut self.catch_up) {
            self.agent.shared.setup.outbox.push(&event).await.map_err(TurnError::Event)?;
        }
        let was_closed = self.agent.state.closed.clone();
        if was_closed.is_none() && self.agent.state.is_cancelled {
            // Stopped when an earlier process died: what it had begun to stop may run still, in sub-agents too.
            if let Err(error) = follow::stop_all(self.agent.shared.setup.paths.root()).await {
                tracing::error!(%error, "failed to stop what an earlier process had begun");
            }
        }
        let ended = self.agent.work().await?;
        if let Some((status, message)) = was_closed {
            return Ok(TurnEnd::Closed { status, message });
        }
        let (status, message) = match ended {
            Ended::Finished => (ChatTurnStatus::Finished, None),
            Ended::Failed(message) => (ChatTurnStatus::Error, Some(message)),
            Ended::Aborted => (ChatTurnStatus::Aborted, Some("aborted".to_owned())),
            Ended::Left => return Ok(left(self.agent.shared.setup.stop.wish())),
        };
        self.close(status, message.clone()).await?;
        Ok(TurnEnd::Closed { status, message })
    }

    async fn close(&mut self, status: ChatTurnStatus, message: Option<String>) -> Result<(), TurnError> {
        let mut batch = Batch::default();
        self.agent.settle_calls(&mut batch);
        let complete = batch.say(self.agent.voice.complete(status, message.clone()));
        batch.note(move |seqs| Body::TurnClose { status, message, complete: Some(seqs[complete]) });
        self.agent.commit_last(batch).await
    }

    /// The turn cannot go on, most likely because the disk is full: the user is told, journal or not.
    async fn give_up(&mut self, error: &TurnError) -> TurnEnd {
        let setup = &self.agent.shared.setup;
        if matches!(setup.stop.wish(), Some(Wish::Leave | Wish::Drop)) {
            return left(setup.stop.wish());
        }
        tracing::error!(error = error as &dyn std::error::Error, turn = %setup.order.id, "a turn failed");
        let message = with_causes(error);
        setup.stop.ask(Wish::Abort);
        if self.close(ChatTurnStatus::Error, Some(message.clone())).await.is_err() {
            let event = self.agent.voice.complete(ChatTurnStatus::Error, Some(message.clone()));
            // Sealed: it is told already.
            if let Err(error) = self.agent.shared.setup.outbox.hold_last(&[event]).await {
                tracing::error!(%error, "failed to tell the end of a turn");
            }
        }
        TurnEnd::Closed { status: ChatTurnStatus::Error, message: Some(message) }
    }
}

fn left(wish: Option<Wish>) -> TurnEnd {
    match wish {
        Some(Wish::Drop) => TurnEnd::Dropped,
        _ => TurnEnd::Left,
    }
}

/// The error and its causes in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// A file that cannot be read is no reason to refuse the user's prompt.
fn agents_md(setup: &TurnSetup, project_root: &Path) -> Option<String> {
    prompt::agents_md(project_root).unwrap_or_else(|error| {
        tracing::warn!(%error, "failed to read the project's AGENTS.md");
        // A full channel drops.
        let line = format!("AGENTS.md cannot be read and is left out: {error}");
        let _full = setup.status.try_send(line);
        None
    })
}

async fn catch_up_of(setup: &TurnSetup, main: &[Body], voice: &Voice) -> Result<CatchUp, TurnError> {
    let mut children: BTreeMap<usize, Vec<Body>> = BTreeMap::new();
    for number in child_numbers(main.iter()) {
        let (_, records) = open_journal(journal_path(&setup.paths, &setup.order.id, Some(number))).await?;
        children.insert(number, records.into_iter().map(|record| record.body).collect());
    }
    let journals = Journals { main, children: &children };
    let work_order = &setup.order.work_order;
    Ok(told::catch_up(journals, voice, work_order.attempt, work_order.first_seq))
}

fn child_numbers<'a>(bodies: impl Iterator<Item = &'a Body>) -> Vec<usize> {
    bodies
        .filter_map(|body| match body {
            Body::ChildOpen { call, .. } => Some(*call),
            _ => None,
        })
        .collect()
}

/// The conversation before this turn.
async fn earlier_turns(
    setup: &TurnSetup,
    turns: Vec<ContextTurn>,
    omitted: Omitted,
) -> Result<Earlier, TurnError> {
    if turns.is_empty() {
        return Ok(Earlier { turns: Vec::new(), omitted: 0 });
    }
    let (paths, memory) = (setup.paths.clone(), setup.memory.clone());
    tokio::task::spawn_blocking(move || memory.recall(&paths, &turns, omitted))
        .await
        .map_err(TurnError::Task)?
        .map_err(TurnError::Journal)
}

/// The journal of a turn's own agent, or of the sub-agent that its call `child` started.
fn journal_path(paths: &Paths, turn: &TurnId, child: Option<usize>) -> PathBuf {
    match child {
        None => paths.journals().join(turn.as_str()),
        Some(number) => paths.journals().join(format!("{turn}.{number}")),
    }
}

async fn prune_journals(paths: &Paths, current: &TurnId) {
    let (directory, current) = (paths.journals(), current.clone());
    let pruned = tokio::task::spawn_blocking(move || prune(&directory, KEPT_TURNS, current.as_str())).await;
    // Too many of them do less harm than a turn that fails.
    if let Err(error) = pruned.unwrap_or_else(|crashed| Err(crashed.into())) {
        tracing::warn!(%error, "failed to remove old journals");
    }
}

async fn open_journal(path: PathBuf) -> Result<(Journal, Vec<Record>), TurnError> {
    tokio::task::spawn_blocking(move || Journal::open(&path))
        .await
        .map_err(TurnError::Task)?
        .map_err(TurnError::Journal)
}

//! One agent: asks the model, runs the calls, asks again, until an answer has none. The doing half of
//! [`super::state`], which decides.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use protocol::event::TurnEvent;
use protocol::value::{ChatTurnStatus, ReasoningEffort};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::TurnError;
use super::ask::Asked;
use super::history;
use super::memory::Messages;
use super::opening::{Gate, Opening};
use super::shared::Shared;
use super::state::{AgentState, Next, Stage, Unfinished};
use super::stop::Wish;
use super::voice::Voice;
use crate::journal::record::{Body, Record};
use crate::journal::{Journal, JournalError};
use crate::model::{Message, ModelRequest, Stop as ModelStop};
use crate::outbox::Held;
use crate::tool::seen::SeenFiles;
use crate::tool::{Tool, ToolContext, ToolSpec};

/// How an agent's work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Finished,
    /// With words for the user.
    Failed(String),
    Aborted,
    /// It goes on in a later process, or not at all.
    Left,
}

pub(super) struct Agent {
    pub shared: Arc<Shared>,
    pub voice: Voice,
    pub state: AgentState,
    pub conversation: Conversation,
    pub tools: Vec<Arc<dyn Tool>>,
    pub specs: Vec<ToolSpec>,
    pub context: ToolContext,
    /// Nothing is told or journaled before it is open.
    pub gate: Gate,
    // A lock because writing happens on a thread of its own; one write at a time.
    journal: Arc<Mutex<Journal>>,
}

/// What comes before the agent's own messages.
pub(super) struct Conversation {
    pub system: String,
    /// The earlier turns, oldest first.
    pub earlier: Vec<Messages>,
    /// How many still earlier ones the hub has left out.
    pub unsent: u64,
    /// The message that the agent answers.
    pub prompt: String,
}

/// Events and records that belong together: numbered, journaled, then sent.
#[derive(Default)]
pub(super) struct Batch {
    events: Vec<TurnEvent>,
    notes: Vec<Note>,
}

/// Makes a record, given the events' numbers.
type Note = Box<dyn FnOnce(&[u64]) -> Body + Send>;

impl Batch {
    /// Adds an event and gives its place among the numbers.
    pub(super) fn say(&mut self, event: TurnEvent) -> usize {
        self.events.push(event);
        self.events.len() - 1
    }

    /// Adds a record.
    pub(super) fn note(&mut self, note: impl FnOnce(&[u64]) -> Body + Send + 'static) {
        self.notes.push(Box::new(note));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }
}

impl Agent {
    pub(super) fn new(
        shared: Arc<Shared>,
        voice: Voice,
        journal: Journal,
        records: &[Body],
        conversation: Conversation,
        tools: Vec<Arc<dyn Tool>>,
        extra: Option<ToolSpec>,
    ) -> Self {
        let seen = Arc::new(SeenFiles::default());
        for body in records {
            if let Body::Result { outcome, .. } = body {
                seen.restore(outcome);
            }
        }
        let mut specs: Vec<ToolSpec> = tools.iter().map(|tool| tool.spec()).chain(extra).collect();
        specs.sort_by_key(|spec| spec.name);
        let setup = &shared.setup;
        let context = ToolContext {
            chat_session: setup.order.session.id.clone(),
            workspace: setup.paths.root().to_owned(),
            project_root: setup.paths.project(&setup.order.session.project.slug),
            mode: setup.order.mode,
            cancel: setup.stop.token().child_token(),
            // Each call gets a channel of its own.
            progress: mpsc::channel(1).0,
            job_env: setup.job_env.clone(),
            seen,
            jobs: setup.jobs.clone(),
        };
        let state = AgentState::of(records);
        let journal = Arc::new(Mutex::new(journal));
        Self { shared, voice, state, conversation, tools, specs, context, gate: Gate::opened(), journal }
    }

    pub(super) fn cancel(&self) -> &CancellationToken {
        &self.context.cancel
    }

    /// Works until there is nothing left to do. Does not write the closing record.
    pub(super) async fn work(&mut self) -> Result<Ended, TurnError> {
        loop {
            match self.shared.setup.stop.wish() {
                Some(Wish::Abort) if !self.state.is_cancelled => self.append(vec![Body::Cancel]).await?,
                Some(Wish::Leave | Wish::Drop) => return Ok(Ended::Left),
                _ => {}
            }
            match self.state.next() {
                Next::Ask => {
                    if let Asked::Failed(message) = self.ask().await? {
                        return Ok(Ended::Failed(message));
                    }
                }
                Next::Run => self.run_calls().await?,
                Next::Answered(ModelStop::Refusal) if self.state.last_text.is_empty() => {
                    return Ok(Ended::Failed("the model declined to answer".to_owned()));
                }
                Next::Answered(_) => return Ok(Ended::Finished),
                Next::Stuck(why) => return Ok(Ended::Failed(why)),
                Next::Cancelled => return Ok(Ended::Aborted),
                Next::Closed => {
                    return Ok(match &self.state.closed {
                        Some((ChatTurnStatus::Error, message)) => {
                            Ended::Failed(message.clone().unwrap_or_default())
                        }
                        Some((ChatTurnStatus::Aborted, _)) => Ended::Aborted,
                        _ => Ended::Finished,
                    });
                }
            }
        }
    }

    /// Gives every call without a result one that says why, so that the history stays whole.
    pub(super) fn settle_calls(&self, batch: &mut Batch) {
        let unfinished = Unfinished { is_cancelled: self.state.is_cancelled };
        for open in self.state.unfinished() {
            let number = open.number;
            let outcome = unfinished.outcome(&open.stage);
            let started =
                (open.stage == Stage::Fresh).then(|| batch.say(self.voice.started(number, &open.call)));
            let ended = batch.say(self.voice.ended(number, &open.call, &outcome));
            batch.note(move |seqs| Body::Result {
                call: number,
                outcome,
                started: started.map(|started| seqs[started]),
                ended: seqs[ended],
            });
        }
    }

    /// Journals the batch; then, and not before, its events are sent.
    pub(super) async fn commit(&mut self, batch: Batch) -> Result<(), TurnError> {
        let Batch { events, notes } = batch;
        let held = self.hold(&events).await?;
        let bodies = notes.into_iter().map(|note| note(&held.seqs)).collect();
        self.append(bodies).await
    }

    /// The same for the turn's last events: nothing is told after them.
    pub(super) async fn commit_last(&mut self, batch: Batch) -> Result<(), TurnError> {
        let Batch { events, notes } = batch;
        let outbox = &self.shared.setup.outbox;
        let held = outbox.hold_last(&events).await.map_err(TurnError::Event)?;
        let bodies = notes.into_iter().map(|note| note(&held.seqs)).collect();
        self.append(bodies).await
    }

    pub(super) async fn hold(&self, events: &[TurnEvent]) -> Result<Held, TurnError> {
        self.shared.setup.outbox.hold(events).await.map_err(TurnError::Event)
    }

    /// Writes records and applies them.
    pub(super) async fn append(&mut self, bodies: Vec<Body>) -> Result<(), TurnError> {
        self.gate.pass().await?;
        self.write(&bodies).await.map_err(TurnError::Task)?.map_err(TurnError::Journal)?;
        self.apply(&bodies);
        Ok(())
    }

    /// Applies the turn's first records while they are still being written.
    pub(super) fn begin(&mut self, bodies: &[Body]) -> Opening {
        let (opening, gate) = Opening::new(self.write(bodies));
        self.gate = gate;
        self.apply(bodies);
        opening
    }

    fn write(&self, bodies: &[Body]) -> JoinHandle<Result<(), JournalError>> {
        let (generation, at) = (self.shared.generation(), Timestamp::now());
        let records: Vec<Record> =
            bodies.iter().map(|body| Record { generation, at, body: body.clone() }).collect();
        let journal = self.journal.clone();
        tokio::task::spawn_blocking(move || journal.lock().append(&records))
    }

    fn apply(&mut self, bodies: &[Body]) {
        for body in bodies {
            self.state.apply(body);
        }
    }

    pub(super) fn request(&self) -> ModelRequest {
        let order = &self.shared.setup.order;
        let Conversation { system, earlier, unsent, prompt } = &self.conversation;
        let omitted = usize::try_from(self.state.omitted).unwrap_or(usize::MAX).min(earlier.len());
        let mut messages = history::fitted(earlier, omitted, *unsent);
        messages.push(Message::User { text: prompt.clone() });
        messages.extend_from_slice(self.state.messages());
        let target = &order.work_order.model;
        ModelRequest {
            model: target.model.clone(),
            system: system.clone(),
            messages,
            tools: self.specs.clone(),
            reasoning_effort: if target.capabilities.thinking {
                order.reasoning_effort
            } else {
                ReasoningEffort::Off
            },
            capabilities: target.capabilities,
            context_window: target.context_window,
            max_output_tokens: target.max_output_tokens,
        }
    }
}

//! Work orders and the turn that runs: taken on, watched, and forgotten when the hub has stored all of it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use protocol::drone::WorkOrderTurn;
use protocol::error::{Code, Refusal};
use protocol::ids::TurnId;
use protocol::value::{ChatTurnStatus, LogLevel, WorkspaceMode};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::running::{Attempt, RunningTurn, State};
use super::{Drone, Inside, LEAVE_TIMEOUT};
use crate::job::follow;
use crate::model::endpoint::Endpoint;
use crate::model::retry::Policy;
use crate::outbox::{Limits, Outbox};
use crate::tool::registry::tools_for;
use crate::turn::{self, Stop, Turn, TurnEnd, TurnSetup, Wish};
use crate::workspace::document::{WorkOrderDocument, WorkOrderStatus};

impl Drone {
    /// Takes a work order on, or says why not. It is on disk when this returns.
    pub(super) async fn take_on(&mut self, turn: Box<WorkOrderTurn>) -> Result<(), Refusal> {
        let attempt = Attempt { turn: turn.id.clone(), number: turn.work_order.attempt };
        self.check(&turn)?;
        match &self.turn {
            // Sent twice because our answer was lost.
            Some(running) if running.attempt() == attempt => return Ok(()),
            // The hub has given the older attempt up, and the journal goes on where that one is.
            Some(running) if *running.id() == turn.id && running.order.attempt < attempt.number => {
                self.leave_turn().await;
            }
            // The hub has stored the last one's end, and only our news of it are late.
            Some(running) if running.has_ended() && turn.work_order.first_seq > running.outbox.last_seq() => {
                self.forget_turn();
            }
            // Its end is told, and what is left of it are calls that are being stopped: this one begins when they are gone.
            Some(running) if running.is_told(turn.work_order.first_seq) && self.closing.is_none() => {
                self.link.stop_sending();
                running.outbox.stored(turn.work_order.first_seq - 1);
                self.closing = self.turn.take();
            }
            Some(_) => return Err(Refusal::new(Code::Busy, "this drone works on another turn")),
            None => {}
        }
        self.clear_interrupted(&turn.id).await;
        let lacks_checkout = self.lacks_checkout();
        if lacks_checkout {
            self.take_address(turn.session.project.git_url.clone())?;
        }
        let order = document(&turn);
        let put = self.write_order(&order);
        let outbox = Outbox::new(
            turn.id.clone(),
            turn.work_order.attempt,
            turn.work_order.first_seq,
            Limits::default(),
            &self.workspace.paths().temporary(),
        );
        let stop = Stop::default();
        if lacks_checkout {
            self.begin_sync();
        }
        if self.syncing.is_some() || self.closing.is_some() {
            put.await?;
            self.turn = Some(RunningTurn { order, outbox, stop, state: State::Waiting(turn) });
            return Ok(());
        }
        let begun = self.begin(turn, outbox.clone(), stop.clone()).await;
        if let Ok(task) = begun {
            self.turn = Some(RunningTurn { order, outbox, stop, state: State::Running(task) });
            self.set_mode(WorkspaceMode::Agent);
            if self.is_online() {
                self.send_events();
            }
            // The journal has the turn, so it goes on; without its work order the hub sends it again after a crash.
            let _logged = put.await;
            return Ok(());
        }
        // It must not appear after it was taken back.
        let _logged = put.await;
        self.remove_work_order();
        begun.map(drop)
    }

    /// Writes the work order down on a thread of its own, at once.
    fn write_order(
        &self,
        order: &WorkOrderDocument,
    ) -> impl Future<Output = Result<(), Refusal>> + Send + use<> {
        let (paths, order) = (self.workspace.paths().clone(), order.clone());
        let put = tokio::task::spawn_blocking(move || paths.put_work_order(&order));
        async move { put.await.map_err(|error| internal(&error))?.map_err(|error| internal(&error)) }
    }

    /// Lets the turn stay as it is on disk.
    pub(super) async fn leave_turn(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        self.link.stop_sending();
        turn.ask(Wish::Leave);
        if tokio::time::timeout(LEAVE_TIMEOUT, turn.gone()).await.is_err() {
            tracing::error!("a turn does not stop; it is given up");
        }
    }

    /// Another turn than the interrupted one begins, so that one will never go on: nothing of it may run.
    async fn clear_interrupted(&mut self, next: &TurnId) {
        if self.interrupted.take().is_some_and(|order| order.turn_id != *next) {
            self.stop_jobs().await;
        }
    }

    /// Ends the shell jobs that an earlier process has left.
    pub(super) async fn stop_jobs(&self) {
        stop_jobs(self.workspace.paths().root()).await;
    }

    /// A turn that waited begins, once nothing is left that it waits for.
    pub(super) async fn begin_waiting_turn(&mut self) {
        if self.syncing.is_some() || self.closing.is_some() {
            return;
        }
        let Some(WaitingTurn { turn, order, outbox, stop }) = self.take_waiting() else { return };
        match self.begin(turn, outbox.clone(), stop.clone()).await {
            Ok(task) => {
                self.turn = Some(RunningTurn { order, outbox, stop, state: State::Running(task) });
                self.set_mode(WorkspaceMode::Agent);
            }
            Err(refusal) => {
                let state = self.end_unbegun(order.clone(), &outbox, ChatTurnStatus::Error, refusal.message);
                self.turn = Some(RunningTurn { order, outbox, stop, state });
            }
        }
        if self.is_online() {
            self.send_events();
        }
    }

    /// A turn that waited never begins.
    pub(super) fn end_waiting_turn(&mut self, status: ChatTurnStatus, message: String) {
        let Some(WaitingTurn { turn: _, order, outbox, stop }) = self.take_waiting() else { return };
        stop.ask(Wish::Abort);
        let state = self.end_unbegun(order.clone(), &outbox, status, message);
        self.turn = Some(RunningTurn { order, outbox, stop, state });
        if self.is_online() {
            self.send_events();
        }
    }

    fn take_waiting(&mut self) -> Option<WaitingTurn> {
        let waiting = self.turn.take_if(|turn| matches!(turn.state, State::Waiting(_)))?;
        let RunningTurn { order, outbox, stop, state: State::Waiting(turn) } = waiting else { return None };
        Some(WaitingTurn { turn, order, outbox, stop })
    }

    /// Ends a turn that was accepted and cannot begin: the hub is told as if it had run. An earlier attempt of it may have
    /// left jobs.
    fn end_unbegun(
        &self,
        mut order: WorkOrderDocument,
        outbox: &Outbox,
        status: ChatTurnStatus,
        message: String,
    ) -> State {
        let attempt = Attempt { turn: order.turn_id.clone(), number: order.attempt };
        self.note_end(&mut order, status, Some(&message));
        let (outbox, inside) = (outbox.clone(), self.inside.clone());
        let workspace = self.workspace.paths().root().to_owned();
        let task = tokio::spawn(async move {
            if attempt.number > 1 {
                stop_jobs(&workspace).await;
            }
            let event = protocol::event::TurnEvent::WorkOrderComplete {
                turn_id: attempt.turn.clone(),
                status,
                message: Some(message),
            };
            if let Err(error) = outbox.push(&event).await {
                tracing::error!(%error, "failed to tell the end of a turn");
            }
            outbox.drained().await;
            tell(&inside, Inside::TurnStored(attempt)).await;
        });
        State::Ended { _task: AbortOnDropHandle::new(task) }
    }

    /// Writes down how the turn ended, for whoever looks before the hub has stored it.
    fn note_end(&self, order: &mut WorkOrderDocument, status: ChatTurnStatus, message: Option<&str>) {
        (order.status, order.error) = match status {
            ChatTurnStatus::Error => (WorkOrderStatus::Error, message.map(str::to_owned)),
            _ => (WorkOrderStatus::Completed, None),
        };
        if let Err(error) = self.workspace.put_work_order(order) {
            tracing::error!(%error, "failed to note the end of a turn");
        }
    }

    /// Journals the turn's beginning and starts it. The model is asked while the beginning is on its way to the disk.
    async fn begin(
        &mut self,
        turn: Box<WorkOrderTurn>,
        outbox: Outbox,
        stop: Stop,
    ) -> Result<AbortOnDropHandle<()>, Refusal> {
        let attempt = Attempt { turn: turn.id.clone(), number: turn.work_order.attempt };
        let author = self.author(&turn.session);
        let target = &turn.work_order.model;
        let model = Endpoint::new(
            self.http.clone(),
            &self.hub,
            &target.provider,
            target.dialect,
            self.token.tokens(),
            self.config.clocks,
        )
        .map_err(|fault| Refusal::new(Code::NoModel, fault.to_string()))?;
        if turn.work_order.attempt > 1 {
            self.metrics.turns_resumed.inc();
        }
        let setup = TurnSetup {
            order: *turn,
            paths: self.workspace.paths().clone(),
            outbox: outbox.clone(),
            model: Arc::new(model),
            retries: Policy::default(),
            tools: Arc::new(tools_for),
            jobs: self.jobs.clone(),
            job_env: self.job_env.clone(),
            online: self.online.subscribe(),
            generation: self.generation.clone(),
            status: self.status.clone(),
            stop: stop.clone(),
            memory: self.memory.clone(),
            metrics: self.metrics.clone(),
        };
        let (turn, mut opening) = Box::pin(Turn::open(setup)).await.map_err(|error| internal(&error))?;
        let inside = self.inside.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Some(author) = author {
                author.await;
            }
            let end = Box::pin(turn.run()).await;
            let is_closed = matches!(end, TurnEnd::Closed { .. });
            tell(&inside, Inside::TurnEnded { attempt: attempt.clone(), end }).await;
            if is_closed {
                outbox.drained().await;
                tell(&inside, Inside::TurnStored(attempt)).await;
            }
        }));
        if let Err(error) = opening.written().await {
            stop.ask(Wish::Drop);
            return Err(internal(&error));
        }
        opening.open();
        Ok(task)
    }

    fn check(&self, turn: &WorkOrderTurn) -> Result<(), Refusal> {
        if !turn::is_safe_id(&turn.id) {
            return Err(Refusal::new(Code::Invalid, "the turn's id must be letters, digits, - and _"));
        }
        let document = self.workspace.document();
        match (&document.chat_session, &document.locked_project) {
            (None, _) | (_, None) => {
                return Err(Refusal::new(Code::NoSession, "no chat session holds this drone's lock"));
            }
            (Some(session), Some(project))
                if session.id != turn.session.id
                    || project.id != turn.session.project.id
                    || project.slug != turn.session.project.slug =>
            {
                return Err(Refusal::new(
                    Code::DroneLocked,
                    "another chat session or project holds this drone's lock",
                ));
            }
            _ => {}
        }
        if self.mode == WorkspaceMode::User {
            return Err(Refusal::new(
                Code::Mode,
                "the workspace is in user mode; give it to the agent first",
            ));
        }
        Ok(())
    }

    /// Sends the turn's events on the living connection.
    pub(super) fn send_events(&mut self) {
        if let Some(turn) = &self.turn {
            self.link.send_from(turn.outbox.clone(), self.generation.clone(), self.metrics.clone());
        }
    }

    pub(super) fn abort(&mut self) -> Result<&'static str, Refusal> {
        let Some(turn) = self.turn.as_ref().filter(|turn| !turn.has_ended()) else {
            return Err(Refusal::new(Code::NoTurn, "no turn is running"));
        };
        turn.ask(Wish::Abort);
        self.end_waiting_turn(ChatTurnStatus::Aborted, "aborted".to_owned());
        Ok("stopping")
    }

    pub(super) async fn turn_ended(&mut self, attempt: &Attempt, end: TurnEnd) {
        if self.closing.take_if(|turn| turn.attempt() == *attempt).is_some() {
            self.metrics.turns.inc();
            self.begin_waiting_turn().await;
            return;
        }
        let Some(turn) = self.turn.take_if(|turn| turn.attempt() == *attempt) else { return };
        self.last_heartbeat = Instant::now();
        self.metrics.turns.inc();
        let RunningTurn { mut order, outbox, stop, state } = turn;
        match end {
            TurnEnd::Closed { status, message } => {
                tracing::info!(turn = %attempt.turn, %status, "a turn is over");
                self.log(LogLevel::Info, &format!("Turn {} is over: {status}", attempt.turn));
                self.note_end(&mut order, status, message.as_deref());
                let state = match state {
                    State::Running(task) => State::Ended { _task: task },
                    state => state,
                };
                self.turn = Some(RunningTurn { order, outbox, stop, state });
            }
            TurnEnd::Dropped => {
                self.link.stop_sending();
                self.remove_work_order();
            }
            TurnEnd::Left => {}
        }
    }

    /// All of the turn is stored: nothing of it is needed any more but its journal, as the conversation's memory.
    pub(super) fn turn_stored(&mut self, attempt: &Attempt) {
        if self.turn.as_ref().is_some_and(|turn| turn.attempt() == *attempt) {
            self.forget_turn();
        }
    }

    pub(super) fn forget_turn(&mut self) {
        self.link.stop_sending();
        self.turn = None;
        self.metrics.outbox_events.set(0);
        self.remove_work_order();
    }

    /// One that stays because of a broken disk does no harm: the hub says that it is not wanted any more.
    pub(super) fn remove_work_order(&self) {
        if let Err(error) = self.workspace.remove_work_order() {
            tracing::error!(%error, "failed to remove the work order");
        }
    }
}

/// A turn that was accepted and has not begun.
struct WaitingTurn {
    turn: Box<WorkOrderTurn>,
    order: WorkOrderDocument,
    outbox: Outbox,
    stop: Stop,
}

async fn stop_jobs(workspace: &Path) {
    if let Err(error) = follow::stop_all(workspace).await {
        tracing::error!(%error, "failed to stop the jobs of a turn that is not wanted any more");
    }
}

async fn tell(inside: &tokio::sync::mpsc::Sender<Inside>, what: Inside) {
    // An error means that the process is ending and nobody asks any more.
    let _ending = inside.send(what).await;
}

fn document(turn: &WorkOrderTurn) -> WorkOrderDocument {
    WorkOrderDocument {
        turn_id: turn.id.clone(),
        chat_session_id: turn.session.id.clone(),
        project_id: turn.session.project.id.clone(),
        work_order_id: turn.work_order.work_order_id.clone(),
        received_at: Timestamp::now(),
        prompt: turn.prompts.user.clone(),
        status: WorkOrderStatus::Processing,
        error: None,
        attempt: turn.work_order.attempt,
        generation: turn.work_order.generation,
    }
}

fn internal(error: &dyn std::error::Error) -> Refusal {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    tracing::error!(error = text, "failed to take on a work order");
    Refusal::new(Code::Internal, text)
}

//! The task of one live session: takes inputs, lets the state decide, has the effects carried out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use protocol::document::ChatSession;
use protocol::ide::refusal_ack;
use protocol::value::WorkspaceMode;
use serde_json::json;
use tokio::time::Instant;

use crate::app::SharedApp;
use crate::session;
use crate::session::effect::Performer;
use crate::session::registry::Inboxes;
use crate::session::state::input::{DroneInput, Input, Now};
use crate::session::state::limits::SessionLimits;
use crate::session::state::request::event_of;
use crate::session::state::{Loaded, LoadedTurn, State, TurnTally, no_such_session};
use crate::store::{Page, PageRequest, Store, StoreError};

/// Inputs taken at a time, so that their effects share what can be shared.
const BATCH: usize = 256;
/// How long the actor of a session where nothing happens stays: coming and going would read the store each time.
const LINGER: Duration = Duration::from_secs(30);
/// How long an actor that must end may take to have its last events stored.
const LAST_WRITES: Duration = Duration::from_secs(3);
/// Between attempts to load a session from a store that fails.
const RELOAD: Duration = Duration::from_secs(1);
/// Events read at a time to sum up a turn that was left behind.
const PAGE: u32 = 500;

/// What is under way for the session: each ends in an input.
pub(super) type Work = FuturesUnordered<BoxFuture<'static, Option<Input>>>;

pub(super) async fn run(app: SharedApp, mut inboxes: Inboxes) {
    let session = inboxes.session.clone();
    let started = Instant::now();
    let loaded = loop {
        match load(&*app.store, &inboxes).await {
            Ok(loaded) => break loaded,
            Err(error) => {
                tracing::error!(%session, error = &error as &dyn std::error::Error, "failed to load the chat session");
                refuse_waiting(&mut inboxes);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RELOAD) => {}
            () = app.sessions.closing.cancelled() => return app.sessions.remove(&session),
        }
        if app.sessions.retire(&inboxes) {
            return;
        }
    };
    match loaded {
        Some(loaded) => Actor::new(app, inboxes, loaded, started).live().await,
        None => turn_away(&app, inboxes).await,
    }
}

struct Actor {
    app: SharedApp,
    inboxes: Inboxes,
    state: State,
    performer: Performer,
    work: Work,
    /// The zero of the state's time.
    started: Instant,
    /// Nothing has been in it since then.
    resting_since: Option<Instant>,
}

impl Actor {
    fn new(app: SharedApp, inboxes: Inboxes, loaded: Loaded, started: Instant) -> Self {
        let performer = Performer::new(Arc::clone(&app), &loaded.session);
        let idle = session::idle(&app, &loaded.session.id);
        let limits = SessionLimits { idle, ..app.sessions.limits.clone() };
        let state = State::new(loaded, limits, now(started));
        Self { app, inboxes, state, performer, work: Work::new(), started, resting_since: None }
    }

    async fn live(mut self) {
        let (mut inputs, mut said) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let closing = self.app.sessions.closing.clone();
        self.carry_out();
        loop {
            if self.is_over() {
                return;
            }
            let due = self.due();
            tokio::select! {
                biased;
                () = closing.cancelled() => return self.close().await,
                Some(input) = self.work.next(), if !self.work.is_empty() => inputs.extend(input),
                taken = self.inboxes.inbox.recv_many(&mut inputs, BATCH) => if taken == 0 { return },
                taken = self.inboxes.drone.recv_many(&mut said, BATCH) => if taken == 0 { return },
                () = sleep_until(due) => self.state.apply(now(self.started), Input::Tick),
            }
            self.apply(inputs.drain(..).chain(said.drain(..)));
        }
    }

    fn apply(&mut self, inputs: impl Iterator<Item = Input>) {
        let now = now(self.started);
        for input in inputs {
            self.state.apply(now, input);
        }
        self.carry_out();
        self.performer.drone_inbox_has_room(self.inboxes.drone.len());
    }

    fn carry_out(&mut self) {
        for effect in self.state.take_effects() {
            self.performer.perform(effect, &self.work);
        }
        self.performer.note_health(self.state.is_store_failing());
        self.app.sockets.metrics.late_acks.inc_by(self.state.take_late());
    }

    /// Whether the actor can end, and has been taken off the list.
    fn is_over(&mut self) -> bool {
        if !self.state.is_at_rest() || !self.work.is_empty() {
            self.resting_since = None;
            return false;
        }
        let since = *self.resting_since.get_or_insert_with(Instant::now);
        since.elapsed() >= LINGER && self.app.sessions.retire(&self.inboxes)
    }

    fn due(&self) -> Option<Instant> {
        let deadline = self.state.next_deadline().map(|elapsed| self.started + elapsed);
        // One that rests but is held by somebody looks again after a while.
        let linger = self.resting_since.map(|since| (since + LINGER).max(Instant::now() + RELOAD));
        [deadline, linger].into_iter().flatten().min()
    }

    /// The hub goes away: what has been said is stored, nothing new is begun.
    async fn close(mut self) {
        let deadline = Instant::now() + LAST_WRITES;
        while !self.state.is_settled() {
            let input = tokio::select! {
                input = self.work.next(), if !self.work.is_empty() => input.flatten(),
                () = sleep_until(self.state.next_deadline().map(|elapsed| self.started + elapsed)) => Some(Input::Tick),
                () = tokio::time::sleep_until(deadline) => {
                    tracing::warn!(session = %self.inboxes.session, "the store did not take the last events; the drone keeps them");
                    break;
                }
            };
            if let Some(input) = input {
                self.state.apply(now(self.started), input);
                self.carry_out();
            }
        }
        self.app.sessions.remove(&self.inboxes.session);
    }
}

/// What the store knows of the session; `None`: there is none.
async fn load(store: &dyn Store, inboxes: &Inboxes) -> Result<Option<Loaded>, StoreError> {
    let Some(session) = store.session(&inboxes.session).await? else { return Ok(None) };
    let drone = store.drone_of_session(&session.id).await?;
    let last_seq = store.last_seq(&session.id).await?;
    let newest = PageRequest { cursor: None, limit: 1, newest_first: true };
    let Page { items, next_cursor: _ } = store.turns(&session.id, newest).await?;
    let newest_from = items.first().map_or(last_seq, |turn| turn.seq_before);
    let turn = match store.processing_turn(&session.id).await? {
        Some(record) => {
            let tally = tally(store, &session, record.seq_before).await?;
            Some(LoadedTurn { record, tally })
        }
        None => None,
    };
    let drone = drone.map(|record| (record.registration.id, record.held));
    Ok(Some(Loaded { session, drone, last_seq, newest_from, turn }))
}

async fn tally(store: &dyn Store, session: &ChatSession, mut after: u64) -> Result<TurnTally, StoreError> {
    let mut tally = TurnTally::default();
    loop {
        let events = store.events_after(&session.id, after, PAGE).await?;
        let Some(last) = events.last() else { return Ok(tally) };
        after = last.seq;
        tally.count(&events);
    }
}

/// There is no such session: says so to all who ask, until nobody does any more.
async fn turn_away(app: &SharedApp, mut inboxes: Inboxes) {
    let refusal = no_such_session();
    loop {
        let closing = &app.sessions.closing;
        let input = tokio::select! {
            biased;
            () = closing.cancelled() => return app.sessions.remove(&inboxes.session),
            Some(input) = inboxes.inbox.recv() => input,
            Some(input) = inboxes.drone.recv() => input,
            () = tokio::time::sleep(Duration::from_millis(50)) => {
                if app.sessions.retire(&inboxes) {
                    return;
                }
                continue;
            }
        };
        match input {
            Input::Ide { peer, request, last_seq: _, answer } => {
                app.sockets.with_ide(peer.conn, |conn| conn.forget(&inboxes.session, peer.asked));
                answer.answer(refusal_ack(
                    event_of(&request),
                    &refusal,
                    inboxes.session.as_str(),
                    WorkspaceMode::Idle,
                ));
            }
            Input::Attach { peer, answer, .. } => {
                app.sockets.with_ide(peer.conn, |conn| conn.forget(&inboxes.session, peer.asked));
                answer.answer(vec![false.into(), "over".into()]);
            }
            Input::Drone {
                conn: _,
                said: DroneInput::Hello { answer, .. } | DroneInput::Event { answer, .. },
            } => {
                answer.answer(vec![false.into(), json!(refusal)]);
            }
            _ => {}
        }
    }
}

/// The store fails: whoever waits is told, rather than left waiting.
fn refuse_waiting(inboxes: &mut Inboxes) {
    let refusal = crate::session::effect::store_unavailable();
    while let Ok(input) = inboxes.inbox.try_recv() {
        match input {
            Input::Ide { request, answer, .. } => {
                let args =
                    refusal_ack(event_of(&request), &refusal, inboxes.session.as_str(), WorkspaceMode::Idle);
                answer.answer(args);
            }
            Input::Attach { answer, .. } => answer.answer(vec![false.into(), "over".into()]),
            _ => {}
        }
    }
    while let Ok(input) = inboxes.drone.try_recv() {
        if let Input::Drone {
            conn: _,
            said: DroneInput::Hello { answer, .. } | DroneInput::Event { answer, .. },
        } = input
        {
            answer.answer(vec![false.into(), json!(refusal)]);
        }
    }
}

fn now(started: Instant) -> Now {
    Now { elapsed: started.elapsed(), wall: Timestamp::now() }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

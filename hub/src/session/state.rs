//! What a session is and how it changes. Pure: inputs in, effects out, no clock, no channel, no store.
//!
//! One file by noun: [`tab`] and [`drone`] are the two locks, [`turn`] is what runs, [`log`] numbers and stores, [`ring`]
//! and [`follow`] are for those who watch, [`ask`] is what the drone owes an answer to.

mod abort;
mod answer;
pub mod ask;
mod clock;
mod drone;
pub mod effect;
mod follow;
pub mod input;
pub mod limits;
pub mod log;
mod recovery;
mod replay;
pub mod request;
mod ring;
mod tab;
mod tally;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use protocol::document::ChatSession;
use protocol::error::{Code, Refusal};
use protocol::event::RawEvent;
use protocol::ids::{ChatSessionId, DroneId, ProjectId, UserId, WorkspaceId};
use protocol::value::WorkspaceMode;
use serde_json::Value;

use crate::session::ConnId;
use crate::session::responder::Responder;
use crate::session::state::ask::Asks;
use crate::session::state::clock::Clocks;
use crate::session::state::drone::Drone;
use crate::session::state::effect::Effect;
use crate::session::state::follow::Viewers;
use crate::session::state::input::{DroneInput, Input, Now, Unanswered};
use crate::session::state::limits::SessionLimits;
use crate::session::state::log::Log;
use crate::session::state::ring::Ring;
use crate::session::state::tab::Tab;
use crate::session::state::tally::Tally;
use crate::session::state::turn::{Restored, Turn};
use crate::store::{EventRecord, TurnEnd, TurnRecord};

/// One live chat session.
#[derive(Debug)]
pub struct State {
    id: ChatSessionId,
    user: UserId,
    project: ProjectId,
    limits: SessionLimits,
    /// Of the input that is being applied.
    now: Now,
    /// What is wanted since the effects were last taken.
    out: Vec<Effect>,
    /// Commands that the drone has not answered in time since that was last asked for.
    late: u64,
    tab: Tab,
    viewers: Viewers,
    drone: Drone,
    /// As the drone said it last.
    mode: WorkspaceMode,
    /// Where its drone works, as the store has it.
    workspace: Option<WorkspaceId>,
    asks: Asks,
    turn: Option<Turn>,
    log: Log,
    ring: Ring,
    clocks: Clocks,
    /// A hub before this one may have shown numbers above this that were never stored, and the turn's next attempt gives
    /// them out again for something else. Forgotten when the drone goes on with the same attempt, or with the turn.
    doubtful_above: Option<u64>,
    /// The number before the newest turn's first event.
    newest_from: u64,
    /// It is in the store no more, and nothing here may bring it back.
    deleted: bool,
}

/// What the store knows of a session when it comes to life.
#[derive(Debug)]
pub struct Loaded {
    pub session: ChatSession,
    /// The drone that works for it, and whether a person has stopped that.
    pub drone: Option<(DroneId, bool)>,
    pub last_seq: u64,
    /// The number before the first event of the newest turn, over or not.
    pub newest_from: u64,
    /// A turn that is not over.
    pub turn: Option<LoadedTurn>,
}

#[derive(Debug)]
pub struct LoadedTurn {
    pub record: TurnRecord,
    pub tally: TurnTally,
}

/// What the stored events of a turn add up to, counted page by page.
#[derive(Debug, Default)]
pub struct TurnTally(Tally);

impl TurnTally {
    pub fn count(&mut self, events: &[EventRecord]) {
        for event in events {
            // What is stored was read when it came; a fault here could only cost a number in the sums.
            let _counted = self.0.count(&event.event, event.at);
        }
    }
}

impl State {
    pub fn new(loaded: Loaded, limits: SessionLimits, now: Now) -> Self {
        let Loaded { session, drone, last_seq, newest_from, turn } = loaded;
        let (bound, held) = drone.map_or((None, false), |(drone, held)| (Some(drone), held));
        let doubtful_above = turn.is_some().then_some(last_seq);
        let until = Restored { away: now.elapsed + limits.away, abort: now.elapsed + limits.abort };
        let mut state = Self {
            id: session.id,
            user: session.user,
            project: session.project,
            now,
            out: Vec::new(),
            late: 0,
            tab: Tab::default(),
            viewers: Viewers::default(),
            drone: Drone::new(bound, held),
            mode: WorkspaceMode::Idle,
            workspace: session.workspace_id,
            asks: Asks::default(),
            turn: turn.map(|LoadedTurn { record, tally }| Turn::restored(&record, tally.0, until)),
            log: Log::new(limits.log, last_seq),
            ring: Ring::new(limits.ring_events, limits.ring_bytes),
            clocks: Clocks::new(now.elapsed),
            doubtful_above,
            newest_from,
            deleted: false,
            limits,
        };
        if state.drone.held {
            state.lose_drone();
        }
        // A turn that was left behind goes on without anybody asking.
        state.advance();
        state
    }

    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// Takes the next input. Effects gather until [`Self::take_effects`].
    pub fn apply(&mut self, now: Now, input: Input) {
        self.now = now;
        match input {
            Input::Ide { peer, request, last_seq, answer } => self.ide(peer, request, last_seq, answer),
            Input::Attach { peer, last_seq, want, answer } => self.attach(peer, last_seq, want, answer),
            Input::Gone { conn } => self.gone(conn),
            Input::TabMoved { conn, asked } => self.tab_moved(conn, asked),
            Input::Withdrawn { conn } => self.withdraw(conn),
            Input::Drained { conn } => self.drained(conn),
            Input::PageLoaded { conn, events } => self.page_loaded(conn, events),
            Input::TurnLoaded { conn, turn } => self.turn_loaded(conn, turn),
            Input::Drone { conn, said } => self.drone_said(conn, said),
            Input::Answered { ticket, answer } => self.answered(ticket, answer),
            Input::Claimed { ticket, drone } => self.claimed(ticket, drone),
            Input::Fleet(event) => self.fleet(event),
            Input::Held(held) => self.hold(held),
            Input::IdleAfter(idle) => self.limits.idle = idle,
            Input::TurnStored { turn, stored } => self.turn_stored(&turn, stored),
            Input::Appended { stored } => self.appended(stored),
            Input::SessionUpdated(changed) => self.tell(answer::session_updated(changed)),
            Input::Deleted => self.deleted(),
            Input::Tick => self.tick(),
        }
    }

    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.out)
    }

    pub fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late)
    }

    /// When the next `Tick` is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        [
            self.tab.next_deadline(),
            self.drone.next_deadline(),
            self.asks.next_deadline(),
            self.turn.as_ref().and_then(Turn::next_deadline),
            self.log.next_deadline(),
            self.next_clock(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether nothing would be missed if this state were forgotten and loaded again.
    pub fn is_at_rest(&self) -> bool {
        self.tab.is_free()
            && self.viewers.is_empty()
            && self.drone.is_quiet()
            && self.asks.is_empty()
            && self.turn.is_none()
            && self.log.is_settled()
    }

    /// Whether everything that was said is stored.
    pub fn is_settled(&self) -> bool {
        self.log.is_settled()
    }

    /// Whether events wait because the store fails.
    pub fn is_store_failing(&self) -> bool {
        self.log.is_failing()
    }

    fn drone_said(&mut self, conn: ConnId, said: DroneInput) {
        let linked = self.drone.link.is_some_and(|link| link.conn == conn);
        match said {
            DroneInput::Hello { drone, hello, generation, first, answer } => {
                self.hello(conn, drone, &hello, generation, first, answer);
            }
            DroneInput::Event { event, meta, answer } => self.turn_event(conn, event, &meta, answer),
            DroneInput::Status(message) if linked => self.tell(answer::status(message)),
            DroneInput::Mode(mode) if linked => {
                self.set_mode(mode);
                self.advance();
            }
            DroneInput::Log(args) if linked => {
                self.tell(effect::Note::Raw { name: protocol::ide::name::LOG, args: args.into() });
            }
            DroneInput::Status(_) | DroneInput::Mode(_) | DroneInput::Log(_) => {}
            DroneInput::Recovery(request) => self.recovery_asked(conn, &request),
            DroneInput::Gone => self.drone_gone(conn),
        }
    }

    fn tick(&mut self) {
        let now = self.now.elapsed;
        for ask in self.asks.expired(now) {
            self.late += 1;
            self.unanswered(ask, Unanswered::TimedOut);
        }
        self.tick_tab();
        self.tick_drone();
        self.tick_turn();
        self.tick_clocks();
        self.flush();
    }

    /// Gives an event the next number, shows it, and sends it on its way into the store. A turn's completion is shown
    /// only when it is stored.
    fn append(&mut self, event: RawEvent, ack: Option<Responder>, end: Option<TurnEnd>) {
        let Some(turn) = &self.turn else { return };
        let record = Arc::new(EventRecord {
            seq: self.log.last() + 1,
            turn: turn.id.clone(),
            attempt: turn.attempt,
            at: self.now.wall,
            event,
        });
        let completes = end.is_some();
        self.log.push(&record, ack, end);
        self.ring.push(Arc::clone(&record));
        if !completes {
            self.show(record);
        }
        self.flush();
        self.regulate();
    }

    fn flush(&mut self) {
        if let Some(log::Batch { events, end }) = self.log.next_batch(&self.ring, self.now.elapsed) {
            self.push(Effect::Append { events, end });
        }
    }

    fn appended(&mut self, stored: bool) {
        if stored {
            let log::Stored { acks, ended } = self.log.stored_batch(&self.ring);
            for ack in acks {
                self.answer(ack, answer::done());
            }
            self.ring.trim(self.log.stored());
            if let Some(seq) = ended {
                self.turn_ended(seq);
            }
        } else {
            if !self.log.is_failing() {
                self.tell(answer::status(
                    "The store does not answer; nothing is lost, storing is tried again",
                ));
            }
            self.log.failed_batch(self.now.elapsed);
        }
        self.flush();
        self.regulate();
        if self.log.is_settled() {
            self.advance();
        }
    }

    fn deleted(&mut self) {
        self.deleted = true;
        self.tell(answer::status("The chat session was deleted"));
        self.refuse_any_take(&no_such_session());
        for conn in self.viewers.all().collect::<Vec<_>>() {
            self.push(Effect::Forget { conn, upto: u64::MAX });
            self.gone(conn);
        }
        // It is stopped for good by who deletes the session.
        self.part_with_drone();
    }

    /// Whether the connection watches, holds the tab, or is about to.
    fn knows(&self, conn: ConnId) -> bool {
        self.viewers.contains(conn) || self.tab.is_held_by(conn) || self.tab.is_being_taken_by(conn)
    }

    /// Lets a connection go on without this session once nothing of it is left here. `asked`: its last request here.
    fn forget_stranger(&mut self, conn: ConnId, asked: u64) {
        if self.knows(conn) {
            self.tab.note_asked(conn, asked);
        } else {
            self.push(Effect::Forget { conn, upto: asked });
        }
    }

    fn push(&mut self, effect: Effect) {
        self.out.push(effect);
    }

    fn answer(&mut self, to: Responder, args: Vec<Value>) {
        self.push(Effect::Answer(to, args));
    }

    fn refuse(&mut self, event: &str, to: Responder, refusal: &Refusal) {
        let args = answer::refused(event, refusal, &self.id, self.mode);
        self.answer(to, args);
    }
}

/// The refusal for a session that is not there, or another user's: the two are not told apart.
pub fn no_such_session() -> Refusal {
    Refusal::new(Code::NotFound, "there is no such chat session")
}

#[cfg(test)]
mod tests;

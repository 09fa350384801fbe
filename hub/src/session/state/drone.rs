//! The session's drone: which one it is, whether it is connected, whether its lock is ours, what the fleet says of it.
//!
//! The drone is the truth for its lock, its mode and the turn that runs in it; it says so in `hello`, and what the
//! session believed until then is given up.

use std::time::Duration;

use jiff::Timestamp;
use protocol::drone::Hello;
use protocol::error::{Code, Refusal};
use protocol::ids::DroneId;
use protocol::value::{DronePhase, WorkspaceMode};

use crate::fleet::FleetEvent;
use crate::session::ConnId;
use crate::session::responder::Responder;
use crate::session::state::ask::{Ask, Ticket};
use crate::session::state::effect::{Command, DroneChoice, Effect};
use crate::session::state::input::{ClaimedDrone, Unanswered};
use crate::session::state::{State, answer};

#[derive(Debug, Default)]
pub(super) struct Drone {
    /// The drone that works for this session, connected or not.
    pub(super) bound: Option<DroneId>,
    pub(super) link: Option<Link>,
    pub(super) lock: Lock,
    /// What the fleet said last.
    pub(super) told: Option<FleetEvent>,
    /// Stopped by a person; stays so until a person lets it run.
    pub(super) held: bool,
    /// Suspended for lack of work, or given up by the fleet: not started again but for somebody's wish.
    dormant: bool,
    claiming: Option<Claim>,
    /// The fleet has taken the drone on since it was last seen.
    expected: bool,
    /// When to try again to get a drone, or its lock.
    retry_at: Option<Duration>,
    /// The fleet says that it cannot come back: its turn ends then.
    pub(super) lost_at: Option<Duration>,
}

/// A claim that is on its way.
#[derive(Debug)]
struct Claim {
    ticket: Ticket,
    choice: DroneChoice,
}

/// The drone's living connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) conn: ConnId,
    pub(super) generation: u64,
    since: Timestamp,
    paused: bool,
}

/// The drone's lock, as far as this session has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lock {
    #[default]
    None,
    Asking,
    Held,
}

impl Drone {
    pub(super) fn new(bound: Option<DroneId>, held: bool) -> Self {
        Self { bound, held, ..Self::default() }
    }

    pub(super) fn is_locked(&self) -> bool {
        self.link.is_some() && self.lock == Lock::Held
    }

    /// Somebody wants it to run.
    pub(super) fn wake(&mut self) {
        self.dormant = false;
        self.retry_at = None;
        if self.link.is_none() && self.claiming.is_none() {
            self.expected = false;
        }
    }

    /// Runs, and nobody has told it to sleep.
    pub(super) fn is_awake(&self) -> bool {
        self.link.is_some() && !self.dormant
    }

    /// Whether somebody who chooses so wants another drone than this one.
    pub(super) fn is_other_than(&self, choice: &DroneChoice) -> bool {
        matches!((choice, &self.bound), (DroneChoice::This(wanted), Some(bound)) if wanted != bound)
    }

    /// Whether another drone is about to take its place.
    pub(super) fn is_being_replaced(&self) -> bool {
        self.claiming.as_ref().is_some_and(|claim| self.is_other_than(&claim.choice))
    }

    /// The fleet has said since it connected that it cannot come back.
    fn is_given_up(&self) -> bool {
        self.dormant && self.told.as_ref().is_some_and(|told| told.phase == DronePhase::Failed)
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.link.is_none() && self.claiming.is_none()
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        [self.retry_at, self.lost_at].into_iter().flatten().min()
    }
}

impl State {
    /// Does what can be done next for those who wait: a drone, its lock, the work order.
    pub(super) fn advance(&mut self) {
        let wanted = self.wants_drone();
        let waits = self.drone.retry_at.is_some_and(|at| self.now.elapsed < at);
        if self.wants_another_drone() {
            self.claim();
        } else if wanted && !waits {
            self.drone.retry_at = None;
            match (self.drone.link, self.drone.lock) {
                (None, _) => self.claim(),
                (Some(link), Lock::None) => {
                    self.drone.lock = Lock::Asking;
                    self.ask(link.conn, Command::Lock, Ask::Lock);
                }
                (Some(_), Lock::Asking | Lock::Held) => {}
            }
        }
        if !wanted {
            self.drone.retry_at = None;
        }
        self.dispatch_if_ready();
    }

    fn wants_drone(&self) -> bool {
        let wanted =
            self.tab.holder.is_some() || self.tab.wanted_drone().is_some() || self.turn_wants_drone();
        wanted && !self.drone.dormant && !self.drone.held
    }

    fn claim(&mut self) {
        let another = self.wants_another_drone();
        if self.drone.claiming.is_some() || (self.drone.expected && !another) {
            return;
        }
        let named = self.tab.wanted_drone().filter(|_| another || self.drone.bound.is_none());
        let choice = named.unwrap_or(DroneChoice::Own);
        let ticket = self.asks.ticket();
        self.drone.claiming = Some(Claim { ticket, choice: choice.clone() });
        self.push(Effect::Claim { ticket, choice });
    }

    pub(super) fn claimed(&mut self, ticket: Ticket, drone: Result<ClaimedDrone, Refusal>) {
        let Some(Claim { choice, .. }) = self.drone.claiming.take_if(|claim| claim.ticket == ticket) else {
            return;
        };
        match drone {
            Ok(ClaimedDrone { drone }) => {
                if self.drone.bound.as_ref() != Some(&drone) {
                    self.dismiss_drone();
                }
                self.drone.bound = Some(drone);
                self.drone.expected = self.drone.link.is_none();
                self.advance();
            }
            Err(refusal) if self.drone.is_other_than(&choice) => {
                if self.tab.wanted_drone() == Some(choice) {
                    self.refuse_waiting_take(&refusal);
                }
                self.advance();
            }
            Err(refusal) => {
                let waited = self.drone_refused(&refusal);
                // The next hub finds one.
                if self.turn_wants_drone() && refusal.code != Code::Draining {
                    let words = format!("No drone can be had: {}", refusal.message);
                    self.tell(answer::status(words));
                    self.lose_drone();
                }
                if waited && !self.turn_wants_drone() {
                    // Who asked knows now; a tab that is open anyway asks again by what it does next.
                    self.drone.dormant = true;
                }
                self.retry_drone();
            }
        }
    }

    pub(super) fn hello(
        &mut self,
        conn: ConnId,
        drone: DroneId,
        hello: &Hello,
        generation: u64,
        first: bool,
        answer: Responder,
    ) {
        if self.deleted {
            return self.refuse("hello", answer, &super::no_such_session());
        }
        let this = DroneChoice::This(drone.clone());
        if self.drone.is_other_than(&this) {
            if self.drone.claiming.as_ref().is_none_or(|claim| claim.choice != this) {
                return self.refuse("hello", answer, &dismissed());
            }
            self.dismiss_drone();
        }
        let known = self.drone.link.is_some_and(|link| link.conn == conn);
        let older = self.drone.link.is_some_and(|link| link.generation > generation);
        if older || (!first && !known) {
            return self.refuse("hello", answer, &superseded());
        }
        if !known {
            self.drop_link();
            self.drone.link = Some(Link { conn, generation, since: self.now.wall, paused: false });
            self.drone.bound = Some(drone.clone());
            self.drone.claiming = None;
            self.drone.expected = false;
            self.drone.retry_at = None;
            self.drone.lost_at = None;
            self.drone.dormant = false;
            self.forget_abort_asked();
            self.clocks.worked(self.now.elapsed);
        }
        let locked = hello.lock.as_ref().is_some_and(|lock| lock.chat_session_id == self.id);
        match (locked, self.drone.lock) {
            (true, _) => {
                self.drone.lock = Lock::Held;
                self.clocks.heard(self.now.elapsed);
            }
            // Our own request is on its way: its answer decides.
            (false, Lock::Asking) if known => {}
            (false, _) => self.drone.lock = Lock::None,
        }
        self.set_mode(hello.mode);
        if self.workspace.as_ref() != Some(&hello.workspace_id) {
            self.workspace = Some(hello.workspace_id.clone());
            self.push(Effect::NoteWorkspace { workspace: hello.workspace_id.clone() });
        }
        self.tell_connected(drone.clone(), hello, !known);
        let stored_seq = self.reconcile_turn(hello.turn.as_ref(), !known);
        self.push(Effect::Welcome { answer, drone, generation, locked, stored_seq });
        if locked {
            self.drone_locked();
        }
        if !known {
            self.recover_lost(&hello.pending);
        }
        self.resume_abort();
        self.advance();
    }

    /// The fleet knows that a process runs; that it works is known here.
    fn tell_connected(&mut self, drone: DroneId, hello: &Hello, new_connection: bool) {
        let phase = if self.drone.lock == Lock::Held { DronePhase::Busy } else { DronePhase::Available };
        if !new_connection && self.drone.told.as_ref().is_some_and(|told| told.phase == phase) {
            return;
        }
        let known_restarts = self.drone.told.as_ref().map_or(0, |told| told.restarts);
        let restarted = hello.process_restarts > known_restarts;
        let event = FleetEvent {
            drone,
            phase,
            reason: Some(if restarted { "ProcessRestarted" } else { "Connected" }.to_owned()),
            message: hello.last_exit.filter(|_| restarted).map(answer::exit_words),
            restarts: known_restarts.max(hello.process_restarts),
            since: self.now.wall,
        };
        self.tell(answer::drone_status(&event));
        self.drone.told = Some(event);
    }

    /// The drone's connection is lost. Whatever was asked of it is answered now.
    pub(super) fn drone_gone(&mut self, conn: ConnId) {
        if self.drone.link.is_none_or(|link| link.conn != conn) {
            return;
        }
        self.drop_link();
        if self.turn_lost_drone() {
            if self.drone.is_given_up() {
                self.lose_drone();
            } else {
                self.tell(answer::status("The drone's connection is lost; the turn goes on when it is back"));
            }
        }
        self.advance();
    }

    fn drop_link(&mut self) {
        if self.drone.link.take().is_none() {
            return;
        }
        self.drone.lock = Lock::None;
        self.drone.expected = false;
        for answer in self.log.drop_acks() {
            self.refuse("", answer, &superseded());
        }
        for ask in self.asks.take_all() {
            self.unanswered(ask, Unanswered::Disconnected);
        }
    }

    pub(super) fn fleet(&mut self, event: FleetEvent) {
        if self.drone.bound.as_ref() != Some(&event.drone) || self.is_outdated(&event) {
            return;
        }
        self.tell(answer::drone_status(&event));
        let phase = event.phase;
        let before = self.drone.told.replace(event);
        let worked =
            before.is_some_and(|told| matches!(told.phase, DronePhase::Available | DronePhase::Busy));
        match phase {
            DronePhase::Starting | DronePhase::Recovering | DronePhase::Available | DronePhase::Busy => {
                self.drone.lost_at = None;
            }
            DronePhase::Suspended | DronePhase::Offline if !self.drone.held => {
                self.drone.expected = false;
                // One that ended before it ever connected would be started over and over.
                if worked || phase == DronePhase::Suspended { self.advance() } else { self.retry_drone() }
            }
            DronePhase::Suspended | DronePhase::Offline | DronePhase::Failed => {
                self.drone.expected = false;
                if self.drone.link.is_none() {
                    self.lose_drone();
                }
                // Started again for the next one who asks, not by itself.
                self.drone.dormant = true;
            }
        }
    }

    /// The fleet's news come on a way of their own, and may arrive after the connection of the drone that they announce.
    fn is_outdated(&self, event: &FleetEvent) -> bool {
        self.drone.link.is_some_and(|link| event.since < link.since)
    }

    /// A person has stopped the drone, or lets it run again.
    pub(super) fn hold(&mut self, held: bool) {
        self.drone.held = held;
        if held {
            self.lose_drone();
            self.drone_refused(&super::tab::held());
        } else {
            self.drone.lost_at = None;
            self.drone.wake();
            self.advance();
        }
    }

    /// The drone cannot come back, so far as is known: its turn has not for ever.
    pub(super) fn lose_drone(&mut self) {
        if self.turn.is_some() && self.drone.lost_at.is_none() {
            self.drone.lost_at = Some(self.now.elapsed + self.limits.lost);
        }
    }

    /// Another drone works here now: the one before it is let go.
    fn dismiss_drone(&mut self) {
        if let Some(drone) = self.part_with_drone() {
            self.push(Effect::Dismiss { drone });
        }
    }

    /// Wants nothing more of the drone that works here, if one does, and forgets it.
    pub(super) fn part_with_drone(&mut self) -> Option<DroneId> {
        if let Some(link) = self.drone.link
            && self.drone.lock != Lock::None
        {
            self.ask(link.conn, Command::Release, Ask::Release { answer: None });
        }
        self.drop_link();
        std::mem::take(&mut self.drone).bound
    }

    pub(super) fn lock_answered(&mut self, outcome: Result<(), Refusal>) {
        if self.drone.lock != Lock::Asking {
            return;
        }
        match outcome {
            Ok(()) => {
                self.drone.lock = Lock::Held;
                self.clocks.heard(self.now.elapsed);
                self.drone_locked();
                self.advance();
            }
            Err(refusal) => {
                self.drone.lock = Lock::None;
                let waited = self.drone_refused(&refusal);
                self.retry_drone();
                // Nobody has refused anything.
                let passes = matches!(refusal.code, Code::DroneUnreachable | Code::StoreUnavailable);
                if self.turn_is_waiting() && !passes {
                    self.end_turn(
                        protocol::value::ChatTurnStatus::Error,
                        Some(format!("the drone refused the session: {}", refusal.message)),
                    );
                } else if !waited && !passes {
                    self.tell(answer::status(format!("The drone refused the session: {}", refusal.message)));
                }
            }
        }
    }

    /// Tries again in a while, if anybody still wants it.
    fn retry_drone(&mut self) {
        let at = self.now.elapsed + self.limits.claim_retry;
        self.drone.retry_at = self.wants_drone().then_some(at);
    }

    pub(super) fn set_mode(&mut self, mode: WorkspaceMode) {
        if self.mode != mode {
            self.mode = mode;
            self.tell(answer::mode_changed(mode));
        }
    }

    /// Stops reading from a drone while too much of it waits for the store.
    pub(super) fn regulate(&mut self) {
        let Some(link) = &mut self.drone.link else { return };
        let paused = if link.paused { !self.log.has_room() } else { self.log.is_full() };
        if paused != link.paused {
            link.paused = paused;
            let conn = link.conn;
            self.push(Effect::PauseDrone { conn, paused });
        }
    }

    /// Nobody works here and nobody has for long: the drone may sleep.
    pub(super) fn suspend_idle(&mut self) {
        if let Some(drone) = self.drone.bound.clone() {
            self.drone.dormant = true;
            self.push(Effect::Suspend { drone });
        }
    }

    /// Nobody has been heard for too long: both locks are free again.
    pub(super) fn let_go(&mut self) {
        if let Some(holder) = self.tab.holder.take() {
            self.push(Effect::TabLost { conn: holder.conn });
            let message = "Nothing was heard from this tab for too long: the chat session is free again";
            self.tell_one(holder.conn, answer::tab_lock_denied(message));
        }
        if let Some(link) = self.drone.link
            && self.drone.lock != Lock::None
        {
            self.drone.lock = Lock::None;
            self.ask(link.conn, Command::Release, Ask::Release { answer: None });
        }
    }

    pub(super) fn tick_drone(&mut self) {
        let now = self.now.elapsed;
        if self.drone.lost_at.take_if(|at| *at <= now).is_some() {
            let why = self.drone.told.as_ref().and_then(|told| told.message.clone());
            let why = why.unwrap_or_else(|| "the drone is gone and cannot come back".to_owned());
            self.end_turn(protocol::value::ChatTurnStatus::Error, Some(why));
        }
        if self.drone.retry_at.is_some_and(|at| at <= now) {
            self.drone.retry_at = None;
            self.advance();
        }
    }
}

fn dismissed() -> Refusal {
    Refusal::new(Code::Superseded, "the chat session has another drone")
}

pub(super) fn superseded() -> Refusal {
    Refusal::new(Code::Superseded, "a newer connection of this drone has taken over")
}

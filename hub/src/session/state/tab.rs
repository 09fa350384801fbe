//! The tab lock, and the taking of both locks: a tab and a drone, or neither.
//!
//! One take is under way at a time. It commits at its end, so one that fails, or whose connection vanishes, has
//! changed nothing for the tab that holds the lock meanwhile.

use std::sync::Arc;
use std::time::Duration;

use protocol::error::{Code, Refusal};
use protocol::ide::name;
use protocol::ids::{DroneId, ProjectId};
use serde_json::Value;

use crate::session::ConnId;
use crate::session::responder::Responder;
use crate::session::state::ask::Ask;
use crate::session::state::drone::{Drone, Lock};
use crate::session::state::effect::{Command, DroneChoice, Effect};
use crate::session::state::follow::Pace;
use crate::session::state::input::{AttachAs, Peer};
use crate::session::state::{State, answer};

#[derive(Debug, Default)]
pub(super) struct Tab {
    pub(super) holder: Option<Holder>,
    take: Option<Take>,
    /// Up to where the last holder had been sent events when it vanished: from there on a client goes on that comes
    /// back without saying what it has seen.
    left_at: Option<u64>,
}

/// The connection whose tab is the session's.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) conn: ConnId,
    tab: Option<Arc<str>>,
}

#[derive(Debug)]
pub(super) struct Take {
    pub(super) peer: Peer,
    last_seq: Option<u64>,
    answer: Responder,
    kind: TakeKind,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TakeKind {
    /// `requestSessionLock`.
    Lock { choice: DroneChoice, take_over: bool },
    /// By itself, at connect. The drone is busy with the turn already, or will be.
    Attach,
}

impl TakeKind {
    fn is_for_another(&self, drone: &Drone) -> bool {
        matches!(self, Self::Lock { choice, take_over: _ } if drone.is_other_than(choice))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The holder's connection is looked at until then.
    Probing { until: Duration },
    /// The drone's lock is waited for until then.
    Drone { until: Duration },
}

/// What a lock request names.
#[derive(Debug)]
pub(super) struct LockRequest {
    pub(super) registration: Option<DroneId>,
    pub(super) project: Option<ProjectId>,
    pub(super) take_over: bool,
}

impl Tab {
    pub(super) fn is_held_by(&self, conn: ConnId) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.conn == conn)
    }

    pub(super) fn is_free(&self) -> bool {
        self.holder.is_none() && self.take.is_none()
    }

    pub(super) fn is_being_taken(&self) -> bool {
        self.take.is_some()
    }

    pub(super) fn is_being_taken_by(&self, conn: ConnId) -> bool {
        self.take.as_ref().is_some_and(|take| take.peer.conn == conn)
    }

    /// Who waits for the tab has asked for something else since.
    pub(super) fn note_asked(&mut self, conn: ConnId, asked: u64) {
        if let Some(take) = self.take.as_mut().filter(|take| take.peer.conn == conn) {
            take.peer.asked = take.peer.asked.max(asked);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.take.as_ref().map(|take| match take.step {
            Step::Probing { until } | Step::Drone { until } => until,
        })
    }

    /// Whether a take waits for the drone, and which drone it wants.
    pub(super) fn wanted_drone(&self) -> Option<DroneChoice> {
        self.take.as_ref().and_then(|take| match (&take.kind, take.step) {
            (TakeKind::Lock { choice, take_over: _ }, Step::Drone { until: _ }) => Some(choice.clone()),
            _ => None,
        })
    }
}

impl State {
    pub(super) fn request_lock(
        &mut self,
        peer: Peer,
        last_seq: Option<u64>,
        request: LockRequest,
        answer: Responder,
    ) {
        let LockRequest { registration, project, take_over } = request;
        let choice = registration.map_or(DroneChoice::Own, DroneChoice::This);
        let take = self.new_take(peer, last_seq, TakeKind::Lock { choice, take_over }, answer);
        if project.is_some_and(|project| project != self.project) {
            let refusal = Refusal::new(Code::NotFound, "the chat session is not of this project");
            return self.refuse_take(take, &refusal);
        }
        self.begin_take(take);
    }

    /// A connection comes back by itself; answered with whether it has the tab, and why not.
    pub(super) fn attach(&mut self, peer: Peer, last_seq: Option<u64>, want: AttachAs, answer: Responder) {
        let (conn, asked) = (peer.conn, peer.asked);
        if self.deleted || peer.user != self.user {
            self.push(Effect::Forget { conn, upto: asked });
            return self.answer(answer, vec![false.into(), "over".into()]);
        }
        let processing = self.turn.is_some();
        let last_seq = last_seq.or(self.tab.left_at);
        match want {
            AttachAs::TabOfProcessing if !processing => {
                self.answer(answer, vec![false.into(), "over".into()]);
            }
            AttachAs::TabOfProcessing => {
                let take = self.new_take(peer, last_seq, TakeKind::Attach, answer);
                self.begin_take(take);
            }
            AttachAs::TabOrFollower if processing => {
                // Watching does not wait for the lock, which may take the probe's time.
                self.follow(conn, last_seq, None);
                let take = self.new_take(peer, None, TakeKind::Attach, answer);
                self.begin_take(take);
            }
            AttachAs::TabOrFollower | AttachAs::Follower => {
                self.follow(conn, last_seq, None);
                self.answer(answer, vec![false.into(), "following".into()]);
            }
        }
        self.forget_stranger(conn, asked);
    }

    fn new_take(&self, peer: Peer, last_seq: Option<u64>, kind: TakeKind, answer: Responder) -> Take {
        Take { peer, last_seq, answer, kind, step: Step::Probing { until: self.now.elapsed } }
    }

    fn begin_take(&mut self, mut take: Take) {
        if let Some(other) = self.tab.take.take() {
            if other.peer.conn != take.peer.conn {
                self.tab.take = Some(other);
                return self.refuse_take(take, &tab_locked("is being opened in another tab"));
            }
            self.refuse_take(other, &Refusal::new(Code::Conflict, "asked again before this was decided"));
        }
        let Some(holder) = &self.tab.holder else { return self.take_drone(take) };
        let (conn, same_tab) = (holder.conn, holder.tab.is_some() && holder.tab == take.peer.tab);
        let take_over = matches!(take.kind, TakeKind::Lock { take_over: true, .. });
        if conn == take.peer.conn || take_over {
            self.take_drone(take);
        } else if same_tab {
            // The tab has come back; what is left of its old connection is of no use to anybody.
            self.push(Effect::KillIde { conn });
            self.gone(conn);
            self.take_drone(take);
        } else {
            take.step = Step::Probing { until: self.now.elapsed + self.limits.probe };
            self.tab.take = Some(take);
            // What is sent is what finds out: bytes that nobody acknowledges end a connection that is dead.
            self.push(Effect::Probe { conn, within: self.limits.probe });
            self.tell_one(conn, answer::status("This chat session was asked for in another tab"));
        }
    }

    /// The tab is free for the taking; now its drone.
    fn take_drone(&mut self, mut take: Take) {
        if take.kind == TakeKind::Attach {
            return self.commit_take(take);
        }
        if take.kind.is_for_another(&self.drone) {
            if self.turn.is_some() {
                let refusal = Refusal::new(Code::Busy, "a turn is processing with another drone");
                return self.refuse_take(take, &refusal);
            }
        } else if self.drone.held {
            return self.refuse_take(take, &held());
        } else {
            self.drone.wake();
            if self.drone.is_locked() {
                return self.commit_take(take);
            }
        }
        take.step = Step::Drone { until: self.now.elapsed + self.limits.lock_wait };
        self.tab.take = Some(take);
        self.advance();
    }

    /// Whether a take waits for another drone than the session has. Until that one is sure to come, the session keeps
    /// the one that it has.
    pub(super) fn wants_another_drone(&self) -> bool {
        let waiting = self.tab.take.as_ref().filter(|take| matches!(take.step, Step::Drone { .. }));
        waiting.is_some_and(|take| take.kind.is_for_another(&self.drone))
    }

    /// The drone's lock is there.
    pub(super) fn drone_locked(&mut self) {
        if self.wants_another_drone() {
            return;
        }
        if let Some(take) = self.tab.take.take_if(|take| matches!(take.step, Step::Drone { .. })) {
            self.commit_take(take);
        }
    }

    /// The lock of the session's own drone cannot be had. Says whether anybody was waiting for it.
    pub(super) fn drone_refused(&mut self, refusal: &Refusal) -> bool {
        !self.wants_another_drone() && self.refuse_waiting_take(refusal)
    }

    /// Refuses a take that waits for a drone. Says whether there was one.
    pub(super) fn refuse_waiting_take(&mut self, refusal: &Refusal) -> bool {
        let waiting = self.tab.take.take_if(|take| matches!(take.step, Step::Drone { .. }));
        let waited = waiting.is_some();
        if let Some(take) = waiting {
            self.refuse_take(take, refusal);
        }
        waited
    }

    pub(super) fn refuse_any_take(&mut self, refusal: &Refusal) {
        if let Some(take) = self.tab.take.take() {
            self.refuse_take(take, refusal);
        }
    }

    fn commit_take(&mut self, take: Take) {
        let Take { peer, last_seq, answer, kind, step: _ } = take;
        let before = self.tab.holder.replace(Holder { conn: peer.conn, tab: peer.tab.clone() });
        if let Some(before) = before.filter(|before| before.conn != peer.conn) {
            self.push(Effect::TabLost { conn: before.conn });
            let message = "This chat session was taken over by another tab; this one keeps watching";
            self.tell_one(before.conn, answer::tab_lock_denied(message));
        }
        self.clocks.heard(self.now.elapsed);
        self.push(Effect::TabTaken { conn: peer.conn, by_itself: kind == TakeKind::Attach });
        match kind {
            TakeKind::Lock { .. } => {
                let answered = answer::locked(&self.id, self.drone.bound.as_ref());
                self.answer(answer, answered);
                self.follow(peer.conn, last_seq, None);
            }
            TakeKind::Attach => {
                self.answer(answer, vec![true.into()]);
                self.follow(peer.conn, last_seq, None);
                self.tell_one(
                    peer.conn,
                    answer::status("Re-attached to the chat session whose turn is running"),
                );
            }
        }
        self.introduce(peer.conn);
        self.advance();
    }

    fn refuse_take(&mut self, take: Take, refusal: &Refusal) {
        let Take { peer, last_seq: _, answer, kind, step: _ } = take;
        match kind {
            TakeKind::Lock { .. } => {
                // Before the answer: what its client sends then is for the tab that it has.
                let (conn, holds) = (peer.conn, self.tab.is_held_by(peer.conn));
                let taken = Effect::TabTaken { conn, by_itself: false };
                self.push(if holds { taken } else { Effect::TabLost { conn } });
                self.refuse(name::REQUEST_SESSION_LOCK, answer, refusal);
                if refusal.code == Code::TabLocked {
                    self.tell_one(peer.conn, answer::tab_lock_denied(&refusal.message));
                }
            }
            TakeKind::Attach => self.answer(answer, vec![false.into(), "held".into()]),
        }
        self.forget_stranger(peer.conn, peer.asked);
    }

    /// What a tab must know that has just got the session, or begins to read along.
    pub(super) fn introduce(&mut self, conn: ConnId) {
        self.tell_one(conn, answer::mode_changed(self.mode));
        if let Some(phase) = self.drone.told.clone() {
            self.tell_one(conn, answer::drone_status(&phase));
        }
    }

    pub(super) fn release(&mut self, conn: ConnId, answer: Responder) {
        if !self.tab.is_held_by(conn) {
            return self.refuse(name::RELEASE_SESSION_LOCK, answer, &no_session());
        }
        self.tab.holder = None;
        self.viewers.remove(conn);
        self.push(Effect::TabLost { conn });
        match self.drone.link.as_ref().map(|link| link.conn) {
            Some(link) if self.drone.is_locked() && self.turn.is_none() => {
                self.drone.lock = Lock::None;
                self.ask(link, Command::Release, Ask::Release { answer: Some(answer) });
            }
            // A running turn keeps its drone; one that is away lets go by itself.
            _ => self.answer(answer, answer::done()),
        }
    }

    /// The connection is lost, or not of this session any more.
    pub(super) fn gone(&mut self, conn: ConnId) {
        let viewer = self.viewers.remove(conn);
        if self.tab.is_held_by(conn) {
            self.tab.left_at = viewer.as_ref().map(|viewer| viewer.cursor);
            self.tab.holder = None;
            self.clocks.heard(self.now.elapsed);
        }
        if let Some(Pace::AwaitingTurn { answer, notes: _ }) = viewer.map(|viewer| viewer.pace) {
            self.answer(answer, vec![false.into(), Value::Null]);
        }
        let Some(take) = self.tab.take.take() else { return };
        match take.step {
            _ if take.peer.conn == conn => {
                self.refuse_take(take, &Refusal::new(Code::Conflict, "the connection was lost"));
            }
            Step::Probing { .. } if self.tab.holder.is_none() => self.take_drone(take),
            Step::Probing { .. } | Step::Drone { .. } => self.tab.take = Some(take),
        }
    }

    /// The holder's tab has opened another session: its lock here is free, and it watches here no more.
    pub(super) fn tab_moved(&mut self, conn: ConnId, asked: u64) {
        if self.tab.is_held_by(conn) {
            self.gone(conn);
        }
        self.forget_stranger(conn, asked);
    }

    /// The connection has asked for another session: it must not get this one, to which it was coming back.
    pub(super) fn withdraw(&mut self, conn: ConnId) {
        let is_meant = |take: &mut Take| take.peer.conn == conn && take.kind == TakeKind::Attach;
        if let Some(Take { answer, peer, .. }) = self.tab.take.take_if(is_meant) {
            self.answer(answer, vec![false.into(), "over".into()]);
            self.forget_stranger(conn, peer.asked);
        }
    }

    pub(super) fn tick_tab(&mut self) {
        let now = self.now.elapsed;
        let due = self.tab.take.take_if(|take| match take.step {
            Step::Probing { until } | Step::Drone { until } => until <= now,
        });
        let Some(take) = due else { return };
        match take.step {
            Step::Probing { .. } => self.refuse_take(take, &tab_locked("is open in another tab")),
            Step::Drone { .. } if take.kind.is_for_another(&self.drone) => {
                let words = "the drone cannot be had now; the chat session keeps the one that it has";
                self.refuse_take(take, &Refusal::new(Code::NoDrone, words));
            }
            Step::Drone { .. } => {
                let conn = take.peer.conn;
                self.commit_take(take);
                self.tell_one(conn, answer::status("The drone is still on its way"));
            }
        }
    }
}

pub(super) fn no_session() -> Refusal {
    Refusal::new(Code::NoSession, "this tab holds no chat session; ask for its lock first")
}

pub(super) fn held() -> Refusal {
    Refusal::new(Code::Suspended, "the drone was stopped by a person; resume it to go on")
}

fn tab_locked(what: &str) -> Refusal {
    Refusal::new(Code::TabLocked, format!("the chat session {what}; follow it, or take it over"))
}

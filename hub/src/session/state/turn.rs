//! The turn that is processing: stored, held until the drone is there, sent, running, ended. One at a time.

use std::time::Duration;

use jiff::Timestamp;
use protocol::drone::HelloTurn;
use protocol::error::{Code, Refusal};
use protocol::event::{DroneMeta, EventName, RawEvent, TurnEvent};
use protocol::ide::name;
use protocol::ids::{DroneId, TurnId};
use protocol::value::{ChatTurnStatus, WorkspaceMode};

use crate::session::ConnId;
use crate::session::responder::Responder;
use crate::session::state::abort::Abort;
use crate::session::state::ask::Ask;
use crate::session::state::effect::{Dispatch, Effect, NewTurn};
use crate::session::state::tab::{held, no_session};
use crate::session::state::tally::Tally;
use crate::session::state::{State, answer};
use crate::store::{TurnEnd, TurnRecord};

#[derive(Debug)]
pub(super) struct Turn {
    pub(super) id: TurnId,
    pub(super) phase: Phase,
    created_at: Timestamp,
    /// For the session's name.
    prompt: String,
    /// The number before its first event.
    seq_before: u64,
    /// The drone for which the head of the first attempt was stored with the turn.
    stored_for: Option<DroneId>,
    /// Of the newest sending; 0: not yet sent.
    pub(super) attempt: u32,
    /// Attempts in a row that added nothing.
    pub(super) barren: u32,
    /// Of the connection that the newest attempt was sent on.
    generation: u64,
    pub(super) abort: Option<Abort>,
    /// Its drone still ends what it did before, and is waited for until then.
    busy_until: Option<Duration>,
    tally: Tally,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// On its way into the store; who submitted it waits.
    Storing { answer: Responder },
    /// Stored, and not with the drone.
    Held { not_before: Option<Duration> },
    /// On its way to the drone.
    Dispatching,
    /// With the drone.
    Running,
    /// With a drone that is not connected.
    Away { until: Duration },
    /// The drone is connected and does not have it; it may yet ask for recovery. `counted`: that attempt is known to be
    /// dead already, and has been judged.
    Recovering { until: Duration, counted: bool },
    /// Over; its last event is on the way into the store. `by_hub`: the drone did not say so.
    Ending { by_hub: bool },
}

/// How long a turn that was left behind waits for its drone, and for its stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restored {
    pub(super) away: Duration,
    pub(super) abort: Duration,
}

impl Turn {
    /// A turn that a hub before this one left behind. `tally`: of what is stored of it.
    pub(super) fn restored(record: &TurnRecord, tally: Tally, until: Restored) -> Self {
        let Restored { away: away_until, abort: abort_until } = until;
        let phase = if record.attempts == 0 {
            Phase::Held { not_before: None }
        } else {
            Phase::Away { until: away_until }
        };
        Self {
            id: record.id.clone(),
            phase,
            created_at: record.created_at,
            prompt: record.prompts.user.clone(),
            seq_before: record.seq_before,
            stored_for: None,
            attempt: record.attempts,
            barren: record.barren_attempts,
            generation: 0,
            abort: record.abort_requested.then(|| Abort::until(abort_until)),
            busy_until: None,
            tally,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let phase = match &self.phase {
            Phase::Held { not_before } => *not_before,
            Phase::Away { until } | Phase::Recovering { until, counted: _ } => Some(*until),
            Phase::Storing { .. } | Phase::Dispatching | Phase::Running | Phase::Ending { .. } => None,
        };
        let ending = matches!(self.phase, Phase::Ending { .. });
        let abort = self.abort.as_ref().map(|abort| abort.until).filter(|_| !ending);
        [phase, abort].into_iter().flatten().min()
    }
}

impl State {
    pub(super) fn submit(&mut self, conn: ConnId, prompt: String, answer: Responder) {
        let refusal = if !self.tab.is_held_by(conn) {
            no_session()
        } else if self.turn.is_some() {
            Refusal::new(Code::Busy, "a turn is processing; wait for it, or abort it")
        } else if self.drone.held {
            held()
        } else if self.wants_another_drone() || self.drone.is_being_replaced() {
            Refusal::new(Code::Busy, "the chat session is given another drone; try again in a moment")
        } else if self.mode == WorkspaceMode::User {
            Refusal::new(Code::Mode, "the workspace is in user mode; leave it before the agent can work")
        } else {
            let id = TurnId::generate();
            let drone = self.drone.bound.clone().filter(|_| self.is_ready_for_work());
            self.turn = Some(Turn {
                id: id.clone(),
                phase: Phase::Storing { answer },
                created_at: self.now.wall,
                prompt: prompt.clone(),
                seq_before: self.log.last(),
                stored_for: drone.clone(),
                attempt: 0,
                barren: 0,
                generation: 0,
                abort: None,
                busy_until: None,
                tally: Tally::default(),
            });
            self.clocks.worked(self.now.elapsed);
            let seq_before = self.log.last();
            self.push(Effect::StoreTurn(NewTurn { turn: id, prompt, seq_before, drone }));
            return;
        };
        self.refuse(name::SUBMIT_PROMPT, answer, &refusal);
    }

    pub(super) fn turn_stored(&mut self, id: &TurnId, stored: Result<Box<TurnRecord>, Refusal>) {
        let Some(mut turn) = self.turn.take_if(|turn| turn.id == *id) else { return };
        let Phase::Storing { answer } = std::mem::replace(&mut turn.phase, Phase::Held { not_before: None })
        else {
            self.turn = Some(turn);
            return;
        };
        match stored {
            Ok(record) => {
                turn.created_at = record.created_at;
                let aborted = turn.abort.is_some();
                self.newest_from = turn.seq_before;
                self.push(Effect::NameSession { prompt: turn.prompt.clone() });
                self.turn = Some(turn);
                self.answer(answer, answer::submitted(id));
                if aborted {
                    return self.end_aborted();
                }
                self.drone.wake();
                self.advance();
            }
            Err(refusal) => self.refuse(name::SUBMIT_PROMPT, answer, &refusal),
        }
    }

    /// Whether a turn needs a drone now.
    pub(super) fn turn_wants_drone(&self) -> bool {
        self.turn
            .as_ref()
            .is_some_and(|turn| !matches!(turn.phase, Phase::Storing { .. } | Phase::Ending { .. }))
    }

    /// Whether a turn waits to be sent.
    pub(super) fn turn_is_waiting(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| matches!(turn.phase, Phase::Held { .. }))
    }

    /// Whether the drone can be sent a turn now. Its first number follows the last stored one, so nothing may be on its way
    /// into the store.
    fn is_ready_for_work(&self) -> bool {
        self.drone.is_locked() && self.mode != WorkspaceMode::Syncing && self.log.is_settled()
    }

    pub(super) fn dispatch_if_ready(&mut self) {
        let Some(turn) = &self.turn else { return };
        let Phase::Held { not_before } = &turn.phase else { return };
        let due = not_before.is_none_or(|at| at <= self.now.elapsed);
        let ready = due && self.is_ready_for_work();
        let (Some(link), Some(drone), true) = (self.drone.link, self.drone.bound.clone(), ready) else {
            return;
        };
        let Some(turn) = &mut self.turn else { return };
        let attempt = turn.attempt + 1;
        let ticket = self.asks.open(self.now.elapsed + self.limits.dispatch, Ask::Dispatch { attempt });
        turn.attempt = attempt;
        turn.generation = link.generation;
        turn.phase = Phase::Dispatching;
        let dispatch = Dispatch {
            ticket,
            conn: link.conn,
            generation: link.generation,
            turn: turn.id.clone(),
            attempt,
            barren_attempts: turn.barren,
            first_seq: self.log.last() + 1,
            is_stored: attempt == 1 && turn.stored_for.as_ref() == Some(&drone),
            drone,
        };
        self.push(Effect::Dispatch(dispatch));
    }

    pub(super) fn dispatch_answered(&mut self, attempt: u32, outcome: Result<(), Refusal>) {
        let Some(turn) = &mut self.turn else { return };
        if turn.attempt != attempt || !matches!(turn.phase, Phase::Dispatching) {
            return;
        }
        match outcome {
            Ok(()) => {
                turn.phase = Phase::Running;
                turn.busy_until = None;
                self.resume_abort();
            }
            // Nothing was sent.
            Err(refusal) if refusal.code == Code::StoreUnavailable => self.send_again(attempt),
            // It still ends what it did before, and has taken nothing on.
            Err(refusal) if refusal.code == Code::Busy => {
                let until = *turn.busy_until.get_or_insert(self.now.elapsed + self.limits.busy);
                if self.now.elapsed < until { self.send_again(attempt) } else { self.end_refused(&refusal) }
            }
            Err(refusal) if refusal.code == Code::DroneUnreachable => {
                // Nobody knows whether the drone has it. It says so when it comes back.
                turn.phase = Phase::Away { until: self.now.elapsed + self.limits.away };
                if let Some(link) = self.drone.link {
                    self.push(Effect::KillDrone { conn: link.conn });
                }
            }
            Err(refusal) => self.end_refused(&refusal),
        }
    }

    fn end_refused(&mut self, refusal: &Refusal) {
        let words = format!("the drone refused the work order: {}", refusal.message);
        self.end_turn(ChatTurnStatus::Error, Some(words));
    }

    /// An attempt that did not begin is made again in a moment.
    fn send_again(&mut self, attempt: u32) {
        let Some(turn) = &mut self.turn else { return };
        turn.attempt = attempt - 1;
        turn.phase = Phase::Held { not_before: Some(self.now.elapsed + self.limits.retry) };
        if turn.abort.is_some() {
            self.end_aborted();
        }
    }

    /// What the drone said at its connect about the turn in it. Answers the number from which it replays; `None`: that
    /// turn is not wanted any more.
    pub(super) fn reconcile_turn(&mut self, told: Option<&HelloTurn>, new_connection: bool) -> Option<u64> {
        let stored = self.log.stored();
        let turn = self.turn.as_mut()?;
        let same = told.is_some_and(|told| told.turn_id == turn.id && told.attempt == turn.attempt);
        let until = self.now.elapsed + self.limits.recovery;
        match turn.phase {
            Phase::Ending { by_hub: false } => same.then_some(stored),
            // It crashed again before the next attempt was sent, and asks again what to do with the one before.
            Phase::Held { .. } if new_connection && turn.attempt > 0 => {
                turn.phase = Phase::Recovering { until, counted: true };
                None
            }
            Phase::Storing { .. } | Phase::Held { .. } | Phase::Ending { by_hub: true } => None,
            Phase::Dispatching | Phase::Running | Phase::Away { .. } | Phase::Recovering { .. } => {
                if same {
                    turn.phase = Phase::Running;
                    self.doubtful_above = None;
                    Some(stored)
                } else {
                    if new_connection {
                        let counted = matches!(turn.phase, Phase::Recovering { counted: true, .. });
                        turn.phase = Phase::Recovering { until, counted };
                    }
                    None
                }
            }
        }
    }

    /// The drone's connection is lost. Says whether a turn was with it.
    pub(super) fn turn_lost_drone(&mut self) -> bool {
        let until = self.now.elapsed + self.limits.away;
        let Some(turn) = &mut self.turn else { return false };
        match turn.phase {
            Phase::Running | Phase::Dispatching | Phase::Recovering { .. } => {
                turn.phase = Phase::Away { until };
                true
            }
            Phase::Storing { .. } | Phase::Held { .. } | Phase::Away { .. } | Phase::Ending { .. } => false,
        }
    }

    pub(super) fn turn_event(&mut self, conn: ConnId, event: RawEvent, meta: &DroneMeta, answer: Responder) {
        match self.judge(conn, &event, meta) {
            Ok(Verdict::Take { end }) => self.take_event(event, answer, end),
            Ok(Verdict::Stored) => self.push(Effect::Answer(answer, answer::done())),
            Ok(Verdict::OnItsWay) => self.log.await_again(meta.seq, answer),
            Err(refusal) => self.refuse(event.name.as_str(), answer, &refusal),
        }
    }

    fn judge(&mut self, conn: ConnId, event: &RawEvent, meta: &DroneMeta) -> Result<Verdict, Refusal> {
        if self.drone.link.is_none_or(|link| link.conn != conn) {
            return Err(super::drone::superseded());
        }
        if meta.seq <= self.log.stored() {
            return Ok(Verdict::Stored);
        }
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.id == meta.turn_id) else {
            return Err(Refusal::new(Code::NoTurn, "this turn is over or unknown"));
        };
        if meta.attempt != turn.attempt || meta.generation < turn.generation {
            return Err(Refusal::new(Code::Superseded, "this is not of the newest attempt"));
        }
        if meta.seq <= self.log.last() {
            return Ok(Verdict::OnItsWay);
        }
        match turn.phase {
            Phase::Running => {}
            // Its answer is still on the way; that it works says the same.
            Phase::Dispatching => turn.phase = Phase::Running,
            Phase::Storing { .. }
            | Phase::Held { .. }
            | Phase::Away { .. }
            | Phase::Recovering { .. }
            | Phase::Ending { .. } => {
                return Err(Refusal::new(Code::NoTurn, "this turn is not with the drone"));
            }
        }
        let expected = self.log.last() + 1;
        if meta.seq != expected {
            return Err(Refusal::new(
                Code::Conflict,
                format!("number {} leaves a gap, {expected} is expected", meta.seq),
            ));
        }
        turn.tally.count(event, self.now.wall)?;
        if event.name != EventName::WorkOrderComplete {
            return Ok(Verdict::Take { end: None });
        }
        let TurnEvent::WorkOrderComplete { turn_id, status, message } = event.parse()? else {
            return Err(Refusal::new(Code::Invalid, "not a completion"));
        };
        if turn_id != turn.id {
            return Err(Refusal::new(Code::Invalid, "the completion is of another turn"));
        }
        let error_message = message.filter(|_| status == ChatTurnStatus::Error);
        Ok(Verdict::Take { end: Some((status, error_message)) })
    }

    fn take_event(
        &mut self,
        event: RawEvent,
        answer: Responder,
        end: Option<(ChatTurnStatus, Option<String>)>,
    ) {
        let end = end.and_then(|(status, message)| self.turn_end(status, message));
        if end.is_some()
            && let Some(turn) = &mut self.turn
        {
            turn.phase = Phase::Ending { by_hub: false };
        }
        self.append(event, Some(answer), end);
    }

    /// Ends the turn by the hub's own decision.
    pub(super) fn end_turn(&mut self, status: ChatTurnStatus, message: Option<String>) {
        let Some(turn) = &mut self.turn else { return };
        if matches!(turn.phase, Phase::Ending { .. } | Phase::Storing { .. }) {
            return;
        }
        let told =
            TurnEvent::WorkOrderComplete { turn_id: turn.id.clone(), status, message: message.clone() };
        // Three plain values: they always serialise.
        let Ok(event) = told.to_raw() else { return };
        let with_drone = matches!(turn.phase, Phase::Running | Phase::Dispatching);
        turn.phase = Phase::Ending { by_hub: true };
        self.drone.lost_at = None;
        let error_message = message.filter(|_| status == ChatTurnStatus::Error);
        let end = self.turn_end(status, error_message);
        self.append(event, None, end);
        if let Some(link) = self.drone.link.filter(|_| with_drone) {
            // It comes back, hears that nobody wants the turn, and drops it.
            self.push(Effect::KillDrone { conn: link.conn });
        }
    }

    fn turn_end(&self, status: ChatTurnStatus, error_message: Option<String>) -> Option<TurnEnd> {
        self.turn.as_ref().map(|turn| TurnEnd {
            turn: turn.id.clone(),
            status,
            error_message,
            stats: turn.tally.finish(turn.created_at, self.now.wall),
            ended_at: self.now.wall,
        })
    }

    /// The turn's end is stored: now it may be seen.
    pub(super) fn turn_ended(&mut self, seq: u64) {
        self.turn = None;
        self.doubtful_above = None;
        self.drone.lost_at = None;
        self.clocks.worked(self.now.elapsed);
        self.clocks.heard(self.now.elapsed);
        if let Some(completion) = self.ring.range(seq - 1, seq).pop() {
            self.show(completion);
        }
        self.advance();
    }

    pub(super) fn tick_turn(&mut self) {
        let now = self.now.elapsed;
        let Some(turn) = &mut self.turn else { return };
        if matches!(turn.phase, Phase::Ending { .. }) {
            return;
        }
        if turn.abort.as_ref().is_some_and(|abort| abort.until <= now) {
            return self.end_aborted();
        }
        match &mut turn.phase {
            Phase::Held { not_before } if not_before.is_some_and(|at| at <= now) => {
                *not_before = None;
                self.advance();
            }
            Phase::Away { until } if *until <= now => {
                let words = "the drone did not come back; what it had done is kept".to_owned();
                self.end_turn(ChatTurnStatus::Error, Some(words));
            }
            Phase::Recovering { until, counted: _ } if *until <= now => self.recover(0),
            _ => {}
        }
    }
}

enum Verdict {
    Take {
        end: Option<(ChatTurnStatus, Option<String>)>,
    },
    /// Sent again, and stored already.
    Stored,
    /// Sent again while the first is on its way into the store.
    OnItsWay,
}

//! Stopping a turn: the wish is stored first, so that it survives the hub; then the drone is asked, now or when it is
//! back; and after a bounded time the turn is over whatever the drone does.

use std::time::Duration;

use protocol::error::{Code, Refusal};
use protocol::ide::name;
use protocol::value::ChatTurnStatus;

use crate::session::ConnId;
use crate::session::responder::Responder;
use crate::session::state::ask::Ask;
use crate::session::state::effect::{Command, Effect};
use crate::session::state::tab::no_session;
use crate::session::state::turn::Phase;
use crate::session::state::{State, answer};
use crate::store::TurnPatch;

/// The wish to stop.
#[derive(Debug)]
pub(super) struct Abort {
    /// The turn is over then.
    pub(super) until: Duration,
    /// The drone has been asked on its present connection.
    asked: bool,
}

impl Abort {
    pub(super) fn until(until: Duration) -> Self {
        Self { until, asked: false }
    }
}

impl State {
    pub(super) fn abort(&mut self, conn: ConnId, answer: Responder) {
        let until = self.now.elapsed + self.limits.abort;
        let Some(turn) = self.turn.as_mut().filter(|turn| !matches!(turn.phase, Phase::Ending { .. })) else {
            let refusal = Refusal::new(Code::NoTurn, "no turn is processing");
            return self.refuse(name::ABORT_WORK_ORDER, answer, &refusal);
        };
        if !self.tab.is_held_by(conn) {
            return self.refuse(name::ABORT_WORK_ORDER, answer, &no_session());
        }
        let again = turn.abort.is_some();
        turn.abort.get_or_insert_with(|| Abort::until(until));
        let id = turn.id.clone();
        match turn.phase {
            Phase::Storing { .. } => self.answer(answer, answer::said(true, "stopped before it began")),
            Phase::Held { .. } => {
                self.answer(answer, answer::said(true, "stopped before it began"));
                self.end_aborted();
            }
            _ => {
                if !again {
                    let patch = TurnPatch { abort_requested: Some(true), ..TurnPatch::default() };
                    self.push(Effect::PatchTurn { turn: id, patch });
                }
                self.ask_to_abort(Some(answer));
            }
        }
    }

    /// The turn is with a drone that can hear: a wish to stop it that it has not heard is told now.
    pub(super) fn resume_abort(&mut self) {
        let running = self.turn.as_ref().filter(|turn| matches!(turn.phase, Phase::Running));
        if running.is_some_and(|turn| turn.abort.is_some()) {
            self.ask_to_abort(None);
        }
    }

    fn ask_to_abort(&mut self, answer: Option<Responder>) {
        let link = self.drone.link.map(|link| link.conn);
        let Some(turn) = &mut self.turn else { return };
        let asked = turn.abort.as_ref().is_some_and(|abort| abort.asked);
        match (&turn.phase, link) {
            (Phase::Running, Some(conn)) if !asked || answer.is_some() => {
                if let Some(abort) = &mut turn.abort {
                    abort.asked = true;
                }
                self.ask(conn, Command::Abort, Ask::Abort { answer });
            }
            _ => {
                if let Some(answer) = answer {
                    self.answer(answer, answer::said(true, "it stops as soon as the drone can be reached"));
                }
            }
        }
    }

    /// A new connection has heard nothing yet.
    pub(super) fn forget_abort_asked(&mut self) {
        if let Some(abort) = self.turn.as_mut().and_then(|turn| turn.abort.as_mut()) {
            abort.asked = false;
        }
    }

    pub(super) fn end_aborted(&mut self) {
        self.end_turn(ChatTurnStatus::Aborted, Some("aborted".to_owned()));
    }
}

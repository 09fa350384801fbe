//! What becomes of a turn whose drone came back without it: the work order is sent again as the next attempt, to the
//! same workspace, unless nobody wants the turn or attempt after attempt adds nothing.

use protocol::drone::{CrashRecoveryRequest, CrashRecoveryResponse, HelloPending};
use protocol::ids::TurnId;
use protocol::value::{ChatTurnStatus, RecoveryAction};

use crate::session::ConnId;
use crate::session::state::effect::{Command, Effect};
use crate::session::state::turn::Phase;
use crate::session::state::{State, answer};

impl State {
    /// The drone found a work order of an earlier life.
    pub(super) fn recovery_asked(&mut self, conn: ConnId, request: &CrashRecoveryRequest) {
        if self.drone.link.is_none_or(|link| link.conn != conn) {
            return;
        }
        let turn = self
            .turn
            .as_ref()
            .filter(|turn| turn.id == request.turn_id && request.chat_session_id == self.id);
        match turn.map(|turn| &turn.phase) {
            Some(Phase::Recovering { .. }) => self.recover(request.progress),
            // The next attempt is on its way or still to come.
            Some(Phase::Held { .. } | Phase::Dispatching) => {
                self.answer_recovery(request.turn_id.clone(), RecoveryAction::Retry, None);
            }
            // It said that it has the turn, and now that it lost it: let it come back and say what is true.
            Some(Phase::Running) => self.push(Effect::KillDrone { conn }),
            Some(Phase::Storing { .. } | Phase::Away { .. } | Phase::Ending { .. }) | None => {
                self.answer_recovery(request.turn_id.clone(), RecoveryAction::Discard, None);
            }
        }
    }

    /// The drone has connected and waits for its work. An attempt that is neither in it nor on its disk was lost on the way:
    /// nobody will ask for its recovery.
    pub(super) fn recover_lost(&mut self, pending: &HelloPending) {
        let Some(turn) = self.turn.as_ref().filter(|turn| matches!(turn.phase, Phase::Recovering { .. }))
        else {
            return;
        };
        let is_lost = match pending {
            HelloPending::Untold => false,
            HelloPending::Nothing => true,
            HelloPending::Turn(found) => found.turn_id != turn.id || found.attempt != turn.attempt,
        };
        if is_lost {
            self.recover(0);
        }
    }

    /// The newest attempt is dead; it added `progress` records to the journal.
    pub(super) fn recover(&mut self, progress: u64) {
        let Some(turn) = &mut self.turn else { return };
        let id = turn.id.clone();
        if !matches!(turn.phase, Phase::Recovering { counted: true, .. }) {
            turn.barren = if progress == 0 { turn.barren + 1 } else { 0 };
        }
        let barren = turn.barren;
        if turn.abort.is_some() {
            self.answer_recovery(id, RecoveryAction::Discard, None);
            return self.end_recovered(ChatTurnStatus::Aborted, "aborted".to_owned());
        }
        if barren >= self.limits.barren_attempts {
            self.answer_recovery(id, RecoveryAction::Discard, None);
            let words = format!("the drone crashed {barren} times in a row without getting any further");
            return self.end_recovered(ChatTurnStatus::Error, words);
        }
        // Once is an accident, more often is a pattern.
        let wait = (barren > 1).then(|| self.limits.retry * 2_u32.saturating_pow(barren - 2));
        turn.phase = Phase::Held { not_before: wait.map(|wait| self.now.elapsed + wait) };
        let attempt = turn.attempt + 1;
        let delay = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self.answer_recovery(id, RecoveryAction::Retry, delay);
        self.tell(answer::status(format!(
            "The drone crashed and is back; the turn goes on (attempt {attempt})"
        )));
        self.advance();
    }

    /// The drone does not have the turn, so there is no connection to end.
    fn end_recovered(&mut self, status: ChatTurnStatus, message: String) {
        if let Some(turn) = &mut self.turn {
            turn.phase = Phase::Held { not_before: None };
        }
        self.end_turn(status, Some(message));
    }

    fn answer_recovery(&mut self, turn_id: TurnId, action: RecoveryAction, retry_delay: Option<u64>) {
        if let Some(link) = self.drone.link {
            let ticket = self.asks.ticket();
            let response = CrashRecoveryResponse { turn_id, action, retry_delay };
            self.push(Effect::Command { ticket, conn: link.conn, command: Command::Recovery(response) });
        }
    }
}

//! Hello and what follows from its answer: who is newest, what the hub has stored, what becomes of a crashed turn.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use protocol::drone::{
    CrashRecoveryRequest, CrashRecoveryResponse, Hello, HelloAck, HelloLock, PendingTurn, name,
};
use protocol::value::{LogLevel, RecoveryAction};
use tokio::time::Instant;

use super::Drone;
use super::running::RunningTurn;
use crate::session_token::SessionToken;
use crate::turn::{self, Interrupted, Wish};
use crate::workspace::document::WorkOrderDocument;
use crate::workspace::hostname;

/// A hello that failed is said again after so long, and after ever longer up to the most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A session token is renewed so long before it expires, or at half of a short life.
const RENEW_BEFORE: Duration = Duration::from_mins(1);
/// How often to look at the clock on the wall meanwhile.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(30);

impl Drone {
    pub(super) fn say_hello(&mut self) {
        let document = self.workspace.document();
        let lock = match (&document.chat_session, &document.locked_project) {
            (Some(session), Some(project)) => {
                Some(HelloLock { chat_session_id: session.id.clone(), project_id: project.id.clone() })
            }
            _ => None,
        };
        let turn = self.turn.as_ref().map(RunningTurn::hello);
        self.hello_turn.clone_from(&turn);
        self.hello_again = None;
        self.renewal = None;
        self.link.hello(Hello {
            workspace_id: document.workspace_id.clone(),
            lock,
            mode: self.mode,
            turn,
            pending: self.interrupted.as_ref().map(pending).into(),
            process_restarts: self.config.process_restarts,
            last_exit: self.config.last_exit,
            hostname: hostname(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
    }

    pub(super) async fn welcomed(&mut self, ack: HelloAck) {
        let HelloAck { generation, session_token, expires_at, stored_seq } = ack;
        tracing::info!(generation, "the hub knows this drone");
        self.generation.store(generation, Ordering::Relaxed);
        self.hello_failures = 0;
        self.token.put(session_token.as_deref().map(SessionToken::new));
        self.renewal = expires_at.map(|expires_at| renewal(expires_at, Timestamp::now()));
        let was_away = self.away_since.take().is_some();
        if was_away {
            // Nobody could be heard meanwhile.
            self.last_heartbeat = Instant::now();
        }
        self.online.send_replace(true);
        let told = self.hello_turn.take();
        if let Some(turn) = &self.turn {
            match (told, stored_seq) {
                (Some(told), None) if told.turn_id == *turn.id() => {
                    tracing::info!(turn = %told.turn_id, "the hub does not want the turn any more");
                    self.link.stop_sending();
                    turn.ask(Wish::Drop);
                    if turn.has_ended() {
                        self.forget_turn();
                    }
                }
                (_, stored_seq) => {
                    if let Some(stored) = stored_seq {
                        turn.outbox.stored(stored);
                    }
                    if !self.link.is_sending() {
                        turn.outbox.rewind();
                        self.send_events();
                    }
                }
            }
        } else {
            self.ask_for_recovery().await;
        }
    }

    pub(super) fn hello_failed(&mut self, why: &str) {
        tracing::warn!(why, "the hub did not take the hello");
        self.hello_turn = None;
        self.hello_soon();
    }

    pub(super) fn hello_soon(&mut self) {
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.hello_failures)).min(LONGEST_PAUSE);
        self.hello_failures = self.hello_failures.saturating_add(1);
        self.hello_again = Some(Instant::now() + pause);
    }

    /// The hub has refused the newest session token.
    pub(super) fn renew_token(&mut self) {
        // Else the next connection brings one.
        if self.is_online() {
            tracing::info!("the hub does not take the session token any more: it is renewed");
            self.say_hello();
        }
    }

    pub(super) fn is_renewal_due(&self) -> bool {
        self.renewal.is_some_and(|at| at <= Timestamp::now())
    }

    /// When to look whether it is.
    pub(super) fn renewal_look(&self) -> Option<Instant> {
        let left = self.renewal?.duration_since(Timestamp::now());
        Some(Instant::now() + Duration::try_from(left).unwrap_or_default().min(LOOK_AT_CLOCK))
    }

    /// Asks what becomes of the turn that an earlier process was in when it died.
    async fn ask_for_recovery(&self) {
        let Some(order) = &self.interrupted else { return };
        let found = turn::interrupted(self.workspace.paths(), &order.turn_id).await;
        let found = found.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "failed to read an interrupted turn");
            Interrupted::default()
        });
        let Interrupted { is_resumable, last_seq, progress } = found;
        tracing::info!(turn = %order.turn_id, progress, "found a turn that was interrupted");
        self.log(LogLevel::Warn, "Started again in the middle of a turn");
        self.link.announce(
            name::REQUEST_CRASH_RECOVERY,
            &(CrashRecoveryRequest {
                workspace_id: self.workspace.document().workspace_id.clone(),
                turn_id: order.turn_id.clone(),
                chat_session_id: order.chat_session_id.clone(),
                resumable: is_resumable,
                last_seq,
                progress,
            },),
        );
    }

    pub(super) async fn recovery(&mut self, response: &CrashRecoveryResponse) {
        let is_ours = self.interrupted.as_ref().is_some_and(|order| order.turn_id == response.turn_id);
        // For `retry` the work order comes again; until then everything stays.
        if response.action == RecoveryAction::Discard && is_ours {
            tracing::info!(turn = %response.turn_id, "the hub does not want the interrupted turn any more");
            self.interrupted = None;
            self.stop_jobs().await;
            self.remove_work_order();
        }
    }
}

fn pending(order: &WorkOrderDocument) -> PendingTurn {
    PendingTurn { turn_id: order.turn_id.clone(), attempt: order.attempt }
}

/// When a token that expires at `expires_at` is to be renewed.
fn renewal(expires_at: Timestamp, now: Timestamp) -> Timestamp {
    let left = Duration::try_from(expires_at.duration_since(now)).unwrap_or_default();
    let good_for = left.saturating_sub(RENEW_BEFORE).max(left / 2).max(Duration::from_secs(1));
    now.saturating_add(SignedDuration::try_from(good_for).unwrap_or(SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_a_minute_before_it_expires_and_a_short_one_at_half_its_life() {
        let now = Timestamp::UNIX_EPOCH;
        let left = |seconds: i64| {
            renewal(now + SignedDuration::from_secs(seconds), now).duration_since(now).as_secs()
        };
        assert_eq!(left(3600), 3540);
        assert_eq!(left(40), 20);
        assert_eq!(left(-5), 1);
    }
}

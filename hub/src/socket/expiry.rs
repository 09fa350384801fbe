//! A connection outlives no token: the client is warned a minute before, may renew it, and is ended after a grace.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use protocol::ide::name;
use serde_json::json;
use tokio::sync::watch;

use crate::app::SharedApp;
use crate::socket::frame::Frame;
use crate::socket::ide::IdeConn;

const WARNED_BEFORE: Duration = Duration::from_mins(1);
const GRACE: Duration = Duration::from_secs(30);
/// Timers do not see the wall clock jump, so it is looked at this often.
const LONGEST_SLEEP: Duration = Duration::from_mins(5);

/// When a connection's token ends.
#[derive(Debug)]
pub(super) struct Expiry {
    /// `None`: the connection is gone.
    at: watch::Sender<Option<Timestamp>>,
}

/// What is due now, or when to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Wait(Duration),
    Warn,
    End,
}

impl Expiry {
    pub(super) fn new(at: Timestamp) -> Self {
        Self { at: watch::Sender::new(Some(at)) }
    }

    pub(super) fn renew(&self, at: Timestamp) {
        self.at.send_if_modified(|known| known.is_some() && known.replace(at) != Some(at));
    }

    pub(super) fn end(&self) {
        self.at.send_replace(None);
    }
}

/// Watches one connection until it is gone.
pub(super) async fn watch(app: SharedApp, conn: Arc<IdeConn>) {
    let mut at = conn.expiry.at.subscribe();
    let mut warned_of = None;
    loop {
        let Some(expires_at) = *at.borrow_and_update() else { return };
        let wait = match due(expires_at, Timestamp::now(), warned_of == Some(expires_at)) {
            Due::Wait(wait) => wait,
            Due::Warn => {
                warned_of = Some(expires_at);
                let frame = Frame::built(vec![json!({ "expiresAt": expires_at })]);
                conn.outbox.event(name::AUTH_EXPIRING, frame);
                continue;
            }
            Due::End => {
                tracing::info!(user = %conn.user, "ended a connection whose token has expired");
                conn.outbox.kill();
                return;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = at.changed() => if changed.is_err() { return },
            () = app.draining.cancelled() => return,
        }
    }
}

fn due(expires_at: Timestamp, now: Timestamp, warned: bool) -> Due {
    let left = Duration::try_from(expires_at.duration_since(now)).unwrap_or_default();
    let over = Duration::try_from(now.duration_since(expires_at)).unwrap_or_default();
    if over >= GRACE {
        Due::End
    } else if left <= WARNED_BEFORE && !warned {
        Due::Warn
    } else if left <= WARNED_BEFORE {
        Due::Wait((left + GRACE).saturating_sub(over).max(Duration::from_millis(100)))
    } else {
        Due::Wait(left.saturating_sub(WARNED_BEFORE).min(LONGEST_SLEEP))
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_client_is_warned_a_minute_before_and_ended_after_the_grace() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |seconds, warned| due(now + SignedDuration::from_secs(seconds), now, warned);
        assert_eq!(at(3600, false), Due::Wait(Duration::from_mins(5)));
        assert_eq!(at(100, false), Due::Wait(Duration::from_secs(40)));
        assert_eq!(at(60, false), Due::Warn);
        assert_eq!(at(60, true), Due::Wait(Duration::from_secs(90)));
        assert_eq!(at(-10, true), Due::Wait(Duration::from_secs(20)));
        assert_eq!(at(-30, true), Due::End);
    }
}

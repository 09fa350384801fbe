//! A connection outlives no token: the client is warned a minute before, may renew it, and is ended after a grace.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use protocol::ide::name;
use serde_json::json;
use tokio::sync::watch;

use crate::app::SharedApp;
use crate::auth::Principal;
use crate::socket::frame::Frame;
use crate::socket::ide::IdeConn;

const WARNED_BEFORE: Duration = Duration::from_mins(1);
/// Timers do not see the wall clock jump, so it is looked at this often.
const LONGEST_SLEEP: Duration = Duration::from_mins(5);

/// A connection's token, and when it ends.
#[derive(Debug)]
pub(super) struct Expiry {
    /// `None`: the connection is gone.
    at: watch::Sender<Option<Timestamp>>,
    /// Locked for a look only.
    token_id: Mutex<String>,
}

/// What is due now, or when to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Wait(Duration),
    Warn,
    End,
}

impl Expiry {
    pub(super) fn new(who: &Principal) -> Self {
        let at = watch::Sender::new(Some(who.expires_at()));
        Self { at, token_id: Mutex::new(who.token_id().to_owned()) }
    }

    pub(super) fn is_of(&self, token_id: &str) -> bool {
        *self.token_id.lock() == token_id
    }

    pub(super) fn renew(&self, who: &Principal) {
        let at = who.expires_at();
        who.token_id().clone_into(&mut self.token_id.lock());
        self.at.send_if_modified(|known| known.is_some() && known.replace(at) != Some(at));
    }

    pub(super) fn end(&self) {
        self.at.send_replace(None);
    }
}

/// Watches one connection until it is gone.
pub(super) async fn watch(app: SharedApp, conn: Arc<IdeConn>) {
    let mut at = conn.expiry.at.subscribe();
    let grace = app.sockets.settings.expiry_grace;
    let mut warned_of = None;
    loop {
        let Some(expires_at) = *at.borrow_and_update() else { return };
        let wait = match due(expires_at, Timestamp::now(), warned_of == Some(expires_at), grace) {
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

fn due(expires_at: Timestamp, now: Timestamp, warned: bool, grace: Duration) -> Due {
    let left = Duration::try_from(expires_at.duration_since(now)).unwrap_or_default();
    let over = Duration::try_from(now.duration_since(expires_at)).unwrap_or_default();
    if expires_at <= now && over >= grace {
        Due::End
    } else if left <= WARNED_BEFORE && !warned {
        Due::Warn
    } else if left <= WARNED_BEFORE {
        Due::Wait((left + grace).saturating_sub(over).max(Duration::from_millis(100)))
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
        let at = |seconds, warned| {
            due(now + SignedDuration::from_secs(seconds), now, warned, Duration::from_secs(30))
        };
        assert_eq!(at(3600, false), Due::Wait(Duration::from_mins(5)));
        assert_eq!(at(100, false), Due::Wait(Duration::from_secs(40)));
        assert_eq!(at(60, false), Due::Warn);
        assert_eq!(at(60, true), Due::Wait(Duration::from_secs(90)));
        assert_eq!(at(-10, true), Due::Wait(Duration::from_secs(20)));
        assert_eq!(at(-30, true), Due::End);
    }
}

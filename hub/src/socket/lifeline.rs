//! What keeps one Socket.IO connection alive: the TCP connections that carry it, to be killed, paused or probed.
//!
//! A client that begins by polling changes to a WebSocket later, on another TCP connection; and polling itself may use
//! any number. So a middleware before the library tells here, by the session id in the query, which connection carries
//! which session now, and answers for sessions that have been killed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::socket::guard::Guard;

/// Handle to what carries one session.
#[derive(Clone, Debug)]
pub struct Lifeline(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The TCP connection of the newest request of this session. Locked for a look only.
    carrier: Mutex<Guard>,
    killed: AtomicBool,
}

impl Lifeline {
    pub fn new(carrier: Guard) -> Self {
        Self(Arc::new(Shared { carrier: Mutex::new(carrier), killed: AtomicBool::new(false) }))
    }

    pub fn peer(&self) -> std::net::SocketAddr {
        self.carrier().peer()
    }

    /// Ends the connection in such a way that the client comes back by itself.
    pub fn kill(&self) {
        self.0.killed.store(true, Ordering::Release);
        self.carrier().kill();
    }

    pub fn pause(&self, paused: bool) {
        self.carrier().pause(paused);
    }

    pub fn probe(&self, limit: Option<Duration>) {
        self.carrier().probe(limit);
    }

    pub(super) async fn written(&self, at_most: Duration) {
        let carrier = self.carrier();
        carrier.written(at_most).await;
    }

    fn carrier(&self) -> Guard {
        self.0.carrier.lock().clone()
    }

    fn is_killed(&self) -> bool {
        self.0.killed.load(Ordering::Acquire)
    }
}

/// The lifelines of all sessions, by session id.
#[derive(Debug, Default)]
pub struct Lifelines {
    /// Locked for a look-up only.
    all: Mutex<HashMap<String, Lifeline>>,
}

/// What to do with a request of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    Pass,
    /// The session was killed: the client must begin anew.
    Dead,
}

impl Lifelines {
    pub fn insert(&self, sid: String, lifeline: Lifeline) {
        self.all.lock().insert(sid, lifeline);
    }

    pub fn remove(&self, sid: &str) {
        self.all.lock().remove(sid);
    }

    /// A request of this session came over this connection.
    pub fn carried(&self, sid: &str, carrier: &Guard) -> Passage {
        let Some(lifeline) = self.all.lock().get(sid).cloned() else { return Passage::Pass };
        if lifeline.is_killed() {
            return Passage::Dead;
        }
        *lifeline.0.carrier.lock() = carrier.clone();
        Passage::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_session_is_not_carried_on_by_another_connection() {
        let guard = || Guard::new(([127, 0, 0, 1], 1).into());
        let lifelines = Lifelines::default();
        let lifeline = Lifeline::new(guard());
        lifelines.insert("s".to_owned(), lifeline.clone());
        assert_eq!(lifelines.carried("s", &guard()), Passage::Pass);
        lifeline.kill();
        assert_eq!(lifelines.carried("s", &guard()), Passage::Dead);
        lifelines.remove("s");
        assert_eq!(
            lifelines.carried("s", &guard()),
            Passage::Pass,
            "the library refuses what it does not know"
        );
    }
}

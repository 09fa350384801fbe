//! Answers that are waited for on one connection.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::args::Args;

/// The waiting acks of one connection, by id.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    // A lock because senders, the reader and cancelled waiters touch the map; held for one map operation each time.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts up by one per ack that was asked for.
    next_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Args>>,
    /// The connection is lost: nobody will answer any more.
    closed: bool,
}

impl Acks {
    /// A new id and where its answer will come; `None` when the connection is lost.
    pub(crate) fn open(&self) -> Option<(u64, oneshot::Receiver<Args>)> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        let (sender, receiver) = oneshot::channel();
        state.waiting.insert(id, sender);
        Some((id, receiver))
    }

    /// Hands over an answer. One that nobody waits for (any more) is dropped.
    pub(crate) fn answer(&self, id: u64, args: Args) {
        let waiter = self.state.lock().waiting.remove(&id);
        if let Some(waiter) = waiter {
            let _gone = waiter.send(args);
        }
    }

    /// Nobody waits for this one any more.
    pub(crate) fn forget(&self, id: u64) {
        self.state.lock().waiting.remove(&id);
    }

    /// Fails everything that waits, and all that would come.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.waiting = HashMap::new();
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }
}

//! The outbox of a turn: numbered events, kept until the hub has stored them.
//!
//! Who makes events pushes here and waits when it is full; who sends takes from here, as often as it needs to. An event
//! may be *held*: it has its number, but neither it nor what comes after it is sent before the journal is synced. So a
//! number that the hub knows is always a number that the journal knows.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::event::TurnEvent;
use protocol::ids::TurnId;
use tokio::sync::Notify;

use self::queue::Queue;
pub use self::queue::{Limits, Numbered};
use self::spill::Spill;

pub mod coalesce;
mod queue;
mod spill;

/// A handle to one attempt's outbox. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    turn: TurnId,
    attempt: u32,
    // A lock because the turn pushes while the connection takes; held for one operation, never over an await.
    queue: Mutex<Queue>,
    /// There may be something to send.
    filled: Notify,
    /// Something was stored.
    emptied: Notify,
}

/// Events that have numbers but are not sent before this is dropped.
#[derive(Debug)]
#[must_use = "the events are sent when this is dropped"]
pub struct Held {
    outbox: Outbox,
    /// The numbers of the events, in the order in which they were given.
    pub seqs: Vec<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("failed to write an event as JSON")]
    Encode(#[source] serde_json::Error),
    #[error("the turn has told its last event")]
    Sealed,
}

/// Only a new start helps: it tells the hub from the journal what is missing.
#[derive(Debug, thiserror::Error)]
#[error("an event that waited for the hub on disk cannot be read again")]
pub struct LostEvent;

impl Outbox {
    /// `directory` takes the file for what does not fit into memory.
    pub fn new(turn: TurnId, attempt: u32, first_seq: u64, limits: Limits, directory: &Path) -> Self {
        let queue = Queue::new(first_seq, limits, Spill::new(directory.to_owned()));
        Self {
            inner: Arc::new(Inner {
                turn,
                attempt,
                queue: Mutex::new(queue),
                filled: Notify::new(),
                emptied: Notify::new(),
            }),
        }
    }

    pub fn turn(&self) -> &TurnId {
        &self.inner.turn
    }

    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// The number of the last event made.
    pub fn last_seq(&self) -> u64 {
        self.inner.queue.lock().next_seq() - 1
    }

    /// The turn has told its last event.
    pub fn is_sealed(&self) -> bool {
        self.inner.queue.lock().is_sealed()
    }

    /// How many events wait to be stored.
    pub fn len(&self) -> usize {
        self.inner.queue.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.inner.queue.lock().is_empty()
    }

    /// Adds an event, waiting for room, and gives its number.
    pub async fn push(&self, event: &TurnEvent) -> Result<u64, PushError> {
        let raw = event.to_raw().map_err(PushError::Encode)?;
        self.room().await;
        let seq = self.inner.queue.lock().push(raw, false).ok_or(PushError::Sealed)?;
        self.inner.filled.notify_one();
        Ok(seq)
    }

    /// Adds an event for the screen alone, unless the outbox is full.
    pub fn offer(&self, event: &TurnEvent) -> Result<(), PushError> {
        let raw = event.to_raw().map_err(PushError::Encode)?;
        let mut queue = self.inner.queue.lock();
        if queue.has_room() {
            queue.push(raw, false).ok_or(PushError::Sealed)?;
        }
        drop(queue);
        self.inner.filled.notify_one();
        Ok(())
    }

    /// Adds events that are not sent before the answer is dropped. They get numbers in a row.
    ///
    /// All at once, because who holds must never wait for room: what it holds back may be what fills the outbox.
    pub async fn hold(&self, events: &[TurnEvent]) -> Result<Held, PushError> {
        self.hold_and(events, false).await
    }

    /// The same for the turn's last events: whatever still runs can add nothing after them.
    pub async fn hold_last(&self, events: &[TurnEvent]) -> Result<Held, PushError> {
        self.hold_and(events, true).await
    }

    async fn hold_and(&self, events: &[TurnEvent], seal: bool) -> Result<Held, PushError> {
        let raw =
            events.iter().map(TurnEvent::to_raw).collect::<Result<Vec<_>, _>>().map_err(PushError::Encode)?;
        self.room().await;
        let mut queue = self.inner.queue.lock();
        let seqs: Option<Vec<u64>> = raw.into_iter().map(|event| queue.push(event, true)).collect();
        if seal {
            queue.seal();
        }
        drop(queue);
        Ok(Held { outbox: self.clone(), seqs: seqs.ok_or(PushError::Sealed)? })
    }

    /// The next event that was not sent yet, waiting for one.
    pub async fn next(&self) -> Result<Numbered, LostEvent> {
        loop {
            let filled = self.inner.filled.notified();
            let (event, is_lost) = {
                let mut queue = self.inner.queue.lock();
                (queue.take_unsent(), queue.is_lost())
            };
            match event {
                Some(event) => return Ok(event),
                None if is_lost => return Err(LostEvent),
                None => filled.await,
            }
        }
    }

    /// The hub has stored everything up to `seq`.
    pub fn stored(&self, seq: u64) {
        self.inner.queue.lock().stored(seq);
        self.inner.emptied.notify_waiters();
        // What was on disk may be in memory now.
        self.inner.filled.notify_one();
    }

    /// Sends everything again that is not stored: the connection is a new one.
    pub fn rewind(&self) {
        self.inner.queue.lock().rewind();
        self.inner.filled.notify_one();
    }

    /// Waits until the hub has stored everything.
    pub async fn drained(&self) {
        self.wait_until(Queue::is_empty).await;
    }

    async fn room(&self) {
        self.wait_until(Queue::has_room).await;
    }

    async fn wait_until(&self, condition: impl Fn(&Queue) -> bool) {
        loop {
            // Made before the look, so that nothing that happens after the look is missed.
            let mut emptied = std::pin::pin!(self.inner.emptied.notified());
            emptied.as_mut().enable();
            if condition(&self.inner.queue.lock()) {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.outbox.inner.queue.lock().release(self.seqs.iter().copied());
        self.outbox.inner.filled.notify_one();
    }
}

#[cfg(test)]
mod tests;

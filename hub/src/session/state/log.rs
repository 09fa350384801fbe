//! Numbers of events, and their way into the store: forwarded at once, written together, acked when they are durable.
//!
//! One write is on its way at a time; what arrives meanwhile makes up the next one. A store that fails is tried
//! again with growing waits; the events stay here, the drone is not acked and, above a bound, not read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::session::responder::Responder;
use crate::session::state::ring::{Ring, size};
use crate::store::{EventRecord, TurnEnd};

/// How much may wait for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    pub unstored_events: u64,
    pub unstored_bytes: usize,
    pub first_retry: Duration,
    pub longest_retry: Duration,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            unstored_events: 2048,
            unstored_bytes: 4 * 1024 * 1024,
            first_retry: Duration::from_millis(100),
            longest_retry: Duration::from_secs(5),
        }
    }
}

#[derive(Debug)]
pub(super) struct Log {
    limits: LogLimits,
    /// The newest number.
    last: u64,
    /// All up to here are durable.
    stored: u64,
    /// The last number of the write that is on its way.
    writing: Option<u64>,
    /// The turn's end goes with the newest event, which is its completion.
    end: Option<TurnEnd>,
    /// Acks of events that are not stored yet, in the order of numbers.
    acks: VecDeque<(u64, Responder)>,
    unstored_bytes: usize,
    /// Writes that failed in a row.
    failures: u32,
    retry_at: Option<Duration>,
}

/// One write.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) events: Vec<Arc<EventRecord>>,
    pub(super) end: Option<TurnEnd>,
}

/// What a finished write leaves to be done.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) acks: Vec<Responder>,
    /// The turn's end was in it: its number.
    pub(super) ended: Option<u64>,
}

impl Log {
    pub(super) fn new(limits: LogLimits, stored: u64) -> Self {
        Self {
            limits,
            last: stored,
            stored,
            writing: None,
            end: None,
            acks: VecDeque::new(),
            unstored_bytes: 0,
            failures: 0,
            retry_at: None,
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    pub(super) fn is_settled(&self) -> bool {
        self.stored == self.last
    }

    /// The newest number that may be shown: a completion only once it is stored.
    pub(super) fn shown(&self) -> u64 {
        if self.end.is_some() { self.last - 1 } else { self.last }
    }

    /// Takes the event with the next number.
    pub(super) fn push(&mut self, event: &EventRecord, ack: Option<Responder>, end: Option<TurnEnd>) {
        self.last = event.seq;
        self.unstored_bytes += size(event);
        if let Some(ack) = ack {
            self.acks.push_back((event.seq, ack));
        }
        if end.is_some() {
            self.end = end;
        }
    }

    /// An event that is here but not stored was sent again: its new ack waits like the first.
    pub(super) fn await_again(&mut self, seq: u64, ack: Responder) {
        let place = self.acks.partition_point(|(other, _)| *other <= seq);
        self.acks.insert(place, (seq, ack));
    }

    /// Acks whose connection is gone.
    pub(super) fn drop_acks(&mut self) -> Vec<Responder> {
        self.acks.drain(..).map(|(_, ack)| ack).collect()
    }

    /// The next write, when one is due.
    pub(super) fn next_batch(&mut self, ring: &Ring, now: Duration) -> Option<Batch> {
        let waits = self.retry_at.is_some_and(|at| now < at);
        if self.writing.is_some() || self.is_settled() || waits {
            return None;
        }
        self.retry_at = None;
        self.writing = Some(self.last);
        Some(Batch { events: ring.range(self.stored, self.last), end: self.end.clone() })
    }

    pub(super) fn stored_batch(&mut self, ring: &Ring) -> Stored {
        let Some(upto) = self.writing.take() else { return Stored { acks: Vec::new(), ended: None } };
        self.failures = 0;
        self.unstored_bytes -= ring.range(self.stored, upto).iter().map(|event| size(event)).sum::<usize>();
        self.stored = upto;
        let count = self.acks.partition_point(|(seq, _)| *seq <= upto);
        let acks = self.acks.drain(..count).map(|(_, ack)| ack).collect();
        let ended = (self.end.is_some() && upto == self.last).then_some(upto);
        if ended.is_some() {
            self.end = None;
        }
        Stored { acks, ended }
    }

    pub(super) fn failed_batch(&mut self, now: Duration) {
        if self.writing.take().is_some() {
            let wait = self.limits.first_retry * 2_u32.saturating_pow(self.failures.min(16));
            self.failures += 1;
            self.retry_at = Some(now + wait.min(self.limits.longest_retry));
        }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Whether so much waits that no more should be read.
    pub(super) fn is_full(&self) -> bool {
        self.last - self.stored >= self.limits.unstored_events
            || self.unstored_bytes >= self.limits.unstored_bytes
    }

    /// Whether there is room again; well below full, so that reading does not stutter.
    pub(super) fn has_room(&self) -> bool {
        self.last - self.stored < self.limits.unstored_events / 2
            && self.unstored_bytes < self.limits.unstored_bytes / 2
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.retry_at
    }
}

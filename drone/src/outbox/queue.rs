//! The events that the hub has not yet stored, in order. Pure but for the file that takes what memory does not hold.
//!
//! Numbers go up by one. Events leave at the front when they are acked; they are sent from a cursor that goes back after
//! a reconnect. What does not fit into memory lies in a file, behind everything that is in memory.

use std::collections::{BTreeSet, VecDeque};

use protocol::event::RawEvent;

use super::spill::Spill;

/// An event on its way.
#[derive(Clone, Debug)]
pub struct Numbered {
    pub seq: u64,
    pub event: RawEvent,
}

/// How much may wait, in bytes of events.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub memory: usize,
    pub disk: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 4 * 1024 * 1024, disk: 64 * 1024 * 1024 }
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    /// The oldest events, the next to be acked first.
    memory: VecDeque<Numbered>,
    memory_bytes: usize,
    /// Everything after them.
    spill: Spill,
    /// The number that the next event gets.
    next: u64,
    /// The number of the next event to be sent.
    cursor: u64,
    /// Events that must not be sent yet: what they tell of is not on disk. Nothing after them is sent either.
    held: BTreeSet<u64>,
    /// The number of the first event that was on disk and could not be read again. Nothing from there on is sent.
    lost: Option<u64>,
    /// The last event is in.
    is_sealed: bool,
}

impl Queue {
    pub(super) fn new(first_seq: u64, limits: Limits, spill: Spill) -> Self {
        Self {
            limits,
            memory: VecDeque::new(),
            memory_bytes: 0,
            spill,
            next: first_seq,
            cursor: first_seq,
            held: BTreeSet::new(),
            lost: None,
            is_sealed: false,
        }
    }

    /// An event is gone: no event after it will ever be taken by the hub.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.next
    }

    /// Whether another event may be pushed. What is already being pushed together may go a little over the limits.
    pub(super) fn has_room(&self) -> bool {
        if self.spill.is_broken() {
            return self.memory_bytes < self.limits.memory;
        }
        self.spill.bytes() < self.limits.disk
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// Nothing is taken any more.
    pub(super) fn seal(&mut self) {
        self.is_sealed = true;
    }

    /// The event's number; none after the last event.
    pub(super) fn push(&mut self, event: RawEvent, hold: bool) -> Option<u64> {
        if self.is_sealed {
            return None;
        }
        let seq = self.next;
        self.next += 1;
        if hold {
            self.held.insert(seq);
        }
        let numbered = Numbered { seq, event };
        if self.spill.is_empty() && self.memory_bytes < self.limits.memory {
            self.push_memory(numbered);
        } else if let Err(refused) = self.spill.push(numbered) {
            // The file takes nothing more: what is in it comes first, then this one.
            while !self.spill.is_empty() {
                self.take_back();
            }
            self.push_memory(refused);
        }
        Some(seq)
    }

    pub(super) fn release(&mut self, seqs: impl Iterator<Item = u64>) {
        for seq in seqs {
            self.held.remove(&seq);
        }
    }

    /// The next event to send, and moves the cursor past it.
    pub(super) fn take_unsent(&mut self) -> Option<Numbered> {
        let barrier = self.held.first().into_iter().chain(&self.lost).min();
        if barrier.is_some_and(|barrier| *barrier <= self.cursor) {
            return None;
        }
        let front = self.memory.front()?.seq;
        let place = usize::try_from(self.cursor.checked_sub(front)?).ok()?;
        let event = self.memory.get(place)?.clone();
        self.cursor += 1;
        Some(event)
    }

    /// The hub has stored everything up to `seq`.
    pub(super) fn stored(&mut self, seq: u64) {
        while let Some(front) = self.memory.front()
            && front.seq <= seq
        {
            self.memory_bytes -= weight(front);
            self.memory.pop_front();
        }
        // A hub that knows more than this process ever made would be lying; what is not made cannot be skipped.
        self.cursor = self.cursor.max((seq + 1).min(self.next));
        while self.memory_bytes < self.limits.memory && !self.spill.is_empty() {
            self.take_back();
        }
    }

    /// Everything that is not stored is to be sent again.
    pub(super) fn rewind(&mut self) {
        self.cursor = self.memory.front().map_or(self.next, |front| front.seq);
    }

    /// Everything is stored.
    pub(super) fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.spill.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.memory.len() + self.spill.len()
    }

    fn push_memory(&mut self, numbered: Numbered) {
        self.memory_bytes += weight(&numbered);
        self.memory.push_back(numbered);
    }

    /// Moves the oldest event on disk into memory.
    fn take_back(&mut self) {
        match self.spill.pop() {
            Some((seq, Ok(event))) => self.push_memory(Numbered { seq, event }),
            Some((seq, Err(error))) => {
                tracing::error!(%error, seq, "failed to read an event that waits for the hub");
                self.lost.get_or_insert(seq);
            }
            None => {}
        }
    }
}

/// What an event takes in memory, about.
fn weight(numbered: &Numbered) -> usize {
    numbered.event.args.get().len() + 96
}

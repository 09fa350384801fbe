//! The session's recent events, for replay without the store. Holds at least everything that is not stored yet.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::store::EventRecord;

#[derive(Debug)]
pub(super) struct Ring {
    /// Consecutive numbers.
    events: VecDeque<Arc<EventRecord>>,
    bytes: usize,
    most_events: usize,
    most_bytes: usize,
}

impl Ring {
    pub(super) fn new(most_events: usize, most_bytes: usize) -> Self {
        Self { events: VecDeque::new(), bytes: 0, most_events, most_bytes }
    }

    pub(super) fn push(&mut self, event: Arc<EventRecord>) {
        self.bytes += size(&event);
        self.events.push_back(event);
    }

    /// Forgets the oldest events beyond the bounds, as far as the store has them.
    pub(super) fn trim(&mut self, stored: u64) {
        while self.events.len() > self.most_events || self.bytes > self.most_bytes {
            match self.events.front() {
                Some(oldest) if oldest.seq <= stored => {
                    self.bytes -= size(oldest);
                    self.events.pop_front();
                }
                _ => return,
            }
        }
    }

    /// Whether everything above `seq` that has happened is here.
    pub(super) fn reaches(&self, seq: u64, last: u64) -> bool {
        seq >= last || self.events.front().is_some_and(|oldest| oldest.seq <= seq + 1)
    }

    /// Events numbered `after + 1 ..= to` that are here, in order.
    pub(super) fn range(&self, after: u64, to: u64) -> Vec<Arc<EventRecord>> {
        let start = self.events.partition_point(|event| event.seq <= after);
        self.events.iter().skip(start).take_while(|event| event.seq <= to).cloned().collect()
    }
}

/// What an event takes, roughly.
pub(super) fn size(event: &EventRecord) -> usize {
    event.event.args.get().len() + 96
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use protocol::event::TurnEvent;

    use super::*;

    fn event(seq: u64) -> Arc<EventRecord> {
        let event = TurnEvent::Response { content: "x".repeat(10) }.to_raw().unwrap();
        Arc::new(EventRecord { seq, turn: "t".into(), attempt: 1, at: Timestamp::UNIX_EPOCH, event })
    }

    fn numbers(events: Vec<Arc<EventRecord>>) -> Vec<u64> {
        events.iter().map(|event| event.seq).collect()
    }

    #[test]
    fn what_is_not_stored_stays_whatever_the_bounds() {
        let mut ring = Ring::new(2, usize::MAX);
        (1..=5).for_each(|seq| ring.push(event(seq)));
        ring.trim(1);
        assert_eq!(numbers(ring.range(0, 9)), [2, 3, 4, 5]);
        ring.trim(5);
        assert_eq!(numbers(ring.range(0, 9)), [4, 5]);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut ring = Ring::new(usize::MAX, 2 * size(&event(1)));
        (1..=5).for_each(|seq| ring.push(event(seq)));
        ring.trim(5);
        assert_eq!(numbers(ring.range(0, 9)), [4, 5]);
    }

    #[test]
    fn it_knows_from_where_on_it_is_whole() {
        let mut ring = Ring::new(9, usize::MAX);
        assert!(ring.reaches(7, 7), "nothing is missing");
        assert!(!ring.reaches(6, 7));
        (8..=9).for_each(|seq| ring.push(event(seq)));
        assert!(ring.reaches(7, 9) && ring.reaches(8, 9));
        assert!(!ring.reaches(6, 9));
        assert_eq!(numbers(ring.range(8, 9)), [9]);
    }
}

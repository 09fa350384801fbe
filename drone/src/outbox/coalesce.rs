//! Deltas put together into events: at most one per 16 ms, unless there is much to say or the kind changes. Pure.
//!
//! The first delta after a pause goes out at once, so the wait never adds to the time to the first token.

use std::time::Duration;

use tokio::time::Instant;

/// How long text may wait for company.
pub const INTERVAL: Duration = Duration::from_millis(16);
/// How much text goes out without waiting.
pub const ENOUGH: usize = 4 * 1024;
/// The most text that one event carries.
const MOST: usize = 64 * 1024;

/// What waits to become an event. `K` tells kinds of text apart that never share an event.
#[derive(Debug)]
pub struct Coalescer<K> {
    waiting: Option<(K, String)>,
    /// When the last event went out; the next one waits until [`INTERVAL`] after it.
    last: Option<Instant>,
}

impl<K> Default for Coalescer<K> {
    fn default() -> Self {
        Self { waiting: None, last: None }
    }
}

impl<K: Copy + PartialEq> Coalescer<K> {
    /// Takes a delta and gives what is to be sent now, in order.
    pub fn push(&mut self, kind: K, delta: &str, now: Instant) -> Vec<(K, String)> {
        let mut out = Vec::new();
        if delta.is_empty() {
            return out;
        }
        match &mut self.waiting {
            Some((waiting, text)) if *waiting == kind => text.push_str(delta),
            _ => {
                out.extend(self.take(now));
                self.waiting = Some((kind, delta.to_owned()));
            }
        }
        // Nothing was sent yet: due since ever.
        let is_due = self.last.is_none_or(|last| last + INTERVAL <= now);
        let is_enough = self.waiting.as_ref().is_some_and(|(_, text)| text.len() >= ENOUGH);
        if is_due || is_enough {
            out.extend(self.take(now));
        }
        out
    }

    /// When what waits is to be sent; none: nothing waits.
    pub fn due(&self) -> Option<Instant> {
        self.waiting.as_ref().and(self.last).map(|last| last + INTERVAL)
    }

    /// What waits, to be sent now.
    pub fn take(&mut self, now: Instant) -> Vec<(K, String)> {
        let Some((kind, text)) = self.waiting.take() else { return Vec::new() };
        self.last = Some(now);
        chunks(&text, MOST).map(|piece| (kind, piece.to_owned())).collect()
    }
}

/// `text` in pieces of at most `most` bytes, cut between characters.
pub fn chunks(text: &str, most: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, tail) = rest.split_at(rest.floor_char_boundary(most.max(4)));
        rest = tail;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Kind {
        A,
        B,
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_delta_goes_out_at_once_and_the_next_ones_wait_for_each_other() {
        let start = Instant::now();
        let mut coalescer = Coalescer::default();
        assert_eq!(coalescer.push(Kind::A, "one", start), [(Kind::A, "one".to_owned())]);
        assert_eq!(coalescer.push(Kind::A, "two", start), []);
        assert_eq!(coalescer.push(Kind::A, "three", start), []);
        assert_eq!(coalescer.due(), Some(start + INTERVAL));
        assert_eq!(coalescer.take(start + INTERVAL), [(Kind::A, "twothree".to_owned())]);
        assert_eq!(coalescer.due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_kind_and_much_text_go_out_without_waiting() {
        let now = Instant::now();
        let mut coalescer = Coalescer::default();
        coalescer.push(Kind::A, "shown", now);
        assert_eq!(coalescer.push(Kind::A, "a", now), []);
        assert_eq!(coalescer.push(Kind::B, "b", now), [(Kind::A, "a".to_owned())]);
        let much = "x".repeat(ENOUGH);
        assert_eq!(coalescer.push(Kind::B, &much, now), [(Kind::B, format!("b{much}"))]);
    }

    #[test]
    fn a_huge_delta_is_cut_between_characters() {
        let text = "ä".repeat(MOST);
        let pieces: Vec<&str> = chunks(&text, MOST).collect();
        assert!(pieces.iter().all(|piece| piece.len() <= MOST));
        assert_eq!(pieces.concat(), text);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn no_text_is_lost_doubled_or_moved(
            deltas in prop::collection::vec((any::<bool>(), ".{0,20}", 0_u64..30), 0..40),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().start_paused(true).enable_time().build();
            runtime.unwrap().block_on(async {
                let mut now = Instant::now();
                let mut coalescer = Coalescer::default();
                let (mut said, mut sent) = (Vec::new(), Vec::new());
                for (is_b, text, wait) in &deltas {
                    now += Duration::from_millis(*wait);
                    if coalescer.due().is_some_and(|due| due <= now) {
                        sent.extend(coalescer.take(now));
                    }
                    let kind = if *is_b { Kind::B } else { Kind::A };
                    said.push((kind, text.clone()));
                    sent.extend(coalescer.push(kind, text, now));
                }
                sent.extend(coalescer.take(now));
                assert_eq!(merged(sent), merged(said));
            });
        }
    }

    fn merged(pieces: Vec<(Kind, String)>) -> Vec<(Kind, String)> {
        let mut out: Vec<(Kind, String)> = Vec::new();
        for (kind, text) in pieces {
            match out.last_mut() {
                _ if text.is_empty() => {}
                Some((last, all)) if *last == kind => all.push_str(&text),
                _ => out.push((kind, text)),
            }
        }
        out
    }
}

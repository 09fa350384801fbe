//! Notices an agent that goes round in circles: the same call with the same result, or two of them in turns. Pure.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The same call with the same result so often in a row is a loop.
const SAME: usize = 4;
/// A and B in turns, so many calls long.
const ALTERNATING: usize = 8;

/// The last calls of one agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoopGuard {
    /// What was called with what result, newest last.
    last: VecDeque<u64>,
    /// Why the agent has to stop.
    reason: Option<String>,
}

impl LoopGuard {
    pub(crate) fn saw(&mut self, name: &str, arguments: &str, result: &str) {
        // Only compared with values of this process, so the hash need not be stable.
        let mut hasher = DefaultHasher::new();
        (name, arguments, result).hash(&mut hasher);
        self.last.push_back(hasher.finish());
        if self.last.len() > ALTERNATING {
            self.last.pop_front();
        }
        let newest_first = || self.last.iter().rev();
        let is_same =
            self.last.len() >= SAME && newest_first().take(SAME).all(|one| Some(one) == self.last.back());
        let is_alternating = self.last.len() >= ALTERNATING
            && newest_first().zip(newest_first().skip(2)).all(|(one, before)| one == before);
        if is_same {
            self.reason =
                Some(format!("stopped: `{name}` was called {SAME} times in a row with the same result"));
        } else if is_alternating {
            self.reason = Some(format!(
                "stopped: the same two calls, `{name}` being one, went on in turns with the same results"
            ));
        }
    }

    /// Why the agent has to stop; none: it goes on.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trips(calls: &[(&str, &str)]) -> bool {
        let mut guard = LoopGuard::default();
        for (arguments, result) in calls {
            guard.saw("read", arguments, result);
        }
        guard.reason().is_some()
    }

    #[test]
    fn the_same_call_with_the_same_result_four_times_in_a_row_is_a_loop() {
        assert!(trips(&[("a", "1"); 4]));
        assert!(!trips(&[("a", "1"); 3]));
    }

    #[test]
    fn a_result_that_changes_is_progress() {
        assert!(!trips(&[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4"), ("a", "5")]));
        assert!(!trips(&[("a", "1"), ("a", "1"), ("a", "1"), ("b", "1"), ("a", "1")]));
    }

    #[test]
    fn two_calls_in_turns_are_a_loop_in_the_end() {
        let pair = [("a", "1"), ("b", "2")];
        assert!(trips(&pair.repeat(4)));
        assert!(!trips(&pair.repeat(3)));
    }
}

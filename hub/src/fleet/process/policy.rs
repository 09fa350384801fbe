//! When a drone that died is started again, and when that is given up. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How patient the fleet is with drones that die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The wait before the first restart; it doubles with each one more.
    pub first_wait: Duration,
    pub longest_wait: Duration,
    /// A life shorter than this is a quick death.
    pub quick: Duration,
    /// So many quick deaths within `window`, and no further restart helps.
    pub give_up_after: usize,
    pub window: Duration,
    /// After a life this long all is forgiven.
    pub healthy: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_mins(5),
            quick: Duration::from_mins(1),
            give_up_after: 5,
            window: Duration::from_mins(10),
            healthy: Duration::from_mins(10),
        }
    }
}

/// What follows a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    RestartAfter(Duration),
    GiveUp { deaths: usize },
}

/// The deaths of one drone that still count.
#[derive(Debug)]
pub(super) struct Restarts {
    policy: RestartPolicy,
    next_wait: Duration,
    /// When it died quickly, oldest first, none older than the window.
    quick_deaths: VecDeque<Instant>,
}

impl Restarts {
    pub(super) fn new(policy: RestartPolicy) -> Self {
        Self { policy, next_wait: policy.first_wait, quick_deaths: VecDeque::new() }
    }

    /// A person asked for a start: what was before does not count any more.
    pub(super) fn forgive(&mut self) {
        *self = Self::new(self.policy);
    }

    pub(super) fn died(&mut self, lived: Duration, now: Instant) -> Verdict {
        let RestartPolicy { first_wait: _, longest_wait, quick, give_up_after, window, healthy } =
            self.policy;
        if lived >= healthy {
            self.forgive();
        }
        if lived < quick {
            self.quick_deaths.push_back(now);
        }
        while self.quick_deaths.front().is_some_and(|&death| now.duration_since(death) >= window) {
            self.quick_deaths.pop_front();
        }
        if self.quick_deaths.len() >= give_up_after {
            return Verdict::GiveUp { deaths: self.quick_deaths.len() };
        }
        let wait = self.next_wait;
        self.next_wait = (wait * 2).min(longest_wait);
        Verdict::RestartAfter(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn five_quick_deaths_end_it_and_the_waits_before_double() {
        let mut restarts = Restarts::new(RestartPolicy::default());
        let now = Instant::now();
        let verdicts: Vec<Verdict> = (0..5).map(|n| restarts.died(SECOND, now + n * 10 * SECOND)).collect();
        let waits = [1, 2, 4, 8].map(|n| Verdict::RestartAfter(n * SECOND));
        assert_eq!(verdicts[..4], waits);
        assert_eq!(verdicts[4], Verdict::GiveUp { deaths: 5 });
    }

    #[test]
    fn quick_deaths_far_apart_are_not_given_up_and_waits_end_at_five_minutes() {
        let mut restarts = Restarts::new(RestartPolicy::default());
        let now = Instant::now();
        let waits: Vec<Verdict> = (0..12).map(|n| restarts.died(SECOND, now + n * 3 * MINUTE)).collect();
        assert_eq!(waits[11], Verdict::RestartAfter(5 * MINUTE));
        assert!(waits.iter().all(|verdict| matches!(verdict, Verdict::RestartAfter(_))));
    }

    #[test]
    fn deaths_after_a_while_are_never_given_up() {
        let mut restarts = Restarts::new(RestartPolicy::default());
        let now = Instant::now();
        for n in 0..50 {
            assert!(matches!(restarts.died(MINUTE, now + n * MINUTE), Verdict::RestartAfter(_)));
        }
    }

    #[test]
    fn health_and_a_persons_start_reset_everything() {
        let resets: [fn(&mut Restarts, Instant); 2] = [
            |restarts, now| {
                restarts.died(10 * MINUTE, now);
            },
            |restarts, _now| restarts.forgive(),
        ];
        for reset in resets {
            let mut restarts = Restarts::new(RestartPolicy { give_up_after: 2, ..RestartPolicy::default() });
            let now = Instant::now();
            restarts.died(SECOND, now);
            reset(&mut restarts, now);
            assert!(matches!(restarts.died(SECOND, now), Verdict::RestartAfter(_)));
        }
    }
}

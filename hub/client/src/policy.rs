//! What a refused connection means, and how long to wait before the next attempt. Pure.

use std::time::Duration;

use serde::Deserialize;

/// Why the server refused the connection: the message of its `CONNECT_ERROR`, which is JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Refusal {
    pub code: String,
    pub message: String,
}

impl Refusal {
    /// A message that is not our JSON comes from something that is not our server: code `protocol`.
    pub(crate) fn from_message(message: String) -> Self {
        serde_json::from_str(&message).unwrap_or(Self { code: "protocol".to_owned(), message })
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match self.code.as_str() {
            "unauthorized" | "forbidden" | "superseded" | "protocol" => Verdict::Stop,
            // `token_expired`: the auth function is asked again. Others are of the moment (draining, store away).
            _ => Verdict::Retry,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ask the auth function and try again after the back-off.
    Retry,
    /// No attempt can succeed.
    Stop,
}

/// Waits with jitter that double, and stay short for as long as a server may take that is being replaced.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
    /// How many more of the short ones there are.
    short: u32,
}

/// A hub's pod that is replaced is back within seconds, and whoever waits longer than this then has waited for nothing.
const SHORT: Duration = Duration::from_millis(500);
/// For some 20 seconds, where attempts are refused at once.
const SHORT_ONES: u32 = 50;

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first, short: SHORT_ONES }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.first, self.most);
    }

    /// Between half and all of the current step. `random` is evenly spread over its range.
    pub(crate) fn wait(&mut self, random: u32) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.most);
        if step <= SHORT && self.next > SHORT && self.short > 0 {
            self.next = SHORT;
            self.short -= 1;
        }
        let share = f64::from(random) / f64::from(u32::MAX);
        step.mul_f64(0.5 + share / 2.0)
    }
}

/// Spread over the whole range; only jitter hangs on it.
pub(crate) fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_are_short_for_a_while_grow_to_the_most_and_begin_anew_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let mut waits = |many: u32| (0..many).map(|_| backoff.wait(u32::MAX).as_millis()).collect::<Vec<_>>();
        assert_eq!(waits(3), [100, 200, 400]);
        assert_eq!(waits(SHORT_ONES), [500; SHORT_ONES as usize]);
        assert_eq!(waits(6), [1000, 2000, 4000, 8000, 10_000, 10_000]);
        backoff.reset();
        assert_eq!(backoff.wait(0).as_millis(), 50);
    }

    #[test]
    fn no_wait_is_longer_than_the_most() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        let waits: Vec<u128> = (0..4).map(|_| backoff.wait(u32::MAX).as_millis()).collect();
        assert_eq!(waits, [100, 200, 300, 300]);
    }

    #[test]
    fn only_what_no_attempt_can_mend_stops() {
        let verdict = |code: &str| Refusal { code: code.into(), message: String::new() }.verdict();
        for code in ["unauthorized", "forbidden", "superseded", "protocol"] {
            assert_eq!(verdict(code), Verdict::Stop, "{code}");
        }
        for code in ["token_expired", "draining", "store_unavailable", "internal"] {
            assert_eq!(verdict(code), Verdict::Retry, "{code}");
        }
    }

    #[test]
    fn a_message_that_is_not_ours_reads_as_a_protocol_refusal() {
        let refusal = Refusal::from_message("Invalid namespace".into());
        assert_eq!(refusal, Refusal { code: "protocol".into(), message: "Invalid namespace".into() });
    }
}

//! When a failed model call is made again, and after how long. Pure: the caller waits, cancels and tells the user.

use std::time::Duration;

use jiff::Timestamp;

use super::fault::Fault;

/// How often and how patiently one model call is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Tries after the first one.
    pub budget: u32,
    /// The longest random wait before the first retry; doubles with each.
    pub base: Duration,
    /// Where the doubling ends.
    pub cap: Duration,
    /// The longest wait that an endpoint may ask for.
    pub longest_wait: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            budget: 8,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            longest_wait: Duration::from_mins(10),
        }
    }
}

/// What to do about a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// Make the call again after this long. `attempt` counts the retries from 1 to `budget`.
    Retry {
        after: Duration,
        attempt: u32,
        budget: u32,
    },
    /// Make the call again when the hub is back. Costs nothing of the budget.
    AwaitHub,
    /// Make the conversation shorter, then call again; if that has been done already, stop.
    Shorten,
    Stop(Reason),
}

/// Why a call is not made again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// Trying again would give the same.
    Final,
    BudgetSpent {
        retries: u32,
    },
    /// The endpoint asks for more patience than anyone has.
    WaitTooLong {
        wait: Duration,
    },
    Cancelled,
}

/// The retries of one model call. A call that succeeds ends it; the next call begins with a new one.
#[derive(Clone, Debug)]
pub struct Retries {
    policy: Policy,
    spent: u32,
}

impl Retries {
    pub fn new(policy: Policy) -> Self {
        Self { policy, spent: 0 }
    }

    /// `random` is a number from 0 to 1 that spreads the retries of many drones.
    pub fn decide(&mut self, fault: &Fault, random: f64) -> Decision {
        match fault {
            Fault::HubAway { .. } => return Decision::AwaitHub,
            Fault::Overflow { .. } => return Decision::Shorten,
            Fault::Cancelled => return Decision::Stop(Reason::Cancelled),
            _ if !fault.is_retryable() => return Decision::Stop(Reason::Final),
            _ => {}
        }
        let Policy { budget, base, cap, longest_wait } = self.policy;
        if self.spent >= budget {
            return Decision::Stop(Reason::BudgetSpent { retries: self.spent });
        }
        let asked = fault.retry_after().unwrap_or_default();
        if asked > longest_wait {
            return Decision::Stop(Reason::WaitTooLong { wait: asked });
        }
        let ceiling = base.saturating_mul(2_u32.saturating_pow(self.spent)).min(cap);
        self.spent += 1;
        // What was asked for is obeyed in full; the random part comes on top, so that not all come back at once.
        let after = asked + ceiling.mul_f64(random.clamp(0.0, 1.0));
        Decision::Retry { after, attempt: self.spent, budget }
    }
}

/// The wait in a `Retry-After` header: seconds or an HTTP date (RFC 9110, section 10.2.3). `now` is the endpoint's own
/// `Date` where it sent one, so that a wrong clock here does no harm.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = http_date(value)?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

pub(super) fn http_date(value: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()
}

/// The wait in a message such as "Please try again in 1m17.5s": some providers say it nowhere else.
pub(super) fn wait_in_words(message: &str) -> Option<Duration> {
    let message = message.to_lowercase();
    let start = ["try again in ", "retry in ", "retry after "]
        .iter()
        .find_map(|words| message.find(words).map(|at| at + words.len()))?;
    let mut total = 0.0;
    let mut rest = &message[start..];
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let Ok(number) = rest[..digits].parse::<f64>() else { break };
        let unit = rest[digits..].trim_start();
        let letters = unit.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(unit.len());
        total += number
            * match &unit[..letters] {
                "ms" | "milliseconds" => 0.001,
                "s" | "sec" | "second" | "seconds" => 1.0,
                "m" | "min" | "minute" | "minutes" => 60.0,
                "h" | "hour" | "hours" => 3600.0,
                _ => break,
            };
        rest = unit[letters..].trim_start();
    }
    if total > 0.0 { Duration::try_from_secs_f64(total).ok() } else { None }
}

#[cfg(test)]
mod tests;

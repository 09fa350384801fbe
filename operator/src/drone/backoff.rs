//! How long the operator waits with the next pod. Without jitter: it is a promise in a status.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
pub(super) const LONGEST: Duration = Duration::from_mins(5);

/// After the first failure 1 s, then twice as long each time, up to 5 min.
pub(super) fn after(failures: i32) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(0).min(16);
    FIRST.saturating_mul(1 << doublings).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_from_a_second_to_five_minutes() {
        let seconds: Vec<u64> = (0..12).map(|failures| after(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(after(i32::MAX), LONGEST);
    }
}

//! How much anybody may send: a bucket that fills at a steady rate. Pure: what time it is comes from the caller.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::ids::UserId;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    level: f64,
    most: f64,
    per_second: f64,
    at: Instant,
}

impl Bucket {
    /// Full at the start: `burst` at once, then `per_second`.
    pub(super) fn new(burst: u32, per_second: f64, now: Instant) -> Self {
        Self { level: f64::from(burst), most: f64::from(burst), per_second, at: now }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let there = self.level >= 1.0;
        if there {
            self.level -= 1.0;
        }
        there
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level >= self.most
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.level = (self.level + passed * self.per_second).min(self.most);
    }
}

/// Prompts of each user, over all connections.
#[derive(Debug)]
pub(super) struct PromptRate {
    per_minute: u32,
    /// Locked for a look-up only. Users who have been quiet are forgotten.
    users: Mutex<Users>,
}

#[derive(Debug)]
struct Users {
    buckets: HashMap<UserId, Bucket>,
    swept_at: Instant,
}

impl PromptRate {
    pub(super) fn new(per_minute: u32, now: Instant) -> Self {
        Self { per_minute, users: Mutex::new(Users { buckets: HashMap::new(), swept_at: now }) }
    }

    pub(super) fn take(&self, user: &UserId, now: Instant) -> bool {
        let mut users = self.users.lock();
        if now.saturating_duration_since(users.swept_at) > Duration::from_mins(1) {
            users.swept_at = now;
            users.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        let per_minute = self.per_minute;
        let new = || Bucket::new(per_minute, f64::from(per_minute) / 60.0, now);
        users.buckets.entry(user.clone()).or_insert_with(new).take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_many_prompts_a_minute_whatever_others_do() {
        let start = Instant::now();
        let rate = PromptRate::new(2, start);
        let take = |user: &str, seconds| rate.take(&user.into(), start + Duration::from_secs(seconds));
        assert!(take("u", 0) && take("u", 0));
        assert!(!take("u", 1));
        assert!(take("v", 1));
        assert!(take("u", 30), "half a minute brings one");
        assert!(!take("u", 31));
    }

    #[test]
    fn quiet_users_are_forgotten() {
        let start = Instant::now();
        let rate = PromptRate::new(60, start);
        for user in 0..100 {
            rate.take(&user.to_string().into(), start);
        }
        rate.take(&"u".into(), start + Duration::from_mins(2));
        assert_eq!(rate.users.lock().buckets.len(), 1);
    }
}

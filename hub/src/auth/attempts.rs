//! How many failed sign-ins there were lately, per address and per account. Pure but for the caller's clock.
//!
//! An attempt is counted before the password is checked and taken back when it was right, so that many guesses at the
//! same time do not slip through. Memory is bounded: the oldest is forgotten when the table is full.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_mins(15);
const REMEMBERED: usize = 10_000;

/// Failed sign-ins of the last quarter of an hour.
#[derive(Debug)]
pub(super) struct SignInAttempts {
    limit: u32,
    addresses: Table<IpAddr>,
    accounts: Table<String>,
}

/// Too many: come back after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    pub(super) retry_after: Duration,
}

impl SignInAttempts {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, addresses: Table::default(), accounts: Table::default() }
    }

    /// Counts an attempt that is about to be checked.
    pub(super) fn begin(&mut self, address: IpAddr, account: &str, now: Instant) -> Result<(), TooMany> {
        let waits =
            [self.addresses.wait(&address, self.limit, now), self.accounts.wait(account, self.limit, now)];
        if let Some(retry_after) = waits.into_iter().flatten().max() {
            return Err(TooMany { retry_after });
        }
        self.addresses.count(address, now);
        self.accounts.count(account.to_owned(), now);
        Ok(())
    }

    /// The password was right.
    pub(super) fn succeeded(&mut self, address: IpAddr, account: &str) {
        self.addresses.take_back(&address);
        self.accounts.entries.remove(account);
    }
}

#[derive(Debug)]
struct Table<K> {
    entries: HashMap<K, Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Instant,
    count: u32,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { entries: HashMap::new() }
    }
}

impl<K: Hash + Eq + Clone> Table<K> {
    fn wait<Q>(&self, key: &Q, limit: u32, now: Instant) -> Option<Duration>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let window = self.entries.get(key).filter(|window| window.count >= limit)?;
        WINDOW.checked_sub(now.duration_since(window.since)).filter(|rest| !rest.is_zero())
    }

    fn count(&mut self, key: K, now: Instant) {
        if !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        let window = self.entries.entry(key).or_insert(Window { since: now, count: 0 });
        if now.duration_since(window.since) >= WINDOW {
            *window = Window { since: now, count: 0 };
        }
        window.count += 1;
    }

    fn take_back(&mut self, key: &K) {
        if let Some(window) = self.entries.get_mut(key) {
            window.count = window.count.saturating_sub(1);
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.entries.len() < REMEMBERED {
            return;
        }
        self.entries.retain(|_, window| now.duration_since(window.since) < WINDOW);
        if self.entries.len() >= REMEMBERED
            && let Some(oldest) =
                self.entries.iter().min_by_key(|(_, window)| window.since).map(|(key, _)| key.clone())
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn other(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n))
    }

    #[test]
    fn an_account_is_closed_after_too_many_failures_from_anywhere_and_opens_again() {
        let mut attempts = SignInAttempts::new(3);
        let now = Instant::now();
        for n in 0..3 {
            attempts.begin(other(n), "ada", now).unwrap();
        }
        let later = now + Duration::from_mins(1);
        assert_eq!(
            attempts.begin(other(9), "ada", later),
            Err(TooMany { retry_after: Duration::from_mins(14) })
        );
        assert_eq!(attempts.begin(other(9), "bob", later), Ok(()));
        assert_eq!(attempts.begin(other(9), "ada", now + WINDOW), Ok(()));
    }

    #[test]
    fn an_address_is_closed_after_too_many_failures_on_any_account() {
        let mut attempts = SignInAttempts::new(3);
        let now = Instant::now();
        for account in ["a", "b", "c"] {
            attempts.begin(HERE, account, now).unwrap();
        }
        assert!(attempts.begin(HERE, "d", now).is_err());
        assert!(attempts.begin(other(1), "d", now).is_ok());
    }

    #[test]
    fn a_right_password_does_not_count() {
        let mut attempts = SignInAttempts::new(3);
        let now = Instant::now();
        for _ in 0..20 {
            attempts.begin(HERE, "ada", now).unwrap();
            attempts.succeeded(HERE, "ada");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut attempts = SignInAttempts::new(3);
        let now = Instant::now();
        for n in 0..u32::try_from(REMEMBERED).unwrap() + 50 {
            attempts.begin(other(n), &n.to_string(), now + Duration::from_millis(n.into())).unwrap();
        }
        assert_eq!(attempts.addresses.entries.len(), REMEMBERED);
        assert_eq!(attempts.accounts.entries.len(), REMEMBERED);
    }
}

//! Work that is to be done: each object once, never twice at the same time, again when it changed meanwhile.
//!
//! [`Work`] is the pure part and knows no clock. [`Queue`] puts a lock and a bell around it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::index::Name;

/// What a reconcile is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Session(Name),
    Drone(Name),
    Class(Name),
}

impl Key {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Session(_) => "ChatSession",
            Self::Drone(_) => "DroneRegistration",
            Self::Class(_) => "DroneClass",
        }
    }

    pub fn name(&self) -> &Name {
        match self {
            Self::Session(name) | Self::Drone(name) | Self::Class(name) => name,
        }
    }
}

/// When to look at an object again, if nothing happens to it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Something that is watched will say.
    OnChange,
    After(Duration),
    /// It went wrong for now: later each time.
    BackOff,
}

/// First and longest time between two tries of work that goes wrong.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(crate) struct Work {
    ready: VecDeque<Key>,
    /// What is in `ready`.
    waiting: HashSet<Key>,
    running: HashSet<Key>,
    /// What is running and has changed since it began.
    changed: HashSet<Key>,
    /// What is to be looked at later, by time and by key; each key once.
    timers: BTreeSet<(Instant, Key)>,
    due: HashMap<Key, Instant>,
    /// How often in a row it went wrong.
    failures: HashMap<Key, u32>,
}

impl Work {
    pub(crate) fn add(&mut self, key: Key) {
        if self.running.contains(&key) {
            self.changed.insert(key);
        } else if self.waiting.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// The next piece of work, and it counts as running.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Key> {
        while let Some((at, _)) = self.timers.first()
            && *at <= now
        {
            let Some((_, key)) = self.timers.pop_first() else { break };
            self.due.remove(&key);
            self.add(key);
        }
        let key = self.ready.pop_front()?;
        self.waiting.remove(&key);
        // The reconcile that begins now says anew when it wants to be called.
        if let Some(at) = self.due.remove(&key) {
            self.timers.remove(&(at, key.clone()));
        }
        self.running.insert(key.clone());
        Some(key)
    }

    /// `jitter` is between 0 and 1.
    pub(crate) fn done(&mut self, key: Key, next: Next, now: Instant, jitter: f64) {
        self.running.remove(&key);
        let wait = match next {
            Next::OnChange => None,
            Next::After(wait) => Some(wait),
            Next::BackOff => {
                let failures = self.failures.entry(key.clone()).or_insert(0);
                *failures = failures.saturating_add(1);
                let longest = SHORTEST.saturating_mul(1 << (*failures - 1).min(16)).min(LONGEST);
                Some(longest.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0))
            }
        };
        if next != Next::BackOff {
            self.failures.remove(&key);
        }
        let changed = self.changed.remove(&key);
        // A change is no reason to try sooner what the server has just refused: it would be a hot loop if our own
        // writes were the change.
        if let Some(wait) = wait.filter(|_| !changed || next == Next::BackOff) {
            let at = now + wait;
            self.due.insert(key.clone(), at);
            self.timers.insert((at, key));
        } else if changed {
            self.add(key);
        }
    }

    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(crate) fn depth(&self) -> usize {
        self.ready.len()
    }
}

#[derive(Debug, Default)]
pub struct Queue {
    /// `None` while another leads: then there is no work. Short; never held over an await.
    work: Mutex<Option<Work>>,
    bell: Notify,
}

impl Queue {
    pub fn add(&self, keys: impl IntoIterator<Item = Key>) {
        if let Some(work) = &mut *self.work.lock() {
            keys.into_iter().for_each(|key| work.add(key));
        }
        self.bell.notify_one();
    }

    /// Begins with this work. What was there before is forgotten.
    pub(crate) fn open(&self, keys: impl IntoIterator<Item = Key>) {
        *self.work.lock() = Some(Work::default());
        self.add(keys);
    }

    pub(crate) fn close(&self) {
        *self.work.lock() = None;
    }

    /// The next piece of work, as soon as there is one. Only one caller may wait.
    pub(crate) async fn take(&self) -> Key {
        loop {
            let bell = self.bell.notified();
            let timer = {
                let mut work = self.work.lock();
                if let Some(key) = work.as_mut().and_then(|work| work.take(Instant::now())) {
                    return key;
                }
                work.as_ref().and_then(Work::next_timer)
            };
            match timer {
                Some(at) => {
                    let _ = tokio::time::timeout_at(at, bell).await;
                }
                None => bell.await,
            }
        }
    }

    /// The next piece of work, if there is one.
    #[cfg(test)]
    pub(crate) fn try_take(&self) -> Option<Key> {
        self.work.lock().as_mut()?.take(Instant::now())
    }

    /// When there is work again, if nothing changes.
    #[cfg(test)]
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.work.lock().as_ref()?.next_timer()
    }

    pub(crate) fn done(&self, key: Key, next: Next) {
        if let Some(work) = &mut *self.work.lock() {
            work.done(key, next, Instant::now(), jitter());
        }
        self.bell.notify_one();
    }

    pub fn depth(&self) -> usize {
        self.work.lock().as_ref().map_or(0, Work::depth)
    }
}

fn jitter() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests;

//! What happened, in order, with a way to wait for more. Filled by one task, read by a test.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::sync::Notify;

use crate::deadline::DEADLINE;

#[derive(Debug)]
pub struct Log<T> {
    /// A lock because a test reads while a task fills; held for one look or one push.
    entries: Mutex<Vec<T>>,
    grown: Notify,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self { entries: Mutex::default(), grown: Notify::new() }
    }
}

impl<T> Log<T> {
    pub fn push(&self, entry: T) {
        self.read(|entries| entries.push(entry));
        self.grown.notify_waiters();
    }

    pub fn read<R>(&self, look: impl FnOnce(&mut Vec<T>) -> R) -> R {
        look(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn len(&self) -> usize {
        self.read(|entries| entries.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until `look` finds something among all that has happened.
    pub async fn wait<R>(&self, what: &str, mut look: impl FnMut(&[T]) -> Option<R>) -> Result<R> {
        let found = async {
            loop {
                let grown = self.grown.notified();
                tokio::pin!(grown);
                grown.as_mut().enable();
                if let Some(found) = self.read(|entries| look(entries)) {
                    return found;
                }
                grown.await;
            }
        };
        tokio::time::timeout(DEADLINE, found)
            .await
            .with_context(|| format!("{what}: not within {DEADLINE:?}"))
    }
}

//! Who waits for which object to be ready: one watch tells all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Longer than any start may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// A lock because a watch tells while others begin to wait; held for one look.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    inner: Arc<Mutex<HashMap<String, oneshot::Sender<Instant>>>>,
}

pub(super) struct Wait {
    name: String,
    receiver: oneshot::Receiver<Instant>,
}

impl Waiting {
    /// From now on it is noticed that the object is ready.
    pub(super) fn expect(&self, name: &str) -> Wait {
        let (sender, receiver) = oneshot::channel();
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), sender);
        Wait { name: name.to_owned(), receiver }
    }

    pub(super) fn tell(&self, name: &str) {
        let sender = self.inner.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if let Some(sender) = sender {
            let _nobody_waits = sender.send(Instant::now());
        }
    }
}

impl Wait {
    /// When it was seen.
    pub(super) async fn end(self) -> Result<Instant> {
        let Self { name, receiver } = self;
        let seen = tokio::time::timeout(PATIENCE, receiver).await;
        seen.with_context(|| format!("{name} is not ready after {PATIENCE:?}"))?
            .context("its watch has ended")
    }
}

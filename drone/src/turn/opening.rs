//! The beginning of a turn on its way to the disk. The model is asked meanwhile, which changes nothing anywhere; but
//! nothing of its answer is told, and nothing is done, before the beginning is there.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::TurnError;
use crate::journal::JournalError;

/// Held by whoever takes the turn on.
#[must_use = "the turn gets nowhere before this lets it"]
pub struct Opening {
    written: JoinHandle<Result<(), JournalError>>,
    gate: watch::Sender<bool>,
}

/// Held by the turn.
#[derive(Clone, Debug)]
pub(super) struct Gate(watch::Receiver<bool>);

impl Opening {
    pub(super) fn new(written: JoinHandle<Result<(), JournalError>>) -> (Self, Gate) {
        let (gate, opened) = watch::channel(false);
        (Self { written, gate }, Gate(opened))
    }

    /// Waits until the turn's beginning is on disk. On failure the turn must be dropped.
    pub async fn written(&mut self) -> Result<(), TurnError> {
        (&mut self.written).await.map_err(TurnError::Task)?.map_err(TurnError::Journal)
    }

    /// Lets the turn tell and do things.
    pub fn open(self) {
        self.gate.send_replace(true);
    }
}

impl Gate {
    /// Of an agent that begins later than its turn.
    pub(super) fn opened() -> Self {
        // The value stays when the sender is gone.
        Self(watch::channel(true).1)
    }

    pub(super) async fn pass(&self) -> Result<(), TurnError> {
        if *self.0.borrow() {
            return Ok(());
        }
        self.0.clone().wait_for(|is_open| *is_open).await.map(drop).map_err(|_closed| TurnError::NotOpened)
    }
}

//! The wish to stop a turn, and what is to become of it.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// What is to become of a turn that is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The user has asked: the turn ends as aborted and keeps what it has made.
    Abort,
    /// The process ends: the turn stays as it is and goes on when the drone is back.
    Leave,
    /// The hub does not want the turn any more: nothing more is told of it.
    Drop,
}

/// One turn's stop button. The first wish counts.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    wish: Arc<OnceLock<Wish>>,
}

impl Stop {
    pub fn ask(&self, wish: Wish) {
        // A later wish changes nothing: the turn is stopping already.
        let _first = self.wish.set(wish);
        self.token.cancel();
    }

    pub fn wish(&self) -> Option<Wish> {
        self.wish.get().copied()
    }

    /// Waits for a wish.
    pub async fn wished(&self) {
        self.token.cancelled().await;
    }

    /// Ends whatever runs for the turn.
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }
}

//! What a client is told when the store refuses or fails.

use protocol::error::{Code, Refusal};

use crate::store::StoreError;

/// Logs a failure, since the client is told only that there is one.
pub fn refuse(error: StoreError) -> Refusal {
    match error {
        StoreError::NotFound => Refusal::new(Code::NotFound, "there is no such document"),
        StoreError::Taken(what) => {
            Refusal::new(Code::Conflict, format!("{what}: this one is taken, choose another"))
        }
        StoreError::TurnRunning => {
            Refusal::new(Code::Busy, "a turn is running; wait for it, or abort it first")
        }
        StoreError::InUse(why) => Refusal::new(Code::Conflict, why),
        StoreError::Unavailable { action, ref source } => {
            tracing::error!(
                error = source.as_ref() as &dyn std::error::Error,
                "failed to {action} in the store"
            );
            Refusal::new(Code::StoreUnavailable, "the store does not answer; nothing was changed, try again")
        }
    }
}

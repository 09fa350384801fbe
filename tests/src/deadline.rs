//! Waiting for a condition, never for time.

use std::time::Duration;

use anyhow::{Context, Result};

/// Generous: it ends a test that would hang, and decides nothing else.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Between two looks at a condition that tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(10);

/// Looks until there is something to see.
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let found = async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    within(what, found).await?
}

/// Ends what would hang.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(DEADLINE, future).await.with_context(|| format!("{what}: not within {DEADLINE:?}"))
}

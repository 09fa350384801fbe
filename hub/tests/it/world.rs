//! What the tests play with.

pub(crate) mod drone;
pub(crate) mod fleet;
pub(crate) mod hub;
pub(crate) mod ide;

use std::time::Duration;

/// Nothing here takes long; what is not there after this does not come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits for something to come true.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("never came true: {what}"))
}

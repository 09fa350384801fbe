//! What time it is. A test's time stands still until it is moved.

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub enum Clock {
    System,
    /// So late at that instant of tokio's clock, which a test can pause.
    Since(Timestamp, Instant),
}

impl Clock {
    pub fn now(self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Since(then, instant) => then.checked_add(instant.elapsed()).unwrap_or(then),
        }
    }
}

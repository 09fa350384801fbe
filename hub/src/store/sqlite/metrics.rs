//! What is counted about the store.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::metrics::Metrics;

/// Counts of the writer. A clone counts on the same.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    /// Seconds from the first write of a transaction to its being on the disk.
    pub(super) commit_seconds: Histogram,
    /// Writes that shared a transaction.
    pub(super) writes_per_commit: Histogram,
    /// Transactions that were lost: a full disk, a broken one.
    pub(super) failed_commits: Counter,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            // 0.1 ms to 1.6 s.
            commit_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 15)),
            // 1 to 512.
            writes_per_commit: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            failed_commits: Counter::default(),
        }
    }
}

impl StoreMetrics {
    pub fn registered(metrics: &Metrics) -> Self {
        let Self { commit_seconds, writes_per_commit, failed_commits } = Self::default();
        Self {
            commit_seconds: metrics.register(
                "store_commit_seconds",
                "Time from the first write of a transaction until it is on the disk",
                commit_seconds,
            ),
            writes_per_commit: metrics.register(
                "store_writes_per_commit",
                "Writes that shared a transaction",
                writes_per_commit,
            ),
            failed_commits: metrics.register(
                "store_failed_commits",
                "Transactions that were lost",
                failed_commits,
            ),
        }
    }
}

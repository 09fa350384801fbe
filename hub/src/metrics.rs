//! The registry of metrics that `/metrics` shows. Each part registers its own families under its own name.

use std::fmt;

use parking_lot::RwLock;
use prometheus_client::registry::{Metric, Registry};

/// Names of all families start with `gadget_`.
pub struct Metrics {
    /// Locked while a family is added (at the start) and while the text is made; never across an await.
    registry: RwLock<Registry>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { registry: RwLock::new(Registry::with_prefix("gadget")) }
    }
}

impl Metrics {
    /// Adds a family and hands it back, to be counted on by the caller. Counters get `_total` by themselves.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.registry.write().register(name, help, metric.clone());
        metric
    }

    /// The text that Prometheus reads.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.read())?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn a_registered_counter_is_shown_with_its_count() {
        let metrics = Metrics::default();
        let turns: Counter = metrics.register("turns", "Turns so far", Counter::default());
        turns.inc_by(3);
        let text = metrics.encode().unwrap();
        assert!(text.contains("gadget_turns_total 3"), "{text}");
    }
}

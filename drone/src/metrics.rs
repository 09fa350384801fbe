//! What a drone counts, for `/metrics`.

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The counters of one process.
#[derive(Debug)]
pub struct Metrics {
    /// Turns that have ended here, however.
    pub turns: Counter,
    /// Turns that went on after a crash or a restart.
    pub turns_resumed: Counter,
    pub tool_calls: Counter,
    pub model_calls: Counter,
    /// Model calls that gave no whole answer.
    pub model_faults: Counter,
    /// Seconds from asking the model to the first piece of its answer.
    pub first_token: Histogram,
    /// Accepted connections to the hub.
    pub connections: Counter,
    /// Events that the hub has not stored yet.
    pub outbox_events: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            turns: Counter::default(),
            turns_resumed: Counter::default(),
            tool_calls: Counter::default(),
            model_calls: Counter::default(),
            model_faults: Counter::default(),
            first_token: Histogram::new(exponential_buckets(0.01, 2.0, 14)),
            connections: Counter::default(),
            outbox_events: Gauge::default(),
        }
    }
}

impl Metrics {
    /// In the text format of `OpenMetrics`.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let Self {
            turns,
            turns_resumed,
            tool_calls,
            model_calls,
            model_faults,
            first_token,
            connections,
            outbox_events,
        } = self;
        let mut registry = Registry::with_prefix("gadget_drone");
        registry.register("turns", "Turns that have ended here", turns.clone());
        registry.register("turns_resumed", "Turns that went on after a restart", turns_resumed.clone());
        registry.register("tool_calls", "Tool calls that were begun", tool_calls.clone());
        registry.register("model_calls", "Model calls that were made", model_calls.clone());
        registry.register("model_faults", "Model calls that gave no whole answer", model_faults.clone());
        registry.register(
            "first_token_seconds",
            "From asking the model to the first piece of its answer",
            first_token.clone(),
        );
        registry.register("connections", "Accepted connections to the hub", connections.clone());
        registry.register("outbox_events", "Events that the hub has not stored yet", outbox_events.clone());
        let mut out = String::new();
        text::encode(&mut out, &registry)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_in_the_text() {
        let metrics = Metrics::default();
        metrics.turns.inc();
        metrics.first_token.observe(0.2);
        let text = metrics.encode().unwrap();
        assert!(text.contains("gadget_drone_turns_total 1"), "{text}");
        assert!(text.contains("gadget_drone_first_token_seconds_count 1"), "{text}");
        assert!(text.contains("gadget_drone_outbox_events 0"), "{text}");
    }
}

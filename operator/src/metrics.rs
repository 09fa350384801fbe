//! What `/metrics` shows. Labels are kinds, verbs, results and phases alone: never names.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub struct Metrics {
    /// Locked while the text is made; never over an await.
    registry: Mutex<Registry>,
    reconciles: Family<Reconcile, Counter>,
    durations: Family<Kind, Histogram>,
    writes: Family<Write, Counter>,
    events_dropped: Counter,
    queue: Gauge,
    drones: Family<Phase, Gauge>,
    starts: Histogram,
    leader: Gauge,
    watch_failures: Family<Kind, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconcile {
    kind: &'static str,
    result: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Phase {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    kind: String,
    verb: Verb,
    result: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Verb {
    Create,
    Patch,
    PatchStatus,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    Ok,
    Failed,
}

impl Default for Metrics {
    fn default() -> Self {
        let durations = Family::new_with_constructor(seconds as fn() -> Histogram);
        let mut registry = Registry::with_prefix("gadget_operator");
        let metrics = Self {
            reconciles: Family::default(),
            durations,
            writes: Family::default(),
            events_dropped: Counter::default(),
            queue: Gauge::default(),
            drones: Family::default(),
            starts: Histogram::new(exponential_buckets(10.0, 2.0, 14)),
            leader: Gauge::default(),
            watch_failures: Family::default(),
            registry: Mutex::new(Registry::default()),
        };
        registry.register("reconciles", "Reconciles by kind and result", metrics.reconciles.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "Time of a reconcile",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register("writes", "Writes to the API server, events apart", metrics.writes.clone());
        registry.register(
            "events_dropped",
            "Events that were not sent: the queue was full or the API server refused them",
            metrics.events_dropped.clone(),
        );
        registry.register("queue_depth", "Objects that wait for a reconcile", metrics.queue.clone());
        registry.register("drones", "Drones by phase", metrics.drones.clone());
        registry.register(
            "start_milliseconds",
            "Time from the wish to run to ready, in milliseconds",
            metrics.starts.clone(),
        );
        registry.register("leader", "1 while this operator leads", metrics.leader.clone());
        registry.register(
            "watch_failures",
            "Watches that broke or could not be started",
            metrics.watch_failures.clone(),
        );
        *metrics.registry.lock() = registry;
        metrics
    }
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 15))
}

impl Metrics {
    pub fn reconciled(&self, kind: &'static str, result: Outcome, took: Duration) {
        self.reconciles.get_or_create(&Reconcile { kind, result }).inc();
        self.durations.get_or_create(&Kind { kind: kind.to_owned() }).observe(took.as_secs_f64());
    }

    pub fn wrote(&self, kind: &str, verb: Verb, is_ok: bool) {
        let result = if is_ok { Outcome::Ok } else { Outcome::Failed };
        self.writes.get_or_create(&Write { kind: kind.to_owned(), verb, result }).inc();
    }

    pub fn dropped_event(&self) {
        self.events_dropped.inc();
    }

    pub fn started(&self, milliseconds: i64) {
        let milliseconds = u32::try_from(milliseconds).unwrap_or(u32::MAX);
        self.starts.observe(f64::from(milliseconds));
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    pub fn watch_failed(&self, kind: &str) {
        self.watch_failures.get_or_create(&Kind { kind: kind.to_owned() }).inc();
    }

    /// The text that Prometheus reads.
    pub fn encode(
        &self,
        depth: usize,
        phases: impl IntoIterator<Item = (&'static str, i64)>,
    ) -> Result<String, fmt::Error> {
        self.queue.set(i64::try_from(depth).unwrap_or(i64::MAX));
        self.drones.clear();
        for (phase, count) in phases {
            self.drones.get_or_create(&Phase { phase }).set(count);
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

pub type SharedMetrics = Arc<Metrics>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.reconciled("ChatSession", Outcome::Ok, Duration::from_millis(3));
        metrics.wrote("Pod", Verb::Create, true);
        metrics.leads(true);
        let text = metrics.encode(7, [("Busy", 2)]).unwrap();
        for line in [
            "gadget_operator_reconciles_total{kind=\"ChatSession\",result=\"Ok\"} 1",
            "gadget_operator_writes_total{kind=\"Pod\",verb=\"Create\",result=\"Ok\"} 1",
            "gadget_operator_queue_depth 7",
            "gadget_operator_drones{phase=\"Busy\"} 2",
            "gadget_operator_leader 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}

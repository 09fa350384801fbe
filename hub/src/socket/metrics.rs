//! What Prometheus is told of connections and turns. No label names a user, a session or a drone.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use protocol::value::{ChatTurnStatus, DronePhase};

use crate::metrics::Metrics;

#[derive(Debug)]
pub struct SocketMetrics {
    pub ides: Gauge,
    pub drones: Gauge,
    /// Connects that were refused.
    pub refused: Counter,
    pub ide_requests: Counter,
    /// Events that drones sent for turns.
    pub turn_events: Counter,
    /// Commands that a drone did not answer in time.
    pub late_acks: Counter,
    pub turns_started: Counter,
    /// Work orders sent, retries included.
    pub attempts: Counter,
    turns_ended: Family<TurnStatus, Counter>,
    first_token: Histogram,
    /// Sessions whose events wait because the store fails.
    pub store_failing: Gauge,
    fleet: Family<Phase, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Phase {
    phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TurnStatus {
    status: &'static str,
}

impl SocketMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        let count = |name, help| metrics.register(name, help, Counter::default());
        let gauge = |name, help| metrics.register(name, help, Gauge::default());
        Self {
            ides: gauge("ide_connections", "IDEs connected now"),
            drones: gauge("drone_connections", "Drones connected now"),
            refused: count("connects_refused", "Connects that were refused"),
            ide_requests: count("ide_requests", "Events received from IDEs"),
            turn_events: count("turn_events", "Events received from drones for turns"),
            late_acks: count("acks_late", "Commands that a drone did not answer in time"),
            turns_started: count("turns_started", "Prompts taken on as turns"),
            attempts: count("turn_attempts", "Work orders sent to drones, retries included"),
            turns_ended: metrics.register("turns_ended", "Turns that are over, by status", Family::default()),
            first_token: metrics.register(
                "first_token_seconds",
                "From a prompt to the first text of its turn",
                Histogram::new([0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]),
            ),
            store_failing: gauge(
                "sessions_store_failing",
                "Sessions whose events wait for a store that fails",
            ),
            fleet: metrics.register(
                "fleet_drones",
                "Drones that the fleet knows, by phase",
                Family::default(),
            ),
        }
    }

    /// A drone has come to be in this phase; `None`: it is known no more.
    pub fn drone_moved(&self, from: Option<DronePhase>, to: Option<DronePhase>) {
        let gauge = |phase: DronePhase| self.fleet.get_or_create_owned(&Phase { phase: phase.as_str() });
        from.map(|phase| gauge(phase).dec());
        to.map(|phase| gauge(phase).inc());
    }

    pub fn turn_ended(&self, status: ChatTurnStatus, first_token_ms: Option<u64>) {
        self.turns_ended.get_or_create(&TurnStatus { status: status.as_str() }).inc();
        if let Some(milliseconds) = first_token_ms {
            self.first_token.observe(std::time::Duration::from_millis(milliseconds).as_secs_f64());
        }
    }
}

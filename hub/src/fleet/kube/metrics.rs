//! What is counted about the cluster.

use std::collections::HashMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use protocol::value::DronePhase;

use crate::metrics::Metrics;

#[derive(Clone, Debug, Default)]
pub(crate) struct FleetMetrics {
    drones: Family<PhaseLabel, Gauge>,
    reviews: Family<ResultLabel, Counter>,
    errors: Family<CallLabel, Counter>,
    watch_errors: Family<KindLabel, Counter>,
    pub(crate) adopted: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    call: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

impl FleetMetrics {
    pub(crate) fn register(&self, metrics: &Metrics) {
        let Self { drones, reviews, errors, watch_errors, adopted } = self.clone();
        metrics.register("fleet_drones", "Drones of the cluster by phase", drones);
        metrics.register(
            "fleet_token_reviews",
            "Tokens of drones that were shown to the API server",
            reviews,
        );
        metrics.register("fleet_api_errors", "Calls of the API server that failed", errors);
        metrics.register("fleet_watch_errors", "Watches that broke off", watch_errors);
        metrics.register(
            "fleet_adopted",
            "Chat sessions that were made in the cluster and taken in",
            adopted,
        );
    }

    pub(super) fn reviewed(&self, result: &'static str) {
        self.reviews.get_or_create(&ResultLabel { result }).inc();
    }

    pub(super) fn failed(&self, call: &'static str) {
        self.errors.get_or_create(&CallLabel { call }).inc();
    }

    pub(super) fn broke_off(&self, kind: &'static str) {
        self.watch_errors.get_or_create(&KindLabel { kind }).inc();
    }

    pub(super) fn count(&self, phases: impl Iterator<Item = DronePhase>) {
        let mut counts: HashMap<&'static str, i64> = HashMap::new();
        for phase in phases {
            *counts.entry(phase.as_str()).or_default() += 1;
        }
        for phase in DronePhase::ALL {
            let phase = phase.as_str();
            self.drones.get_or_create(&PhaseLabel { phase }).set(counts.get(phase).copied().unwrap_or(0));
        }
    }
}

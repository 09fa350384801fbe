//! What a reconcile works with.

use std::sync::Arc;

use crate::api::Api;
use crate::clock::Clock;
use crate::config::Config;
use crate::events::Events;
use crate::index::Index;
use crate::ledger::Ledger;
use crate::metrics::SharedMetrics;
use crate::queue::Queue;

#[derive(Clone)]
pub struct Parts {
    pub config: Arc<Config>,
    pub index: Arc<Index>,
    pub ledger: Arc<Ledger>,
    pub queue: Arc<Queue>,
    pub api: Api,
    pub events: Events,
    pub metrics: SharedMetrics,
    pub clock: Clock,
}

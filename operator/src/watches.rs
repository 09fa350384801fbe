//! Watches fill the index: one stream for each kind, which begins again by itself, with a pause that grows.
//!
//! Lists are streamed where the server can. A watch that is too old (410) lists anew; while that runs, the index says
//! what it said before.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, InitialListStrategy};
use serde::de::DeserializeOwned;

use crate::index::Index;
use crate::index::store::Stored;
use crate::ledger::{Ledger, Made};
use crate::metrics::SharedMetrics;
use crate::queue::Queue;
use crate::server::Readiness;

/// A watch is begun anew so often: a connection that died without a word is noticed after that.
const LIFETIME: u32 = 30;
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Watches {
    pub client: Client,
    pub namespace: Arc<str>,
    pub index: Arc<Index>,
    pub ledger: Arc<Ledger>,
    pub queue: Arc<Queue>,
    pub readiness: Arc<Readiness>,
    pub metrics: SharedMetrics,
}

/// What is to be watched of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// The kind, as people write it.
    pub kind: &'static str,
    /// Only these fields, in the server's own syntax.
    pub fields: Option<&'static str>,
    /// What the ledger calls an object of the kind.
    pub made: Option<Made>,
}

impl Watches {
    /// Never ends.
    pub async fn run<K>(self, watched: Watched)
    where
        K: Stored<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut strategy = InitialListStrategy::StreamingList;
        let mut pause = SHORTEST;
        loop {
            let config = watcher::Config {
                field_selector: watched.fields.map(ToOwned::to_owned),
                initial_list_strategy: strategy.clone(),
                timeout: Some(LIFETIME),
                ..watcher::Config::default()
            };
            let mut changes = std::pin::pin!(watcher::watcher(api.clone(), config));
            let mut listed = HashSet::new();
            while let Some(change) = changes.next().await {
                let error = match change {
                    Ok(change) => {
                        if !matches!(change, Event::Init) {
                            pause = SHORTEST;
                        }
                        self.take(change, &mut listed, watched);
                        continue;
                    }
                    Err(error) => error,
                };
                if strategy == InitialListStrategy::StreamingList && cannot_stream_lists(&error) {
                    strategy = InitialListStrategy::ListWatch;
                    break;
                }
                self.failed(&error, watched);
                let jitter = getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX));
                tokio::time::sleep(pause.mul_f64(0.5 + jitter / 2.0)).await;
                pause = (pause * 2).min(LONGEST);
            }
        }
    }

    fn take<K: Stored>(&self, change: Event<K>, listed: &mut HashSet<String>, watched: Watched) {
        let work = match change {
            Event::Init => {
                listed.clear();
                return;
            }
            Event::InitApply(object) => {
                let name = object.meta().name.clone().unwrap_or_default();
                let work = object.take_in(&self.index);
                self.seen(&name, watched);
                listed.insert(name);
                work
            }
            Event::InitDone => {
                let work = K::retain(&self.index, listed);
                *listed = HashSet::new();
                self.readiness.is_there(watched.kind);
                work
            }
            Event::Apply(object) => {
                let name = object.meta().name.clone().unwrap_or_default();
                let work = object.take_in(&self.index);
                self.seen(&name, watched);
                self.readiness.is_there(watched.kind);
                work
            }
            Event::Delete(object) => {
                let name = object.meta().name.clone().unwrap_or_default();
                let work = object.take_out(&self.index);
                self.seen(&name, watched);
                work
            }
        };
        self.queue.add(work);
    }

    fn seen(&self, name: &str, watched: Watched) {
        if let Some(made) = watched.made {
            self.ledger.seen(made, name);
        }
    }

    fn failed(&self, error: &watcher::Error, watched: Watched) {
        self.metrics.watch_failed(watched.kind);
        let Some(words) = unusable(error, watched.kind) else {
            tracing::debug!(%error, kind = watched.kind, "a watch of {} broke; begun anew", watched.kind);
            return;
        };
        if self.readiness.fails(watched.kind, words.clone()) {
            tracing::error!(kind = watched.kind, "{} cannot be watched: {words}", watched.kind);
        }
    }
}

/// What a person must do before the watch can work again. A broken connection is not of that sort.
fn unusable(error: &watcher::Error, kind: &str) -> Option<String> {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchFailed(kube::Error::Api(status))
    | watcher::Error::WatchError(status)) = error
    else {
        return None;
    };
    match status.code {
        404 => Some(format!("the kind {kind} is not installed; install the chart gadget-crds")),
        401 | 403 => Some(format!("{}; give the operator's role the verbs list and watch", status.message)),
        _ => None,
    }
}

/// An API server that has the feature off refuses its parameter as invalid.
fn cannot_stream_lists(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) if matches!(status.code, 400 | 422)
    )
}

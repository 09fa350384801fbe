//! Keeps the index true: one watch of each kind, resumed where it broke off, begun anew when the API server has
//! forgotten that place (410), with back-off while there is none.

use std::collections::HashSet;
use std::fmt::Debug;
use std::time::Duration;

use crds::{ChatSession, DroneRegistration};
use futures_util::StreamExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource, ResourceExt as _};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::index::Index;
use super::metrics::FleetMetrics;
use super::seen::{Drone, Session};

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Longer than an attempt and the wait after it.
const TROUBLE: Duration = Duration::from_secs(15);

/// What the watches fill, and those who look at it share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Locked for a look or a change of one object, never across an await.
    pub(super) index: Mutex<Index>,
    /// Something has changed in the index.
    pub(super) changed: Notify,
    /// How each watch is: sessions and drones.
    pub(super) health: watch::Sender<[Health; 2]>,
}

/// How one watch is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// The whole list was there once.
    pub(super) synced: bool,
    /// When and why it broke off last. It may be well again since: a quiet watch says nothing.
    pub(super) broken: Option<(Instant, String)>,
}

impl Health {
    /// Why nothing is heard now.
    pub(super) fn trouble(&self, now: Instant) -> Option<&str> {
        self.broken.as_ref().filter(|(at, _)| now.duration_since(*at) < TROUBLE).map(|(_, why)| &**why)
    }
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { index: Mutex::default(), changed: Notify::new(), health: watch::Sender::default() }
    }

    /// Waits until everything has been seen once.
    pub(super) async fn synced(&self) {
        let mut health = self.health.subscribe();
        // The sender lives as long as this value.
        drop(health.wait_for(|kinds| kinds.iter().all(|kind| kind.synced)).await);
    }

    pub(super) fn is_synced(&self) -> bool {
        self.health.borrow().iter().all(|kind| kind.synced)
    }

    fn note(&self, kind: usize, change: impl FnOnce(&mut Health)) {
        self.health.send_if_modified(|health| {
            let before = health[kind].clone();
            change(&mut health[kind]);
            health[kind] != before
        });
    }
}

/// A kind that is watched.
pub(super) trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static
{
    /// Its place in [`Shared::health`].
    const PLACE: usize;

    fn put(self, index: &mut Index);
    fn remove(name: &str, index: &mut Index);
    fn keep(there: &HashSet<String>, index: &mut Index);
}

impl Watched for ChatSession {
    const PLACE: usize = 0;

    fn put(self, index: &mut Index) {
        if let Some(session) = Session::of(self) {
            index.put_session(session);
        }
    }

    fn remove(name: &str, index: &mut Index) {
        index.remove_session(name);
    }

    fn keep(there: &HashSet<String>, index: &mut Index) {
        index.keep_sessions(&|name| there.contains(name));
    }
}

impl Watched for DroneRegistration {
    const PLACE: usize = 1;

    fn put(self, index: &mut Index) {
        if let Some(drone) = Drone::of(self) {
            index.put_drone(drone);
        }
    }

    fn remove(name: &str, index: &mut Index) {
        index.remove_drone(name);
    }

    fn keep(there: &HashSet<String>, index: &mut Index) {
        index.keep_drones(&|name| there.contains(name));
    }
}

/// Never ends.
pub(super) async fn follow<K: Watched>(
    api: Api<DeserializeGuard<K>>,
    shared: &Shared,
    metrics: &FleetMetrics,
) {
    let kind = K::kind(&());
    // Without a list in memory on either side; older servers cannot.
    let mut config = watcher::Config::default().streaming_lists();
    let mut wait = FIRST_WAIT;
    loop {
        let mut events = Box::pin(watcher(api.clone(), config.clone()));
        let mut listed = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    take(event, &mut listed, shared);
                    wait = FIRST_WAIT;
                    shared.note(K::PLACE, |health| health.broken = None);
                }
                Err(error) if cannot_stream(&error) => {
                    config = watcher::Config::default();
                    break;
                }
                Err(error) => {
                    metrics.broke_off(if K::PLACE == 0 { "ChatSession" } else { "DroneRegistration" });
                    let words = error.to_string();
                    let now = Instant::now();
                    if shared.health.borrow()[K::PLACE].trouble(now) != Some(&*words) {
                        tracing::warn!(%kind, error = &error as &dyn std::error::Error, "the watch of a kind broke off; it is tried again");
                    }
                    shared.note(K::PLACE, |health| health.broken = Some((now, words)));
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }
}

fn take<K: Watched>(event: Event<DeserializeGuard<K>>, listed: &mut HashSet<String>, shared: &Shared) {
    match event {
        Event::Init => listed.clear(),
        Event::InitApply(object) => {
            listed.insert(object.name_any());
            put(object, shared);
        }
        Event::InitDone => {
            K::keep(listed, &mut shared.index.lock());
            *listed = HashSet::new();
            shared.note(K::PLACE, |health| health.synced = true);
        }
        Event::Apply(object) => put(object, shared),
        Event::Delete(object) => K::remove(&object.name_any(), &mut shared.index.lock()),
    }
    shared.changed.notify_one();
}

/// What cannot be read harms nobody but itself: it stays as it was last understood.
fn put<K: Watched>(DeserializeGuard(object): DeserializeGuard<K>, shared: &Shared) {
    match object {
        Ok(object) => object.put(&mut shared.index.lock()),
        Err(invalid) => {
            let name = invalid.metadata.name.as_deref().unwrap_or_default();
            tracing::warn!(kind = %K::kind(&()), name, error = %invalid, "failed to read an object of the cluster; it is left as it was");
        }
    }
}

/// The server does not know how to send its list as a watch.
fn cannot_stream(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => {
            matches!(status.code, 400 | 422) && status.message.contains("sendInitialEvents")
        }
        _ => false,
    }
}

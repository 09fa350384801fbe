//! A world for tests: an API server in memory, and a node that is played by hand. The operator's own code runs against
//! it through a real client, one step at a time, with a clock that a test moves.

mod calls;
mod convergence;
mod failures;
mod launch;
mod why;
mod workspace;
mod world;

use std::sync::Arc;
use std::time::Duration;

use crds::{ChatSession, ChatSessionStatus, DroneRegistration, DroneRegistrationStatus};
use k8s_openapi::jiff::Timestamp;
use kube::core::DeserializeGuard;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use self::world::{Change, World};
use crate::api::Api;
use crate::clock::Clock;
use crate::config::Config;
use crate::events::{Events, Sender};
use crate::index::store::Stored;
use crate::leader::{Leadership, Term};
use crate::ledger::Made;
use crate::metrics::Metrics;
use crate::parts::Parts;
use crate::queue::{Key, Next};
use crate::{chat_session, class, drone};

struct Sim {
    world: Arc<Mutex<World>>,
    parts: Parts,
    /// Kept, so that events have somewhere to go.
    _events: Sender,
    _term: watch::Sender<Option<Term>>,
}

const START: i64 = 1_800_000_000;

impl Sim {
    /// With a class `default`.
    fn new() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let client = world::client(&world);
        let mut config = Config::new("drones", "http://gadget-hub:8420".parse().unwrap(), "operator-1");
        config.call = Duration::from_secs(10);
        let metrics = Arc::<Metrics>::default();
        let (events, sender) =
            Events::new(client.clone(), "drones", "operator-1", config.call, Arc::clone(&metrics));
        let forever = Instant::now() + Duration::from_secs(1_000_000_000);
        let (term, leadership) = watch::channel(Some(Term::new(forever)));
        let leadership = Leadership::new(leadership);
        let api = Api::new(client, "drones".into(), leadership, config.call, Arc::clone(&metrics));
        let parts = Parts {
            config: Arc::new(config),
            index: Arc::default(),
            ledger: Arc::default(),
            queue: Arc::default(),
            api,
            events,
            metrics,
            clock: Clock::Since(Timestamp::from_second(START).unwrap(), Instant::now()),
        };
        parts.queue.open([]);
        let sim = Self { world, parts, _events: sender, _term: term };
        sim.create("droneclasses", "default", json!({ "spec": { "image": "drone:1" } }));
        sim
    }

    fn create(&self, plural: &'static str, name: &str, mut object: Value) {
        object["metadata"]["name"] = json!(name);
        self.world.lock().create(plural, object).unwrap();
    }

    fn session(&self, name: &str) {
        self.session_with(name, json!({}));
    }

    fn session_with(&self, name: &str, more: Value) {
        let mut spec = json!({ "user": "ada", "project": { "slug": "shop" } });
        world::merge(&mut spec, &more);
        self.create("chatsessions", name, json!({ "spec": spec }));
    }

    fn patch(&self, plural: &'static str, name: &str, patch: &Value) {
        self.world.lock().patch(plural, name, patch, false).unwrap();
    }

    fn patch_status(&self, plural: &'static str, name: &str, status: &Value) {
        self.world.lock().patch(plural, name, &json!({ "status": status }), true).unwrap();
    }

    fn delete(&self, plural: &'static str, name: &str) {
        self.world.lock().delete(plural, name).unwrap();
    }

    fn get(&self, plural: &'static str, name: &str) -> Option<Value> {
        self.world.lock().get(plural, name).cloned()
    }

    fn names(&self, plural: &'static str) -> Vec<String> {
        self.world.lock().names(plural)
    }

    fn session_status(&self, name: &str) -> ChatSessionStatus {
        self.read::<ChatSession>("chatsessions", name).and_then(|session| session.status).unwrap_or_default()
    }

    fn drone_status(&self, name: &str) -> DroneRegistrationStatus {
        self.read::<DroneRegistration>("droneregistrations", name)
            .and_then(|drone| drone.status)
            .unwrap_or_default()
    }

    fn read<K: DeserializeOwned>(&self, plural: &'static str, name: &str) -> Option<K> {
        self.get(plural, name).map(|object| serde_json::from_value(object).unwrap())
    }

    /// What was written since the last call, such as `POST pods/x`.
    fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.world.lock().writes)
    }

    /// The watches say at most so many of what they have not said yet.
    fn watch(&self, most: usize) {
        for _ in 0..most {
            let Some(change) = self.world.lock().changes.pop_front() else { return };
            self.take(change);
        }
    }

    fn take(&self, change: Change) {
        let Change { plural, object, is_gone } = change;
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let (work, made) = match plural {
            "chatsessions" => (self.stored::<DeserializeGuard<ChatSession>>(object, is_gone), None),
            "droneregistrations" => {
                (self.stored::<DeserializeGuard<DroneRegistration>>(object, is_gone), Some(Made::Drone))
            }
            "droneclasses" => (self.stored::<DeserializeGuard<crds::DroneClass>>(object, is_gone), None),
            "pods" => (self.stored::<k8s_openapi::api::core::v1::Pod>(object, is_gone), Some(Made::Pod)),
            "persistentvolumeclaims" => (
                self.stored::<k8s_openapi::api::core::v1::PersistentVolumeClaim>(object, is_gone),
                Some(Made::Claim),
            ),
            "events" => (self.stored::<k8s_openapi::api::core::v1::Event>(object, is_gone), None),
            other => panic!("{other} is not watched"),
        };
        if let Some(made) = made {
            self.parts.ledger.seen(made, &name);
        }
        self.parts.queue.add(work);
    }

    fn stored<K: Stored + DeserializeOwned>(&self, object: Value, is_gone: bool) -> Vec<Key> {
        let object: K = serde_json::from_value(object).unwrap();
        if is_gone { object.take_out(&self.parts.index) } else { object.take_in(&self.parts.index) }
    }

    /// One reconcile, if there is one to do.
    async fn reconcile_one(&self) -> bool {
        let Some(key) = self.parts.queue.try_take() else { return false };
        let next = match &key {
            Key::Session(name) => chat_session::reconcile(&self.parts, name).await.unwrap_or(Next::BackOff),
            Key::Drone(name) => drone::reconcile(&self.parts, name).await.unwrap_or(Next::BackOff),
            Key::Class(name) => class::reconcile(&self.parts, name).await.unwrap_or(Next::BackOff),
        };
        self.parts.queue.done(key, next);
        true
    }

    /// Everything that can happen without time or a node.
    async fn settle(&self) {
        for _ in 0..1000 {
            self.world.lock().collect_garbage();
            self.watch(usize::MAX);
            if !self.reconcile_one().await && self.world.lock().changes.is_empty() {
                return;
            }
        }
        panic!("it does not come to rest; last writes: {:?}", self.writes());
    }

    async fn wait(&self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            self.settle().await;
            match self.parts.queue.next_timer() {
                Some(at) if at <= end => tokio::time::advance(at - Instant::now()).await,
                _ => break,
            }
        }
        tokio::time::advance(end - Instant::now()).await;
        self.settle().await;
    }

    /// The node runs the pod: volume bound, pod scheduled, container ready.
    fn run_pod(&self, name: &str) {
        self.bind_claims();
        self.patch("pods", name, &json!({ "spec": { "nodeName": "node-1" } }));
        self.set_pod(name, &ready_pod(0));
    }

    fn bind_claims(&self) {
        for name in self.names("persistentvolumeclaims") {
            if self.get("persistentvolumeclaims", &name).unwrap()["status"]["phase"] != "Bound" {
                self.patch_status("persistentvolumeclaims", &name, &json!({ "phase": "Bound" }));
            }
        }
    }

    fn set_pod(&self, name: &str, status: &Value) {
        self.patch_status("pods", name, status);
    }

    /// The node has ended the pod and the API server lets it go.
    fn let_pod_go(&self, name: &str) {
        self.world.lock().remove("pods", name);
    }

    /// A session whose pod runs.
    async fn running(name: &str) -> Self {
        let sim = Self::new();
        sim.session(name);
        sim.settle().await;
        sim.run_pod(name);
        sim.settle().await;
        sim.writes();
        sim
    }

    /// A new operator: nothing is remembered.
    fn restart(&mut self) {
        self.parts.index = Arc::default();
        self.parts.ledger = Arc::default();
        self.parts.queue = Arc::default();
        self.parts.queue.open([]);
        self.world.lock().relist();
        self.watch(usize::MAX);
        self.parts.queue.add(self.parts.index.everything());
    }
}

fn ready_pod(restarts: i32) -> Value {
    json!({
        "phase": "Running",
        "conditions": [{ "type": "PodScheduled", "status": "True" }, { "type": "Ready", "status": "True" }],
        "containerStatuses": [container(restarts, true, json!({ "running": {} }), json!({}))],
    })
}

fn container(restarts: i32, is_ready: bool, state: Value, last: Value) -> Value {
    json!({
        "name": "drone", "image": "drone:1", "imageID": "", "ready": is_ready, "restartCount": restarts,
        "state": state, "lastState": last,
    })
}

/// A pod whose container is not ready.
fn pod_with(phase: &str, state: Value, restarts: i32, last: Value) -> Value {
    json!({
        "phase": phase,
        "conditions": [{ "type": "PodScheduled", "status": "True" }, { "type": "Ready", "status": "False" }],
        "containerStatuses": [container(restarts, false, state, last)],
    })
}

fn terminated(exit: i32, reason: &str, message: &str) -> Value {
    json!({ "terminated": { "exitCode": exit, "reason": reason, "message": message } })
}

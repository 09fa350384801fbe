//! Drones as pods of a cluster. The hub never touches a pod: it writes `ChatSession`s and `DroneRegistration`s, the
//! operator turns them into pods, and both are watched.
//!
//! A session's drone is named after its resource, and so is the pod; starting twice is starting once. The store leads
//! for what was said, the resource for whether a pod should run. What is made of what the watches show is decided by
//! [`crate::cluster`]; until it has taken a session in, no drone of it is let in here.

mod api;
mod build;
mod config;
mod index;
mod metrics;
mod news;
mod pods;
mod review;
pub(crate) mod seen;
mod steer;
#[cfg(test)]
pub(crate) mod tests;
mod watch;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ::kube::core::DeserializeGuard;
use ::kube::{Api, Client};
use async_trait::async_trait;
use crds::chat_session::Adoption;
use crds::drone_registration::Activity;
use crds::{ChatSession, DroneRegistration, names};
use jiff::Timestamp;
use parking_lot::Mutex;
use protocol::ids::{ChatSessionId, DroneId, UserId};
use serde_json::json;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::api::ApiError;
pub use self::config::{KubeConfig, KubeFleetError, ServiceAccount};
pub(crate) use self::index::Key;
pub(crate) use self::metrics::FleetMetrics;
pub(crate) use self::news::{News, news, session_deleted};

use self::api::KubeApi;
use self::pods::Pods;
use self::review::{Answers, Expected, PodUid, judge, judge_tester};
use self::seen::{Drone, Session, Wish};
use self::steer::{Asks, Trouble, delete_until_gone};
use self::watch::{Shared, follow};
use super::{DroneIdentity, DroneSpec, Fleet, FleetError, FleetEvent};

/// How many events a receiver may lag behind before it has to ask for a snapshot.
const EVENTS_KEPT: usize = 1024;
/// Tokens that the API server is asked about at the same time.
const REVIEWS: usize = 16;
/// How long a request waits for the first list of a hub that has just started.
const SYNC_LIMIT: Duration = Duration::from_secs(10);

pub struct KubeFleet {
    config: KubeConfig,
    namespace: String,
    api: KubeApi,
    shared: Arc<Shared>,
    /// Drones that the hub has a record of, and whose they are. Only these are let in.
    owners: Mutex<HashMap<DroneId, Owner>>,
    pods: Mutex<Pods>,
    answers: Mutex<Answers>,
    reviewing: Semaphore,
    /// Anybody may ask whether they are the test: one at a time, and drones do not wait for them.
    testing: Semaphore,
    /// The newest event of each drone.
    told: Mutex<HashMap<DroneId, FleetEvent>>,
    events: broadcast::Sender<FleetEvent>,
    /// Sessions that the hub has deleted and whose resources may still be seen.
    ending: Mutex<HashSet<ChatSessionId>>,
    pub(crate) metrics: FleetMetrics,
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// Whose a drone is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: UserId,
    /// As the resource spells it.
    pub(crate) handle: String,
}

impl KubeFleet {
    /// Begins to watch. Waits for nothing: a hub whose API server is away serves what it can.
    pub async fn open(config: KubeConfig) -> Result<Arc<Self>, KubeFleetError> {
        let cluster = config.cluster().await?;
        let namespace = config.namespace.clone().unwrap_or_else(|| cluster.default_namespace.clone());
        let client = Client::try_from(cluster).map_err(KubeFleetError::Client)?;
        Ok(Self::with_client(&client, namespace, config))
    }

    fn with_client(client: &Client, namespace: String, config: KubeConfig) -> Arc<Self> {
        let metrics = FleetMetrics::default();
        let fleet = Arc::new(Self {
            config,
            api: KubeApi::new(client, &namespace, metrics.clone()),
            shared: Arc::new(Shared::new()),
            owners: Mutex::default(),
            pods: Mutex::default(),
            answers: Mutex::default(),
            reviewing: Semaphore::new(REVIEWS),
            testing: Semaphore::new(1),
            told: Mutex::default(),
            events: broadcast::Sender::new(EVENTS_KEPT),
            ending: Mutex::default(),
            metrics: metrics.clone(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            namespace,
        });
        let sessions: Api<DeserializeGuard<ChatSession>> = Api::namespaced(client.clone(), &fleet.namespace);
        let drones: Api<DeserializeGuard<DroneRegistration>> =
            Api::namespaced(client.clone(), &fleet.namespace);
        let (shared, counted) = (Arc::clone(&fleet.shared), metrics.clone());
        fleet.spawn(async move { follow(sessions, &shared, &counted).await });
        let shared = Arc::clone(&fleet.shared);
        fleet.spawn(async move { follow(drones, &shared, &metrics).await });
        fleet
    }

    /// Runs until the fleet is closed.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            tokio::select! { () = task => {}, () = closing.cancelled() => {} }
        });
    }

    /// Waits until everything in the namespace has been seen once.
    pub(crate) async fn synced(&self) {
        self.shared.synced().await;
    }

    async fn synced_for(&self, action: &'static str, drone: &DroneId) -> Result<(), FleetError> {
        tokio::time::timeout(SYNC_LIMIT, self.synced())
            .await
            .map_err(|_| failed(action, drone, Trouble::NotSynced))
    }

    /// Waits for changes and takes them all; each object once.
    pub(crate) async fn changed(&self) -> BTreeSet<Key> {
        loop {
            let changed = self.shared.index.lock().take_changed();
            if !changed.is_empty() {
                return changed;
            }
            self.shared.changed.notified().await;
        }
    }

    pub(crate) fn session(&self, name: &str) -> Option<Arc<Session>> {
        self.shared.index.lock().session(name)
    }

    pub(crate) fn session_of(&self, session: &ChatSessionId) -> Option<Arc<Session>> {
        self.shared.index.lock().session_of(session)
    }

    pub(crate) fn drone(&self, name: &str) -> Option<Arc<Drone>> {
        self.shared.index.lock().drone(name)
    }

    pub(crate) fn session_of_drone(&self, drone: &str) -> Option<Arc<Session>> {
        self.shared.index.lock().session_of_drone(drone)
    }

    /// The hub has deleted the session, and its resource will follow.
    pub(crate) fn is_ending(&self, session: &ChatSessionId) -> bool {
        self.ending.lock().contains(session)
    }

    /// From now on the drone is let in.
    pub(crate) fn own(&self, drone: &DroneId, owner: Owner) {
        self.owners.lock().insert(drone.clone(), owner);
    }

    /// Nothing of the drone is left here, and it is let in no more.
    pub(crate) fn forget(&self, drone: &DroneId) {
        self.owners.lock().remove(drone);
        self.pods.lock().forget(drone);
        self.told.lock().remove(drone);
        self.answers.lock().forget(drone);
    }

    /// What was believed of the drone's tokens must be asked again.
    pub(crate) fn forget_answers(&self, drone: &DroneId) {
        self.answers.lock().forget(drone);
    }

    /// Whether the drone's newest connection is of another pod than this one.
    pub(crate) fn is_of_another_pod(&self, drone: &DroneId, uid: &str) -> bool {
        self.pods.lock().is_of_another(drone, uid)
    }

    /// The drone's resource names this pod. Any that it named before is shut out.
    pub(crate) fn show_pod(&self, drone: &DroneId, uid: Option<&str>) {
        self.pods.lock().show(drone, uid);
    }

    /// Drones whose connection is of a pod that was replaced while it was let in; each is told once.
    pub(crate) fn take_stale(&self) -> Vec<DroneId> {
        self.pods.lock().take_stale()
    }

    /// Tells everybody, if it is news. Answers with what was told.
    pub(crate) fn tell(&self, drone: &DroneId, news: News) -> Option<FleetEvent> {
        let event = event(drone, news);
        let mut told = self.told.lock();
        if told.get(drone).is_some_and(|known| FleetEvent { since: event.since, ..known.clone() } == event) {
            return None;
        }
        told.insert(drone.clone(), event.clone());
        drop(told);
        // Nobody listens while the hub starts; it asks for a snapshot then.
        let _nobody = self.events.send(event.clone());
        Some(event)
    }

    pub(crate) fn count_phases(&self) {
        self.metrics.count(self.told.lock().values().map(|event| event.phase));
    }

    /// The resource of a session that the hub has deleted is gone.
    pub(crate) fn ended(&self, session: &ChatSessionId) {
        self.ending.lock().remove(session);
    }

    /// Drones whose pods the hub has let in since it started.
    pub(crate) fn admitted(&self) -> Vec<DroneId> {
        self.pods.lock().admitted()
    }

    /// Writes what became of a session that the hub did not make.
    pub(crate) async fn write_adoption(&self, name: &str, adoption: &Adoption) -> Result<(), ApiError> {
        let patch = json!({ "status": { "adoption": adoption } });
        let session = self.api.patch_session_status(name, &patch).await?;
        self.saw_session(session);
        Ok(())
    }

    pub(crate) async fn write_activity(&self, drone: &str, activity: &Activity) -> Result<(), ApiError> {
        let patch = json!({ "status": { "activity": activity } });
        let drone = self.api.patch_drone_status(drone, &patch).await?;
        self.saw_drone(drone);
        Ok(())
    }

    /// Takes the mark of the hub's suspending off a session that a person lets run again.
    pub(crate) async fn unmark(&self, session: &str) -> Result<(), ApiError> {
        let session = self.api.patch_session(session, &build::unmark()).await?;
        self.saw_session(session);
        Ok(())
    }

    fn saw_session(&self, session: Option<ChatSession>) {
        if let Some(session) = session.and_then(Session::of) {
            self.shared.index.lock().put_session(session);
            self.shared.changed.notify_one();
        }
    }

    fn saw_drone(&self, drone: Option<DroneRegistration>) {
        if let Some(drone) = drone.and_then(Drone::of) {
            self.shared.index.lock().put_drone(drone);
            self.shared.changed.notify_one();
        }
    }

    async fn prove(&self, drone: &DroneId, token: &str) -> Result<Option<PodUid>, FleetError> {
        if let Some(pod) = self.answers.lock().get(drone, token, Instant::now()) {
            return Ok(Some(pod));
        }
        let _slot = self.reviewing.acquire().await.map_err(|error| failed("check", drone, error))?;
        let answer = self.api.review(token).await.map_err(|error| {
            self.metrics.reviewed("failed");
            failed("check the token of", drone, error)
        })?;
        let account = &self.config.drone_service_account;
        let expected = Expected { namespace: &self.namespace, service_account: account, drone };
        match judge(answer, expected) {
            Ok(pod) => {
                self.metrics.reviewed("good");
                self.answers.lock().put(drone, token, &pod, Instant::now());
                Ok(Some(pod))
            }
            Err(refused) => {
                self.metrics.reviewed("refused");
                tracing::info!(%drone, "refused a drone's token: {refused}");
                Ok(None)
            }
        }
    }
}

#[async_trait]
impl Fleet for KubeFleet {
    async fn start(&self, spec: DroneSpec) -> Result<(), FleetError> {
        self.run(&spec, Asks::Work).await
    }

    async fn is_tester(&self, token: &str) -> Result<bool, FleetError> {
        let Some(tester) = &self.config.tester else { return Ok(false) };
        let _slot = self.testing.try_acquire().map_err(|_| FleetError::TesterBusy)?;
        let answer = self.api.review(token).await.map_err(|error| FleetError::Tester(error.into()))?;
        Ok(match judge_tester(answer, tester) {
            Ok(()) => true,
            Err(refused) => {
                tracing::info!("refused the token of a test: {refused}");
                false
            }
        })
    }

    async fn bind(&self, spec: DroneSpec) -> Result<(), FleetError> {
        self.run(&spec, Asks::Work).await
    }

    async fn resume(&self, spec: DroneSpec) -> Result<(), FleetError> {
        self.run(&spec, Asks::Person).await
    }

    async fn suspend(&self, drone: &DroneId) -> Result<(), FleetError> {
        self.halt(drone, Wish::Stop, &build::stop()).await
    }

    async fn suspend_idle(&self, drone: &DroneId) -> Result<(), FleetError> {
        self.halt(drone, Wish::Sleep, &build::sleep()).await
    }

    async fn withhold(&self, drone: &DroneId) -> Result<(), FleetError> {
        match self.session_of_drone(drone.as_str()) {
            Some(_) => self.halt(drone, Wish::Stop, &build::stop()).await,
            // It belongs to nobody who could start it again.
            None => Ok(()),
        }
    }

    async fn terminate(&self, drone: &DroneId) -> Result<(), FleetError> {
        self.withhold(drone).await?;
        if self.drone(drone.as_str()).is_none() && self.session_of_drone(drone.as_str()).is_none() {
            return Err(FleetError::Unknown(drone.clone()));
        }
        self.api.delete_drone(drone.as_str()).await.map_err(|error| failed("terminate", drone, error))
    }

    async fn end_session(&self, session: &ChatSessionId, drone: &DroneId) -> Result<(), FleetError> {
        self.ending.lock().insert(session.clone());
        self.forget(drone);
        let (api, shared) = (self.api.clone(), Arc::clone(&self.shared));
        let session = session.clone();
        self.spawn(async move { delete_until_gone(&api, &shared, &session).await });
        Ok(())
    }

    fn drone_of(&self, session: &ChatSessionId, known: Option<&DroneId>) -> DroneId {
        let index = self.shared.index.lock();
        if let Some(seen) = index.session_of(session) {
            return DroneId::from(seen.drone.as_str());
        }
        let synced = self.shared.is_synced();
        // A free drone that the session was given and whose resource is not made yet.
        let there = |known: &&DroneId| !synced || index.drone(known.as_str()).is_some();
        known.filter(there).cloned().unwrap_or_else(|| names::drone(session.as_str()).into())
    }

    fn idle_timeout(&self, session: &ChatSessionId) -> Option<Duration> {
        self.session_of(session)?.idle_timeout
    }

    fn trouble(&self) -> Option<String> {
        let now = Instant::now();
        let health = self.shared.health.borrow().clone();
        if let Some(why) = health.iter().find_map(|kind| kind.trouble(now)) {
            return Some(format!("the API server cannot be watched: {why}"));
        }
        (!self.shared.is_synced()).then(|| "the cluster's sessions have not been read yet".to_owned())
    }

    async fn delete_workspace(&self, spec: DroneSpec) -> Result<(), FleetError> {
        Err(failed("delete the workspace of", &spec.id, Trouble::Claims))
    }

    async fn authenticate(&self, drone: &DroneId, token: &str) -> Result<Option<DroneIdentity>, FleetError> {
        let Some(pod) = self.prove(drone, token).await? else { return Ok(None) };
        let not_yet = |why| FleetError::NotYet { drone: drone.clone(), why };
        let owner = self.owners.lock().get(drone).cloned();
        let owner = owner.ok_or_else(|| not_yet("its chat session has not been taken in"))?;
        let seen = self.drone(drone.as_str()).ok_or_else(|| not_yet("its resource has not been seen"))?;
        if seen.user != owner.handle {
            return Err(not_yet("its resource is another user's than before"));
        }
        if !self.pods.lock().admit(drone, pod) {
            tracing::info!(%drone, "refused a drone's token: its pod was replaced");
            return Ok(None);
        }
        Ok(Some(DroneIdentity { drone: drone.clone(), user: owner.user }))
    }

    fn watch(&self) -> broadcast::Receiver<FleetEvent> {
        self.events.subscribe()
    }

    async fn snapshot(&self) -> Vec<FleetEvent> {
        self.told.lock().values().cloned().collect()
    }

    /// Drones work on: they are the cluster's.
    async fn close(&self, _stop_drones: bool) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn event(drone: &DroneId, news: News) -> FleetEvent {
    let News { phase, reason, message, restarts, held: _ } = news;
    // When the hub heard of it: sessions pass over what is older than a drone's connection.
    FleetEvent { drone: drone.clone(), phase, reason, message, restarts, since: Timestamp::now() }
}

fn failed(
    action: &'static str,
    drone: &DroneId,
    source: impl std::error::Error + Send + Sync + 'static,
) -> FleetError {
    FleetError::Failed { action, drone: drone.clone(), source: Box::new(source) }
}

//! What the hub makes of what it sees in the cluster: sessions made with kubectl are taken in, sessions deleted there are
//! archived, a person's wish to stop is kept, pods that were replaced are shut out, and every change is told to clients.
//!
//! One task looks at one changed object at a time, always from nothing: what was seen before decides only what has to be
//! taken back. The fleet itself decides nothing of this, since it knows no documents.

mod activity;
mod adoption;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crds::chat_session::Adoption;
use jiff::Timestamp;
use protocol::document::DroneRegistration;
use protocol::ids::{ChatSessionId, DroneId, UserId};
use protocol::value::DronePhase;
use tokio::time::{Instant, MissedTickBehavior};

use self::adoption::{NotTaken, Taken, take_in};
use crate::app::SharedApp;
use crate::fleet::FleetEvent;
use crate::fleet::kube::seen::{Drone, Session};
use crate::fleet::kube::{ApiError, Key, KubeFleet, News, Owner, news, session_deleted};
use crate::session::drones::cluster;
use crate::session::idle;
use crate::session::state::input::Input;
use crate::store::StoreError;

const TICK: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Joins a hub and the cluster's fleet, until the fleet is closed.
pub fn attach(app: &SharedApp, fleet: &Arc<KubeFleet>) {
    fleet.metrics.register(&app.metrics);
    let observer = Observer {
        app: Arc::clone(app),
        fleet: Arc::clone(fleet),
        known: HashMap::new(),
        drones: HashMap::new(),
        retries: HashMap::new(),
    };
    fleet.spawn(observer.run());
    fleet.spawn(activity::run(Arc::clone(app), Arc::clone(fleet)));
}

struct Observer {
    app: SharedApp,
    fleet: Arc<KubeFleet>,
    /// Sessions that were taken in, by the names of their resources.
    known: HashMap<String, Known>,
    /// What was last seen of each drone and acted on.
    drones: HashMap<DroneId, Seen>,
    /// Objects that are to be looked at again, changed or not.
    retries: HashMap<Key, Retry>,
}

/// A session that was taken in.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    uid: String,
    session: ChatSessionId,
    user: UserId,
    drone: DroneId,
    adoption: Option<Adoption>,
    idle: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    held: Option<bool>,
    pod_uid: Option<String>,
    place: (Option<String>, Option<String>),
    drone: Option<Arc<Drone>>,
}

#[derive(Debug)]
struct Retry {
    at: Instant,
    wait: Duration,
}

/// Why an object has to be looked at again.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("failed to read or write the store")]
    Store(#[source] StoreError),
    #[error("failed to write into the cluster")]
    Cluster(#[source] ApiError),
    /// Its status says why.
    #[error("the session cannot be taken in yet")]
    NotTaken,
}

impl Observer {
    async fn run(mut self) {
        // A session is looked at with its drone, so both kinds must be there.
        self.fleet.synced().await;
        self.forget_absent().await;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let fleet = Arc::clone(&self.fleet);
            let keys = tokio::select! {
                keys = fleet.changed() => keys.into_iter().collect(),
                _ = ticks.tick() => {
                    fleet.count_phases();
                    for drone in fleet.take_stale() {
                        cluster::end_connection(&self.app, &drone);
                    }
                    self.due()
                }
            };
            for key in keys {
                self.look(key).await;
            }
        }
    }

    fn due(&self) -> Vec<Key> {
        let now = Instant::now();
        self.retries.iter().filter(|(_, retry)| retry.at <= now).map(|(key, _)| key.clone()).collect()
    }

    async fn look(&mut self, key: Key) {
        let looked = match &key {
            Key::Session(name) => self.look_at_session(name).await,
            Key::Drone(name) => self.look_at_drone(&DroneId::from(name.as_str())).await,
        };
        let Err(error) = looked else {
            self.retries.remove(&key);
            return;
        };
        if !matches!(error, LookError::NotTaken) {
            tracing::warn!(
                ?key,
                error = &error as &dyn std::error::Error,
                "failed to act on an object of the cluster; it is looked at again"
            );
        }
        let wait = self.retries.get(&key).map_or(FIRST_RETRY, |retry| (retry.wait * 2).min(LONGEST_RETRY));
        self.retries.insert(key, Retry { at: Instant::now() + wait, wait });
    }

    async fn look_at_session(&mut self, name: &str) -> Result<(), LookError> {
        let seen = self.fleet.session(name);
        let is_same = |known: &Known| seen.as_ref().is_some_and(|seen| seen.uid == known.uid);
        if let Some(known) = self.known.get(name).filter(|known| !is_same(known)).cloned() {
            self.session_gone(&known).await?;
            self.known.remove(name);
        }
        let Some(seen) = seen else { return Ok(()) };
        if self.is_ending(&seen) {
            return Ok(());
        }
        if seen.stale_mark {
            self.fleet.unmark(name).await.map_err(LookError::Cluster)?;
        }
        let mut known = match self.known.get(name) {
            Some(known) => known.clone(),
            None => self.take_in(&seen).await?,
        };
        known.drone = DroneId::from(seen.drone.as_str());
        if self.known.get(name).is_none_or(|before| before.drone != known.drone) {
            cluster::adopt(&self.app, &known.drone, &known.user, &known.session)
                .await
                .map_err(LookError::Store)?;
        }
        let idle = idle(&self.app, &known.session);
        if known.idle != idle {
            known.idle = idle;
            self.app.sessions.tell(&known.session, || Input::IdleAfter(idle));
        }
        let (drone, adoption) = (known.drone.clone(), known.adoption.clone());
        self.known.insert(name.to_owned(), known);
        self.look_at_drone(&drone).await?;
        match adoption.filter(|adoption| seen.adoption.as_ref() != Some(adoption)) {
            Some(adoption) => self.fleet.write_adoption(name, &adoption).await.map_err(LookError::Cluster),
            None => Ok(()),
        }
    }

    async fn take_in(&mut self, seen: &Session) -> Result<Known, LookError> {
        match take_in(&*self.app.store, seen, Timestamp::now()).await.map_err(LookError::Store)? {
            Ok(Taken { session, user, adoption }) => {
                if adoption.is_some() && seen.adoption != adoption {
                    self.fleet.metrics.adopted.inc();
                }
                let idle = self.app.sessions.limits.idle;
                let (uid, drone) = (seen.uid.clone(), DroneId::from(seen.drone.as_str()));
                Ok(Known { uid, session, user, drone, adoption, idle })
            }
            Err(NotTaken(adoption)) => {
                if seen.adoption.as_ref() != Some(&adoption) {
                    tracing::info!(name = %seen.name, "a session of the cluster is not taken in: {}", adoption.message);
                    self.fleet.write_adoption(&seen.name, &adoption).await.map_err(LookError::Cluster)?;
                }
                Err(LookError::NotTaken)
            }
        }
    }

    async fn look_at_drone(&mut self, drone: &DroneId) -> Result<(), LookError> {
        let session = self.fleet.session_of_drone(drone.as_str());
        let seen = self.fleet.drone(drone.as_str());
        let user = match &session {
            Some(session) if self.is_ending(session) => return Ok(()),
            Some(session) => {
                let known = self.known.get(&session.name).filter(|known| known.uid == session.uid);
                // Its session is taken in first, and looks at it then.
                let Some(known) = known.filter(|known| known.drone == *drone) else { return Ok(()) };
                Some((known.user.clone(), session.user.clone()))
            }
            None => self.owner_of_free(drone, seen.as_deref()).await?,
        };
        let Some((user, handle)) = user else { return Ok(()) };
        self.fleet.own(drone, Owner { user, handle });
        let news = news(session.as_deref(), seen.as_deref());
        self.note(drone, &news, seen).await?;
        self.fleet.tell(drone, news);
        Ok(())
    }

    /// Whose a drone is that works for no session: the hub made it, and has a record of it.
    async fn owner_of_free(
        &mut self,
        drone: &DroneId,
        seen: Option<&Drone>,
    ) -> Result<Option<(UserId, String)>, LookError> {
        let record = self.app.store.drone(drone).await.map_err(LookError::Store)?;
        let Some(record) = record.filter(|record| record.registration.chat_session_id.is_none()) else {
            return Ok(None);
        };
        let user = record.registration.user;
        let Some(seen) = seen else {
            if self.drones.remove(drone).is_some() {
                self.fleet.forget(drone);
                cluster::free_drone_gone(&self.app, drone).await.map_err(LookError::Store)?;
            }
            return Ok(None);
        };
        let owner = self.app.store.user(&user).await.map_err(LookError::Store)?;
        Ok(owner
            .map(|owner| owner.user.handle)
            .filter(|handle| *handle == seen.user)
            .map(|handle| (user, handle)))
    }

    /// Acts on what has changed about a drone since it was last looked at.
    async fn note(&mut self, drone: &DroneId, news: &News, now: Option<Arc<Drone>>) -> Result<(), LookError> {
        let before = self.drones.entry(drone.clone()).or_default();
        let changed = match (&before.drone, &now) {
            (Some(before), Some(now)) => before.differs(now),
            (before, now) => before.is_some() != now.is_some(),
        };
        if changed {
            self.fleet.forget_answers(drone);
        }
        let pod_uid = now.as_ref().and_then(|drone| drone.pod_uid.clone());
        if pod_uid != before.pod_uid {
            self.fleet.show_pod(drone, pod_uid.as_deref());
            if pod_uid.as_deref().is_some_and(|uid| self.fleet.is_of_another_pod(drone, uid)) {
                cluster::end_connection(&self.app, drone);
            }
            before.pod_uid = pod_uid;
        }
        let place = now.as_ref().map(|drone| (drone.pod.clone(), drone.node.clone())).unwrap_or_default();
        if place != before.place {
            before.place = place.clone();
            cluster::note_pod(&self.app, drone, place.0, place.1).await;
        }
        before.drone = now;
        if before.held != Some(news.held) {
            cluster::hold(&self.app, drone, news.held).await.map_err(LookError::Store)?;
            before.held = Some(news.held);
        }
        Ok(())
    }

    async fn session_gone(&mut self, known: &Known) -> Result<(), LookError> {
        self.drones.remove(&known.drone);
        self.fleet.forget(&known.drone);
        self.fleet.ended(&known.session);
        let event = deleted(&known.drone);
        cluster::session_gone(&self.app, &known.session, event).await.map_err(LookError::Store)
    }

    fn is_ending(&self, seen: &Session) -> bool {
        [&seen.name, &seen.uid].into_iter().any(|id| self.fleet.is_ending(&id.as_str().into()))
    }

    /// Sessions that were deleted in the cluster while no hub looked.
    async fn forget_absent(&self) {
        let records = match self.app.store.all_drones().await {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "failed to read the drones that are known"
                );
                return;
            }
        };
        for DroneRegistration { id, chat_session_id, phase, .. } in
            records.into_iter().map(|record| record.registration)
        {
            let Some(session) = chat_session_id.filter(|session| is_of_cluster(&id, session)) else {
                continue;
            };
            // One of the hub's own that is starting may not have been made yet.
            let may_be_new = phase == DronePhase::Starting && !is_adopted(&session);
            if may_be_new || self.fleet.session_of(&session).is_some() {
                continue;
            }
            if let Err(error) = cluster::session_gone(&self.app, &session, deleted(&id)).await {
                tracing::error!(%session, error = &error as &dyn std::error::Error, "failed to archive a session that is gone");
            }
        }
    }
}

/// Another fleet names its drones otherwise; what it knew is none of the cluster's.
fn is_of_cluster(drone: &DroneId, session: &ChatSessionId) -> bool {
    drone.as_str() == session.as_str() || is_adopted(session)
}

/// Its id is a resource's uid: of the hub's own ids none has a dash.
fn is_adopted(session: &ChatSessionId) -> bool {
    session.as_str().contains('-')
}

fn deleted(drone: &DroneId) -> FleetEvent {
    let News { phase, reason, message, restarts, held: _ } = session_deleted();
    FleetEvent { drone: drone.clone(), phase, reason, message, restarts, since: Timestamp::now() }
}

//! Starting and stopping: what is written into the cluster for that, by what is seen there now.

use std::sync::Arc;
use std::time::Duration;

use crds::names;
use protocol::ids::{ChatSessionId, DroneId};
use serde_json::Value;

use super::api::KubeApi;
use super::seen::{Drone, Session, Wish};
use super::watch::Shared;
use super::{KubeFleet, Owner, build, failed};
use crate::fleet::{DroneSpec, FleetError, SessionFacts};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// Why a start, a stop or a check of the cluster's drones fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(
        "the API server has not answered since the hub started; is it reachable, and may the hub list chatsessions and droneregistrations?"
    )]
    NotSynced,
    #[error("the resource {name:?} in the cluster is {other}'s; delete it or use another session")]
    OtherUser { name: String, other: String },
    #[error(
        "the chat session has the drone {0:?} in the cluster and cannot change it; make a new session for another drone"
    )]
    OtherDrone(String),
    #[error(
        "workspaces of a cluster are its volume claims: set the session's spec.workspace.retention to Delete, or delete the claim"
    )]
    Claims,
}

/// Who wants a drone to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// Work that is to be done: not against a person's word.
    Work,
    Person,
}

impl KubeFleet {
    pub(super) async fn run(&self, spec: &DroneSpec, who: Asks) -> Result<(), FleetError> {
        self.synced_for("start", &spec.id).await?;
        let owner = Owner { user: spec.user.clone(), handle: spec.facts.owner.clone() };
        match (&spec.session, &spec.facts.session) {
            (Some(session), Some(facts)) => self.run_session(spec, session, facts, who).await?,
            (None, _) | (_, None) => self.run_free(spec, who).await?,
        }
        self.own(&spec.id, owner);
        Ok(())
    }

    async fn run_session(
        &self,
        spec: &DroneSpec,
        id: &ChatSessionId,
        facts: &SessionFacts,
        who: Asks,
    ) -> Result<(), FleetError> {
        let drone = &spec.id;
        let seen = if let Some(seen) = self.session_of(id).filter(|seen| !seen.deleting) {
            seen
        } else {
            let own = names::drone(id.as_str());
            let other = Some(drone.as_str()).filter(|drone| *drone != own);
            let made = build::session(id.as_str(), &spec.facts.owner, facts, other);
            let there =
                self.api.create_session(&made).await.map_err(|error| failed("start", drone, error))?;
            self.saw_session(Some(there.clone()));
            let Some(seen) = Session::of(there) else { return Ok(()) };
            Arc::new(seen)
        };
        check(drone, &seen.name, &seen.user, spec)?;
        if seen.drone != drone.as_str() {
            return Err(failed("start", drone, Trouble::OtherDrone(seen.drone.clone())));
        }
        let of_drone = self.drone(drone.as_str()).map_or(Wish::Run, |seen| seen.wish);
        if who == Asks::Work && (seen.wish == Wish::Stop || of_drone == Wish::Stop) {
            return Err(FleetError::Held(drone.clone()));
        }
        if seen.wish != Wish::Run {
            let patched = self.api.patch_session(&seen.name, &build::run()).await;
            self.saw_session(patched.map_err(|error| failed("resume", drone, error))?);
        }
        self.wake_drone(drone, of_drone).await
    }

    async fn run_free(&self, spec: &DroneSpec, who: Asks) -> Result<(), FleetError> {
        let drone = &spec.id;
        let seen = if let Some(seen) = self.drone(drone.as_str()) {
            seen
        } else {
            let made = build::free_drone(drone.as_str(), &spec.facts.owner, &self.config.class);
            let there = self.api.create_drone(&made).await.map_err(|error| failed("start", drone, error))?;
            self.saw_drone(Some(there.clone()));
            let Some(seen) = Drone::of(there) else { return Ok(()) };
            Arc::new(seen)
        };
        check(drone, &seen.name, &seen.user, spec)?;
        if who == Asks::Work && seen.wish == Wish::Stop {
            return Err(FleetError::Held(drone.clone()));
        }
        self.wake_drone(drone, seen.wish).await
    }

    async fn wake_drone(&self, drone: &DroneId, wish: Wish) -> Result<(), FleetError> {
        if wish != Wish::Run {
            let patched = self.api.patch_drone(drone.as_str(), &build::run()).await;
            self.saw_drone(patched.map_err(|error| failed("resume", drone, error))?);
        }
        Ok(())
    }

    /// Suspends the session of the drone, or the drone itself where it has none.
    pub(super) async fn halt(&self, drone: &DroneId, to: Wish, patch: &Value) -> Result<(), FleetError> {
        self.synced_for("suspend", drone).await?;
        let not_done = |error| failed("suspend", drone, error);
        let is_done = |wish: Wish| wish == to || wish == Wish::Stop;
        if let Some(session) = self.session_of_drone(drone.as_str()) {
            if !is_done(session.wish) {
                self.saw_session(self.api.patch_session(&session.name, patch).await.map_err(not_done)?);
            }
        } else if let Some(free) = self.drone(drone.as_str()) {
            if !is_done(free.wish) {
                self.saw_drone(self.api.patch_drone(&free.name, patch).await.map_err(not_done)?);
            }
        } else {
            return Err(FleetError::Unknown(drone.clone()));
        }
        Ok(())
    }
}

/// Ends when the session's resource is gone, or never was.
pub(super) async fn delete_until_gone(api: &KubeApi, shared: &Shared, session: &ChatSessionId) {
    let mut wait = FIRST_RETRY;
    loop {
        shared.synced().await;
        let Some(seen) = shared.index.lock().session_of(session) else { return };
        match api.delete_session(&seen.name, &seen.uid).await {
            Ok(()) => return,
            Err(error) => {
                tracing::warn!(%session, error = &error as &dyn std::error::Error, "failed to delete a deleted session's resource; it is tried again");
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_RETRY);
    }
}

/// A resource of another user's is none of ours, whatever it is called.
fn check(drone: &DroneId, name: &str, user: &str, spec: &DroneSpec) -> Result<(), FleetError> {
    if user == spec.facts.owner {
        return Ok(());
    }
    Err(failed("start", drone, Trouble::OtherUser { name: name.to_owned(), other: user.to_owned() }))
}

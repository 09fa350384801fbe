//! What runs drones. The hub says which drone should run on which workspace; a fleet makes it so and tells what happens.
//!
//! `process` starts drones as child processes on plain directories of this machine, `kube` as pods of a cluster, by way
//! of the resources that the operator turns into pods.

#[cfg(feature = "kube")]
pub mod kube;
pub mod process;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use protocol::ids::{ChatSessionId, DroneId, UserId};
use protocol::value::{ChatSessionMode, DronePhase, ReasoningEffort};
use tokio::sync::broadcast;

/// A drone that should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroneSpec {
    pub id: DroneId,
    pub user: UserId,
    /// Names the workspace where there is one; else the drone's own id does.
    pub session: Option<ChatSessionId>,
    pub facts: Arc<Facts>,
}

/// What a fleet elsewhere tells others of the drones that it runs. From the store, as it is at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The user's handle.
    pub owner: String,
    /// Of the session that the drone works for.
    pub session: Option<SessionFacts>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// Absent: nobody has named it yet.
    pub title: Option<String>,
    /// Of its project.
    pub slug: String,
    pub git_url: Option<String>,
    pub mode: ChatSessionMode,
    pub model: Option<ModelFacts>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFacts {
    pub provider: String,
    pub name: String,
    pub effort: Option<ReasoningEffort>,
}

/// What became of a drone, as it happens; the source of `droneStatus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetEvent {
    pub drone: DroneId,
    pub phase: DronePhase,
    /// One word for machines: `Started`, `ProcessExited`, `BackOff`, `StartFailed`, `Suspended`, `Terminated`, …
    pub reason: Option<String>,
    /// Words for a person: what happened, and what happens next.
    pub message: Option<String>,
    /// Restarts of the whole drone by the fleet, not those by the drone's own supervisor.
    pub restarts: u32,
    pub since: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error("drone {0} is not known to the fleet")]
    Unknown(DroneId),
    /// Stopped by a person: only a person lets it run again.
    #[error("drone {0} was stopped by a person; resume it to go on")]
    Held(DroneId),
    /// It may be all right in a moment; ask again.
    #[error("drone {drone} is not known to the hub yet: {why}")]
    NotYet { drone: DroneId, why: &'static str },
    #[error("failed to check the token of a test")]
    Tester(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("a test signs in already")]
    TesterBusy,
    #[error("failed to {action} drone {drone}")]
    Failed {
        action: &'static str,
        drone: DroneId,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Who a drone's token says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroneIdentity {
    pub drone: DroneId,
    pub user: UserId,
}

#[async_trait]
pub trait Fleet: Send + Sync + 'static {
    /// Makes the drone run; nothing happens when it does already. Answers when that is under way, not when the drone
    /// is there: it is there when it connects.
    async fn start(&self, spec: DroneSpec) -> Result<(), FleetError>;

    /// As `start`, of a drone that is connected and may work for another session than before.
    async fn bind(&self, _spec: DroneSpec) -> Result<(), FleetError> {
        Ok(())
    }

    /// A person lets a drone run again, whoever stopped it.
    async fn resume(&self, spec: DroneSpec) -> Result<(), FleetError> {
        self.start(spec).await
    }

    /// A person stops the drone. Within the grace period; it keeps its workspace.
    async fn suspend(&self, drone: &DroneId) -> Result<(), FleetError>;

    /// The hub stops the drone for lack of work. Whoever wants to work starts it again.
    async fn suspend_idle(&self, drone: &DroneId) -> Result<(), FleetError> {
        self.suspend(drone).await
    }

    /// Sees to it that nobody else starts the drone again: it is about to be terminated, and may still stop by itself.
    async fn withhold(&self, _drone: &DroneId) -> Result<(), FleetError> {
        Ok(())
    }

    /// As `suspend`, but for good: the fleet forgets the drone. Its workspace stays.
    async fn terminate(&self, drone: &DroneId) -> Result<(), FleetError>;

    /// The session is deleted: its drone ends, and nothing starts one for it again.
    async fn end_session(&self, _session: &ChatSessionId, drone: &DroneId) -> Result<(), FleetError> {
        self.terminate(drone).await
    }

    /// Which drone works for the session, where `known` is the one that the store knows. A fleet that names drones
    /// after their sessions says so here.
    fn drone_of(&self, _session: &ChatSessionId, known: Option<&DroneId>) -> DroneId {
        known.cloned().unwrap_or_else(DroneId::generate)
    }

    /// After how long without work the session's drone is suspended, where the session says so itself.
    fn idle_timeout(&self, _session: &ChatSessionId) -> Option<Duration> {
        None
    }

    /// What is wrong with the fleet as a whole, in words for an administrator.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Removes a terminated drone's workspace.
    async fn delete_workspace(&self, spec: DroneSpec) -> Result<(), FleetError>;

    /// Checks the token of a drone's CONNECT. `None`: not good for this drone. An error is of the moment: the drone is
    /// to come back.
    async fn authenticate(&self, drone: &DroneId, token: &str) -> Result<Option<DroneIdentity>, FleetError>;

    /// Whether the token is of the pod that tries the installation (`helm test`).
    async fn is_tester(&self, _token: &str) -> Result<bool, FleetError> {
        Ok(false)
    }

    /// Events from now on. A receiver that lags asks for `snapshot`.
    fn watch(&self) -> broadcast::Receiver<FleetEvent>;

    /// The newest event of each drone that the fleet knows.
    async fn snapshot(&self) -> Vec<FleetEvent>;

    /// Stops every drone within the grace period when `stop_drones`, else lets them work on for the next hub.
    async fn close(&self, stop_drones: bool);
}

/// Shared handle of a fleet.
pub type SharedFleet = Arc<dyn Fleet>;

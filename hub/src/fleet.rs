//! What runs drones. The hub says which drone should run on which workspace; a fleet makes it so and tells what happens.
//!
//! `process` starts drones as child processes on plain directories of this machine.

pub mod process;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use protocol::ids::{ChatSessionId, DroneId, UserId};
use protocol::value::DronePhase;
use tokio::sync::broadcast;

/// A drone that should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroneSpec {
    pub id: DroneId,
    pub user: UserId,
    /// Names the workspace where there is one; else the drone's own id does.
    pub session: Option<ChatSessionId>,
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

    /// Stops the drone within the grace period and keeps its workspace.
    async fn suspend(&self, drone: &DroneId) -> Result<(), FleetError>;

    /// As `suspend`, but for good: the fleet forgets the drone. Its workspace stays.
    async fn terminate(&self, drone: &DroneId) -> Result<(), FleetError>;

    /// Removes a terminated drone's workspace.
    async fn delete_workspace(&self, spec: DroneSpec) -> Result<(), FleetError>;

    /// Checks the token of a drone's CONNECT. `None`: not good for this drone.
    async fn authenticate(&self, drone: &DroneId, token: &str) -> Result<Option<DroneIdentity>, FleetError>;

    /// Events from now on. A receiver that lags asks for `snapshot`.
    fn watch(&self) -> broadcast::Receiver<FleetEvent>;

    /// The newest event of each drone that the fleet knows.
    async fn snapshot(&self) -> Vec<FleetEvent>;

    /// Stops every drone within the grace period when `stop_drones`, else lets them work on for the next hub.
    async fn close(&self, stop_drones: bool);
}

/// Shared handle of a fleet.
pub type SharedFleet = Arc<dyn Fleet>;

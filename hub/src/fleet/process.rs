//! Drones as child processes on plain directories of this machine.
//!
//! Each drone has a keeper, a task that owns its record and its process. A process outlives the hub: what is needed
//! to find it again is on disk, so that the next hub on the same data adopts it instead of starting a second one.

mod identity;
mod keeper;
mod launch;
mod layout;
mod output;
mod policy;
mod record;
mod stop;
mod token;
mod tree;
mod watched;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use jiff::Timestamp;
use parking_lot::Mutex;
use protocol::ids::{DroneId, UserId};
use protocol::value::DronePhase;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use self::launch::Program;
pub use self::layout::Layout;
pub use self::policy::RestartPolicy;

use self::keeper::{Command, Keeper, Life, Shared, StopReason};
use self::policy::Restarts;
use self::record::Record;
use super::{DroneIdentity, DroneSpec, Fleet, FleetError, FleetEvent};

/// How many events a receiver may lag behind before it has to ask for a snapshot.
const EVENTS_KEPT: usize = 256;
/// How many requests may wait for one drone's keeper.
const COMMANDS_KEPT: usize = 16;

#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// The hub's data directory.
    pub layout: Layout,
    pub program: Program,
    /// The address at which drones reach the hub.
    pub hub: String,
    /// How long a drone may take to stop before it is killed.
    pub grace: Duration,
    pub restarts: RestartPolicy,
}

/// Why a fleet cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ProcessFleetError {
    #[error("failed to read the drones in {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Why a drone does not stop.
#[derive(Debug, thiserror::Error)]
pub(super) enum StopError {
    #[error("failed to signal the drone's process")]
    Signal(#[source] io::Error),
    #[error("failed to look at the drone's processes")]
    Look(#[source] io::Error),
    #[error("process {0} survives being killed; it may hang in the kernel")]
    Survived(i32),
    #[error("the fleet is closed")]
    Closed,
}

#[derive(Debug, thiserror::Error)]
enum WorkspaceError {
    #[error("the drone runs; terminate it first")]
    Running,
    #[error("failed to remove it")]
    Remove(#[source] io::Error),
}

pub struct ProcessFleet {
    config: Arc<ProcessConfig>,
    /// Short locks for looking up and adding; never held over an await. `None`: closed, nothing is started any more.
    drones: Mutex<Option<HashMap<DroneId, Handle>>>,
    events: broadcast::Sender<FleetEvent>,
    keepers: TaskTracker,
}

#[derive(Clone)]
struct Handle {
    user: UserId,
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

impl ProcessFleet {
    /// Adopts the drones that an earlier hub on the same data has left running. Call it inside a runtime, and only
    /// while holding the data directory: two fleets on one directory would fight.
    pub fn open(config: ProcessConfig) -> Result<Self, ProcessFleetError> {
        let fleet = Self {
            drones: Mutex::new(Some(HashMap::new())),
            events: broadcast::Sender::new(EVENTS_KEPT),
            keepers: TaskTracker::new(),
            config: Arc::new(config),
        };
        let path = fleet.config.layout.drones();
        let read = |source| ProcessFleetError::Read { path: path.clone(), source };
        layout::create_private_dir(&path).map_err(read)?;
        for entry in std::fs::read_dir(&path).map_err(read)? {
            let file = entry.map_err(read)?.path().join("process.json");
            match Record::load(&file) {
                Ok(Some(record)) => fleet.restore(record).map_err(read)?,
                Ok(None) => {}
                // One broken record must not keep the hub and all other drones from working.
                Err(error) => {
                    tracing::error!(file = %file.display(), %error, "failed to read a drone's record");
                }
            }
        }
        Ok(fleet)
    }

    /// Goes on with a drone that an earlier hub knew.
    fn restore(&self, mut record: Record) -> io::Result<()> {
        let running = launch::find(&record)?;
        let had_process = record.process.take().is_some();
        let (life, phase, reason, message) = if let Some(running) = running {
            record.process = Some(running.process.identity.clone());
            if record.hub == self.config.hub {
                let life = Life::Running { running, since: Instant::now() };
                (life, DronePhase::Recovering, "Adopted", "the drone worked on while the hub was away")
            } else {
                let message = "the hub has another address now: the drone is restarted to find it";
                (Life::Outdated { running }, DronePhase::Recovering, "HubMoved", message)
            }
        } else {
            record.token_sha256 = None;
            let (reason, message) = if had_process {
                ("ProcessExited", "the drone ended while the hub was away")
            } else {
                ("NotStarted", "the drone is started when it is needed")
            };
            (Life::Idle, DronePhase::Offline, reason, message)
        };
        tracing::info!(drone = %record.drone, %phase, reason, "{message}");
        let latest = FleetEvent {
            drone: record.drone.clone(),
            phase,
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            restarts: record.restarts,
            since: Timestamp::now(),
        };
        let handle = self.keep(record.clone(), latest, life);
        if let Some(drones) = &mut *self.drones.lock() {
            drones.insert(record.drone, handle);
        }
        Ok(())
    }

    /// Starts the keeper of a drone that has none.
    fn keep(&self, record: Record, latest: FleetEvent, life: Life) -> Handle {
        let (commands, inbox) = mpsc::channel(COMMANDS_KEPT);
        let shared =
            Arc::new(Shared { latest: Mutex::new(latest), token: Mutex::new(record.token_sha256.clone()) });
        let handle = Handle { user: record.user.clone(), commands, shared: Arc::clone(&shared) };
        let keeper = Keeper {
            config: Arc::clone(&self.config),
            restarts: Restarts::new(self.config.restarts),
            record,
            commands: inbox,
            events: self.events.clone(),
            shared,
        };
        self.keepers.spawn(keeper.run(life));
        handle
    }

    /// The drone's keeper, where there is one that works.
    fn handle(&self, drone: &DroneId) -> Option<Handle> {
        self.drones.lock().as_ref()?.get(drone).filter(|handle| !handle.commands.is_closed()).cloned()
    }

    /// `None`: the fleet is closed.
    fn handle_or_new(&self, spec: &DroneSpec) -> Option<Handle> {
        let mut drones = self.drones.lock();
        let drones = drones.as_mut()?;
        if let Some(handle) = drones.get(&spec.id).filter(|handle| !handle.commands.is_closed()) {
            return Some(handle.clone());
        }
        let record = Record::new(spec.clone(), self.config.layout.workspace(spec), &self.config.hub);
        let latest = FleetEvent {
            drone: spec.id.clone(),
            phase: DronePhase::Offline,
            reason: Some("NotStarted".to_owned()),
            message: None,
            restarts: 0,
            since: Timestamp::now(),
        };
        let handle = self.keep(record, latest, Life::Idle);
        drones.insert(spec.id.clone(), handle.clone());
        Some(handle)
    }

    async fn stop(&self, drone: &DroneId, why: StopReason, action: &'static str) -> Result<(), FleetError> {
        let handle = self.handle(drone).ok_or_else(|| FleetError::Unknown(drone.clone()))?;
        handle.stop(why).await.map_err(|error| failed(action, drone, error))
    }
}

impl Handle {
    async fn stop(&self, why: StopReason) -> Result<(), StopError> {
        let (done, stopped) = oneshot::channel();
        self.commands.send(Command::Stop { why, done }).await.map_err(|_| StopError::Closed)?;
        stopped.await.unwrap_or(Err(StopError::Closed))
    }
}

#[async_trait]
impl Fleet for ProcessFleet {
    async fn start(&self, spec: DroneSpec) -> Result<(), FleetError> {
        // A keeper that ends at this very moment, because the drone is terminated, is replaced by a new one.
        for _ in 0..2 {
            let (done, started) = oneshot::channel();
            let Some(handle) = self.handle_or_new(&spec) else { break };
            let sent = handle.commands.send(Command::Start { spec: spec.clone(), done }).await;
            if sent.is_ok() && started.await.is_ok() {
                return Ok(());
            }
        }
        Err(failed("start", &spec.id, StopError::Closed))
    }

    async fn suspend(&self, drone: &DroneId) -> Result<(), FleetError> {
        self.stop(drone, StopReason::Suspend, "suspend").await
    }

    async fn terminate(&self, drone: &DroneId) -> Result<(), FleetError> {
        self.stop(drone, StopReason::Terminate, "terminate").await?;
        // Unless it was started anew meanwhile.
        let mut drones = self.drones.lock();
        if let Some(drones) = &mut *drones
            && drones.get(drone).is_some_and(|handle| handle.commands.is_closed())
        {
            drones.remove(drone);
        }
        Ok(())
    }

    async fn delete_workspace(&self, spec: DroneSpec) -> Result<(), FleetError> {
        if self.handle(&spec.id).is_some_and(|handle| handle.shared.token.lock().is_some()) {
            return Err(failed("delete the workspace of", &spec.id, WorkspaceError::Running));
        }
        let by_session = self.config.layout.workspace(&spec);
        let by_drone = self.config.layout.workspace(&DroneSpec { session: None, ..spec.clone() });
        let removed = tokio::task::spawn_blocking(move || {
            layout::remove_workspace(&by_session)?;
            layout::remove_workspace(&by_drone)
        });
        let removed = removed.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        removed.map_err(|error| failed("delete the workspace of", &spec.id, WorkspaceError::Remove(error)))
    }

    async fn authenticate(&self, drone: &DroneId, token: &str) -> Result<Option<DroneIdentity>, FleetError> {
        let Some(Handle { user, commands: _, shared }) = self.handle(drone) else { return Ok(None) };
        let good = shared.token.lock().as_ref().is_some_and(|hash| hash.matches(token));
        Ok(good.then(|| DroneIdentity { drone: drone.clone(), user }))
    }

    fn watch(&self) -> broadcast::Receiver<FleetEvent> {
        self.events.subscribe()
    }

    async fn snapshot(&self) -> Vec<FleetEvent> {
        let drones = self.drones.lock();
        drones.iter().flat_map(HashMap::values).map(|handle| handle.shared.latest.lock().clone()).collect()
    }

    async fn close(&self, stop_drones: bool) {
        // A session that wants its drone back just now must not get a new one.
        let handles = self.drones.lock().take().unwrap_or_default();
        let stops = handles.into_iter().map(|(drone, handle)| async move {
            if !stop_drones {
                // A keeper that is gone already has left.
                let _gone = handle.commands.send(Command::Leave).await;
                return;
            }
            match handle.stop(StopReason::HubStops).await {
                Ok(()) | Err(StopError::Closed) => {}
                Err(error) => tracing::error!(%drone, %error, "failed to stop a drone"),
            }
        });
        join_all(stops).await;
        self.keepers.close();
        self.keepers.wait().await;
    }
}

fn failed(
    action: &'static str,
    drone: &DroneId,
    source: impl std::error::Error + Send + Sync + 'static,
) -> FleetError {
    FleetError::Failed { action, drone: drone.clone(), source: Box::new(source) }
}

#[cfg(test)]
mod tests;

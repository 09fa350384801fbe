//! A fleet that starts nothing: it mints tokens and says who should run. Tests play the drones.

use std::collections::HashMap;

use async_trait::async_trait;
use hub::fleet::{DroneIdentity, DroneSpec, Fleet, FleetError, FleetEvent};
use jiff::Timestamp;
use parking_lot::Mutex;
use protocol::ids::{ChatSessionId, DroneId};
use protocol::value::DronePhase;
use tokio::sync::broadcast;

pub(crate) struct TestFleet {
    wanted: Mutex<HashMap<DroneId, Wanted>>,
    events: broadcast::Sender<FleetEvent>,
}

struct Wanted {
    spec: DroneSpec,
    running: bool,
    starts: u32,
}

impl TestFleet {
    pub(crate) fn new() -> Self {
        Self { wanted: Mutex::default(), events: broadcast::Sender::new(64) }
    }

    pub(crate) fn token(drone: &DroneId) -> String {
        format!("token of {drone}")
    }

    /// The drone that runs, or should, for the session.
    pub(crate) fn drone_of(&self, session: &ChatSessionId) -> Option<DroneId> {
        let wanted = self.wanted.lock();
        let mut running = wanted.values().filter(|wanted| wanted.running);
        running
            .find(|wanted| wanted.spec.session.as_ref() == Some(session))
            .map(|wanted| wanted.spec.id.clone())
    }

    pub(crate) fn is_running(&self, drone: &DroneId) -> bool {
        self.wanted.lock().get(drone).is_some_and(|wanted| wanted.running)
    }

    pub(crate) fn starts(&self, drone: &DroneId) -> u32 {
        self.wanted.lock().get(drone).map_or(0, |wanted| wanted.starts)
    }

    pub(crate) fn say(&self, drone: &DroneId, phase: DronePhase, message: &str) {
        // Nobody listens while no hub is up.
        let _nobody = self.events.send(FleetEvent {
            drone: drone.clone(),
            phase,
            reason: Some("Test".to_owned()),
            message: Some(message.to_owned()),
            restarts: 0,
            since: Timestamp::now(),
        });
    }

    fn stop(&self, drone: &DroneId, phase: DronePhase) -> Result<(), FleetError> {
        let known = self.wanted.lock().get_mut(drone).map(|wanted| wanted.running = false);
        known.ok_or_else(|| FleetError::Unknown(drone.clone()))?;
        self.say(drone, phase, "stopped");
        Ok(())
    }
}

#[async_trait]
impl Fleet for TestFleet {
    async fn start(&self, spec: DroneSpec) -> Result<(), FleetError> {
        let drone = spec.id.clone();
        {
            let mut all = self.wanted.lock();
            let wanted = all.entry(drone.clone()).or_insert(Wanted { spec, running: false, starts: 0 });
            if wanted.running {
                return Ok(());
            }
            wanted.running = true;
            wanted.starts += 1;
        }
        self.say(&drone, DronePhase::Starting, "starting");
        Ok(())
    }

    async fn suspend(&self, drone: &DroneId) -> Result<(), FleetError> {
        self.stop(drone, DronePhase::Suspended)
    }

    async fn terminate(&self, drone: &DroneId) -> Result<(), FleetError> {
        self.stop(drone, DronePhase::Offline)
    }

    async fn delete_workspace(&self, _: DroneSpec) -> Result<(), FleetError> {
        Ok(())
    }

    async fn authenticate(&self, drone: &DroneId, token: &str) -> Result<Option<DroneIdentity>, FleetError> {
        let wanted = self.wanted.lock();
        let identity = wanted
            .get(drone)
            .filter(|_| token == Self::token(drone))
            .map(|wanted| DroneIdentity { drone: drone.clone(), user: wanted.spec.user.clone() });
        Ok(identity)
    }

    fn watch(&self) -> broadcast::Receiver<FleetEvent> {
        self.events.subscribe()
    }

    async fn snapshot(&self) -> Vec<FleetEvent> {
        Vec::new()
    }

    async fn close(&self, _: bool) {}
}

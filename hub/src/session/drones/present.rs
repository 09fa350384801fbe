//! What must be decided at once about drones, without waiting for the store: who is bound to whom, and who is connected.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::error::{Code, Refusal};
use protocol::ids::{ChatSessionId, DroneId};
use protocol::value::DronePhase;

use crate::socket::drone::DroneConn;

#[derive(Default)]
pub struct Drones {
    /// Locked for a look-up only, never across an await.
    pub(super) now: Mutex<Present>,
    /// Held while a record is read, changed and written, so that no change is lost.
    pub(super) records: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct Present {
    pub(super) bound: HashMap<DroneId, ChatSessionId>,
    connected: HashMap<DroneId, Arc<DroneConn>>,
    /// As the fleet said last, to be counted.
    pub(super) phases: HashMap<DroneId, DronePhase>,
}

impl Drones {
    pub fn session_of(&self, drone: &DroneId) -> Option<ChatSessionId> {
        self.now.lock().bound.get(drone).cloned()
    }

    pub fn connection(&self, drone: &DroneId) -> Option<Arc<DroneConn>> {
        self.now.lock().connected.get(drone).cloned()
    }

    /// Takes a new connection in and ends the older one. Not if another has overtaken this one.
    pub(crate) fn connect(&self, conn: &Arc<DroneConn>) -> Result<(), Refusal> {
        let mut now = self.now.lock();
        if now.connected.get(&conn.drone).is_some_and(|other| other.generation > conn.generation) {
            return Err(Refusal::new(Code::Superseded, "a newer connection of this drone has taken over"));
        }
        if let Some(older) = now.connected.insert(conn.drone.clone(), Arc::clone(conn)) {
            tracing::info!(drone = %older.drone, "ended an older connection of a drone");
            older.outbox.kill();
        }
        Ok(())
    }

    pub(crate) fn disconnect(&self, conn: &DroneConn) {
        let mut now = self.now.lock();
        if now.connected.get(&conn.drone).is_some_and(|known| known.id == conn.id) {
            now.connected.remove(&conn.drone);
        }
    }

    /// Binds the drone to the session, unless either belongs to another already.
    pub(super) fn bind(&self, drone: &DroneId, session: &ChatSessionId) -> Result<(), Refusal> {
        let mut now = self.now.lock();
        if now.is_bound(drone, session)? {
            return Ok(());
        }
        if now.drone_of(session).is_some() {
            return Err(Refusal::new(Code::Conflict, "the chat session has another drone"));
        }
        now.bound.insert(drone.clone(), session.clone());
        Ok(())
    }

    /// Binds the drone to the session in place of the one that it has, which is handed back and free from now on.
    pub(super) fn replace(
        &self,
        drone: &DroneId,
        session: &ChatSessionId,
    ) -> Result<Option<DroneId>, Refusal> {
        let mut now = self.now.lock();
        if now.is_bound(drone, session)? {
            return Ok(None);
        }
        let before = now.drone_of(session);
        if let Some(before) = &before {
            now.bound.remove(before);
        }
        now.bound.insert(drone.clone(), session.clone());
        Ok(before)
    }

    /// Frees the drone, if it is this session's.
    pub(super) fn unbind(&self, drone: &DroneId, session: &ChatSessionId) {
        let mut now = self.now.lock();
        if now.bound.get(drone) == Some(session) {
            now.bound.remove(drone);
        }
    }
}

impl Present {
    /// Whether the drone is this session's already. Refuses when it is another's.
    fn is_bound(&self, drone: &DroneId, session: &ChatSessionId) -> Result<bool, Refusal> {
        match self.bound.get(drone) {
            Some(other) if other != session => {
                Err(Refusal::new(Code::DroneLocked, "the drone works for another chat session"))
            }
            bound => Ok(bound.is_some()),
        }
    }

    pub(super) fn drone_of(&self, session: &ChatSessionId) -> Option<DroneId> {
        self.bound.iter().find(|(_, one)| *one == session).map(|(drone, _)| drone.clone())
    }
}

//! The current generation of each drone: what a session token is measured against.
//!
//! The store is the truth. Who accepts a connect sets the new number here as well, so that a model call needs no look
//! into the store and an older drone is shut out at once.

use std::collections::HashMap;

use parking_lot::RwLock;
use protocol::ids::DroneId;

use crate::store::{Store, StoreError};

/// One entry per drone that has connected or asked since the start.
#[derive(Debug, Default)]
pub struct Generations {
    /// Locked for a look-up only.
    current: RwLock<HashMap<DroneId, u64>>,
}

impl Generations {
    /// A connect was accepted. A lower number than the known one changes nothing.
    pub fn set(&self, drone: &DroneId, generation: u64) {
        let mut current = self.current.write();
        let known = current.entry(drone.clone()).or_insert(generation);
        *known = generation.max(*known);
    }

    /// The drone is gone for good.
    pub fn forget(&self, drone: &DroneId) {
        self.current.write().remove(drone);
    }

    /// `None`: there is no such drone.
    pub async fn current(&self, drone: &DroneId, store: &dyn Store) -> Result<Option<u64>, StoreError> {
        let known = self.current.read().get(drone).copied();
        if known.is_some() {
            return Ok(known);
        }
        let Some(record) = store.drone(drone).await? else { return Ok(None) };
        self.set(drone, record.generation);
        Ok(Some(record.generation))
    }
}

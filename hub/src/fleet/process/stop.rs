//! Ending a drone: asked first, then forced, and nothing of it left.

use std::time::Duration;

use protocol::ids::DroneId;
use rustix::process::{Pid, Signal, kill_process_group};

use super::StopError;
use super::launch::Running;
use super::tree;

/// The supervisor is asked to end everything; after `patience` it and all that descends from it are killed.
pub(super) async fn stop(drone: &DroneId, mut running: Running, patience: Duration) -> Result<(), StopError> {
    let pid = running.process.identity.pid;
    running.process.signal(Signal::TERM).map_err(StopError::Signal)?;
    if tokio::time::timeout(patience, running.process.ended()).await.is_err() {
        tracing::warn!(%drone, pid, "the drone did not end in time and is killed");
        // A stopped supervisor starts nothing new, and as long as it is there its orphans stay its descendants.
        running.process.signal(Signal::STOP).map_err(StopError::Signal)?;
        tree::sweep(drone, Some(pid), Some(pid)).await.map_err(StopError::Look)?;
        running.process.signal(Signal::KILL).map_err(StopError::Signal)?;
        tokio::time::timeout(patience, running.process.ended())
            .await
            .map_err(|_| StopError::Survived(pid))?
            .map_err(StopError::Look)?;
    }
    if let Some(child) = &mut running.child {
        child.wait().await.map_err(StopError::Look)?;
    }
    kill_group(pid);
    Ok(())
}

/// What is left of the process group of a leader that has just ended.
pub(super) fn kill_group(leader: i32) {
    if let Some(group) = Pid::from_raw(leader) {
        // An empty group is what is hoped for.
        let _empty = kill_process_group(group, Signal::KILL);
    }
}

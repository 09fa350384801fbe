//! What a person does with a drone: stops it, ends it, lets it run again. It stays as a person wants it.

use std::time::Duration;

use protocol::document::DroneRegistration;
use protocol::drone::name as drone_name;
use protocol::error::{Code, Refusal};
use protocol::ids::DroneId;
use protocol::value::{DronePhase, DroneStatus};

use super::{change, facts, note, status};
use crate::app::SharedApp;
use crate::fleet::FleetError;
use crate::session::state::input::Input;
use crate::socket::frame::Frame;
use crate::store::{DroneRecord, refuse};

/// How long a drone has to stop by itself.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A person stops the drone and keeps its workspace. It stays stopped until a person resumes it.
pub(crate) async fn suspend(app: &SharedApp, drone: &DroneId) -> Result<(), Refusal> {
    hold(app, drone, true).await?;
    let stopped = app.fleet.suspend(drone).await;
    settle_stop(app, drone, stopped, DronePhase::Suspended).await
}

/// A person stops the drone for good. First it is marked, so that nobody starts it again; then it is asked, and given
/// ten seconds; it is offline afterwards in any case. Answers with what is left of it.
pub(crate) async fn terminate(app: &SharedApp, drone: &DroneId) -> Result<DroneRecord, Refusal> {
    let mut record = record(app, drone).await?;
    let conn = app.drones.connection(drone);
    if conn.is_none()
        && status(record.phase()) == DroneStatus::Offline
        && record.phase() != DronePhase::Suspended
    {
        return Err(Refusal::new(Code::Conflict, "the drone is offline already"));
    }
    hold(app, drone, true).await?;
    match app.fleet.withhold(drone).await {
        Ok(()) | Err(FleetError::Unknown(_)) => {}
        Err(error) => {
            tracing::error!(%drone, error = &error as &dyn std::error::Error, "failed to mark a drone as stopped");
        }
    }
    if let Some(conn) = &conn {
        // Whether or not it answers, it is stopped.
        let _answer = conn.ask(drone_name::REQUEST_TERMINATION, Frame::built(vec![]), STOP_LIMIT).await;
    }
    let in_time = tokio::time::timeout(STOP_LIMIT, app.fleet.terminate(drone)).await;
    let stopped = in_time.unwrap_or_else(|_| {
        tracing::error!(%drone, "the fleet did not stop a drone in time; its connection is cut");
        Ok(())
    });
    if let Some(conn) = conn {
        conn.outbox.kill();
    }
    settle_stop(app, drone, stopped, DronePhase::Offline).await?;
    // With a drone of a cluster that works for no session the record of it may be gone already.
    record.registration.phase = DronePhase::Offline;
    record.registration.status = status(DronePhase::Offline);
    Ok(app.store.drone(drone).await.map_err(refuse)?.unwrap_or(record))
}

/// A person lets the drone run again.
pub(crate) async fn resume(app: &SharedApp, drone: &DroneId) -> Result<(), Refusal> {
    let record = record(app, drone).await?;
    hold(app, drone, false).await?;
    let DroneRegistration { user, chat_session_id, .. } = record.registration;
    let spec = facts::spec(&*app.store, drone, &user, chat_session_id.as_ref()).await.map_err(refuse)?;
    app.fleet.resume(spec).await.map_err(|error| facts::not_started(drone, &error))
}

pub(super) async fn hold(app: &SharedApp, drone: &DroneId, held: bool) -> Result<(), Refusal> {
    change(app, drone, |record| record.held = held).await.map_err(refuse)?;
    if let Some(session) = app.drones.session_of(drone) {
        app.sessions.tell(&session, || Input::Held(held));
    }
    Ok(())
}

async fn settle_stop(
    app: &SharedApp,
    drone: &DroneId,
    stopped: Result<(), FleetError>,
    phase: DronePhase,
) -> Result<(), Refusal> {
    match stopped {
        Ok(()) | Err(FleetError::Unknown(_)) => {}
        Err(error) => {
            tracing::error!(%drone, error = &error as &dyn std::error::Error, "failed to stop a drone");
            return Err(Refusal::new(Code::Internal, format!("the drone does not stop: {error}")));
        }
    }
    note(app, drone, |record| {
        record.registration.phase = phase;
        record.registration.status = status(phase);
    })
    .await;
    Ok(())
}

async fn record(app: &SharedApp, drone: &DroneId) -> Result<DroneRecord, Refusal> {
    let record = app.store.drone(drone).await.map_err(refuse)?;
    record.ok_or_else(|| Refusal::new(Code::NotFound, "there is no such drone"))
}

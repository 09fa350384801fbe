//! What the resources of a cluster say about drones, taken into the hub's own records. Only for [`crate::cluster`],
//! which decides.

use jiff::Timestamp;
use protocol::error::Refusal;
use protocol::ids::{ChatSessionId, DroneId, UserId};
use serde_json::json;

use super::{forget, new_record, note, unbind};
use crate::app::SharedApp;
use crate::fleet::FleetEvent;
use crate::session::state::input::Input;
use crate::store::{Archive, DroneRecord, SessionPatch, StoreError};

/// The drone works for the session, which has this user: so says its resource. Whatever the records said before.
pub(crate) async fn adopt(
    app: &SharedApp,
    drone: &DroneId,
    user: &UserId,
    session: &ChatSessionId,
) -> Result<(), StoreError> {
    let before = app.store.drone_of_session(session).await?;
    if let Some(before) = before.filter(|before| before.registration.id != *drone) {
        forget(app, &before.registration.id, session).await;
    }
    match app.store.drone(drone).await? {
        Some(record)
            if record.registration.user == *user
                && record.registration.chat_session_id.as_ref() == Some(session) => {}
        Some(DroneRecord { registration, generation, held: _, token_sha256: _ }) => {
            // An earlier object of the same name, or a free drone that was bound.
            if let Some(other) = registration.chat_session_id.filter(|other| other != session) {
                unbind(app, drone, &other).await;
            }
            if registration.user != *user {
                end_connection(app, drone);
            }
            let record = new_record(drone.clone(), user.clone(), Some(session.clone()));
            app.store.put_drone(DroneRecord { generation, ..record }).await?;
        }
        None => {
            app.store.put_drone(new_record(drone.clone(), user.clone(), Some(session.clone()))).await?;
        }
    }
    let bound = bind(app, drone, session);
    if let Err(refusal) = bound {
        tracing::warn!(%drone, %session, "failed to bind a drone as its resource says: {refusal}");
    }
    if let Some(conn) = app.drones.connection(drone) {
        conn.bind(app.sessions.handle(app, session));
    }
    Ok(())
}

fn bind(app: &SharedApp, drone: &DroneId, session: &ChatSessionId) -> Result<(), Refusal> {
    if let Some(other) = app.drones.session_of(drone).filter(|other| other != session) {
        app.drones.unbind(drone, &other);
    }
    app.drones.replace(drone, session).map(drop)
}

/// A person has stopped the drone, or lets it run again, by its resource.
pub(crate) async fn hold(app: &SharedApp, drone: &DroneId, held: bool) -> Result<(), StoreError> {
    let known = app.store.drone(drone).await?;
    if known.is_none_or(|record| record.held == held) {
        return Ok(());
    }
    tracing::info!(%drone, held, "a person has changed in the cluster whether a drone may run");
    super::person::hold(app, drone, held).await.map_err(|refusal| StoreError::InUse(refusal.message))
}

/// Where the drone's pod is now.
pub(crate) async fn note_pod(app: &SharedApp, drone: &DroneId, pod: Option<String>, node: Option<String>) {
    note(app, drone, |record| {
        record.registration.pod_name = pod;
        record.registration.node_name = node;
    })
    .await;
}

/// Another pod works for the drone now: what is left of the one before is shut out.
pub(crate) fn end_connection(app: &SharedApp, drone: &DroneId) {
    if let Some(conn) = app.drones.connection(drone) {
        tracing::info!(%drone, "ended the connection of a pod that was replaced");
        conn.outbox.kill();
    }
}

/// The session's resource was deleted in the cluster. What was said stays, archived; nothing runs for it any more.
pub(crate) async fn session_gone(
    app: &SharedApp,
    session: &ChatSessionId,
    event: FleetEvent,
) -> Result<(), StoreError> {
    let drone = event.drone.clone();
    // First the news: a session that only misses its drone would have it started again.
    app.sessions.tell(session, || Input::Fleet(event));
    if let Some(conn) = app.drones.connection(&drone) {
        conn.unbind(session);
        conn.outbox.kill();
    }
    forget(app, &drone, session).await;
    let archive = SessionPatch { archive: Some(Archive::At(Timestamp::now())), ..SessionPatch::default() };
    match app.store.patch_session(session, archive).await {
        Ok(document) => {
            app.sessions.tell(session, || Input::SessionUpdated(json!(document)));
            tracing::info!(%session, "archived a session whose resource was deleted in the cluster");
            Ok(())
        }
        // It was deleted here, and its resource after it.
        Err(StoreError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A drone that worked for no session was deleted in the cluster.
pub(crate) async fn free_drone_gone(app: &SharedApp, drone: &DroneId) -> Result<(), StoreError> {
    end_connection(app, drone);
    app.generations.forget(drone);
    match app.store.delete_drone(drone).await {
        Ok(()) | Err(StoreError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

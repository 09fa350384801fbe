//! Which drone works for which session, which drones are connected, and how they are started and stopped.
//!
//! The store keeps a record of each drone; what must be decided at once, without waiting for it, is in memory
//! ([`present`]) and is read from the store at the start.

#[cfg(feature = "kube")]
pub(crate) mod cluster;
mod facts;
pub(crate) mod person;
pub mod present;

use std::time::Duration;

use jiff::Timestamp;
use protocol::document::DroneRegistration;
use protocol::drone::{Hello, name as drone_name};
use protocol::error::{Code, Refusal};
use protocol::ids::{ChatSessionId, DroneId, UserId};
use protocol::value::{DronePhase, DroneStatus};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use crate::app::SharedApp;
use crate::fleet::{FleetError, FleetEvent};
use crate::session::state::effect::DroneChoice;
use crate::session::state::input::{Input, Unanswered};
use crate::session::state::no_such_session;
use crate::socket::drone::DroneConn;
use crate::socket::frame::Frame;
use crate::store::{DroneRecord, StoreError, refuse};

const ASK_LIMIT: Duration = Duration::from_secs(10);

/// Reads what the store knows, before anybody connects.
pub async fn load(app: &SharedApp) -> Result<(), StoreError> {
    let records = app.store.all_drones().await?;
    let mut now = app.drones.now.lock();
    for DroneRecord { registration, .. } in records {
        if let Some(session) = registration.chat_session_id {
            now.bound.insert(registration.id, session);
        }
    }
    Ok(())
}

/// Finds the session's drone, or makes one, and lets the fleet run it. One that is named takes the place of the one that
/// the session has; what cannot be had changes nothing.
pub async fn claim(
    app: &SharedApp,
    session: &ChatSessionId,
    user: &UserId,
    choice: &DroneChoice,
) -> Result<DroneId, Refusal> {
    // What is started now would be stopped at once, or be nobody's.
    if app.draining.is_cancelled() {
        return Err(Refusal::new(Code::Draining, "the hub is going away; try again in a moment"));
    }
    check_there(app, session).await?;
    let drone = match choice {
        DroneChoice::Own => claim_own(app, session, user).await?,
        DroneChoice::This(drone) => claim_this(app, session, user, drone).await?,
    };
    // A session that was deleted meanwhile did not know of this drone.
    if let Err(refusal) = check_there(app, session).await {
        if refusal.code == Code::NotFound {
            end(app, &drone, session).await;
        }
        return Err(refusal);
    }
    Ok(drone)
}

async fn check_there(app: &SharedApp, session: &ChatSessionId) -> Result<(), Refusal> {
    app.store.session(session).await.map_err(refuse)?.map(drop).ok_or_else(no_such_session)
}

async fn claim_own(app: &SharedApp, session: &ChatSessionId, user: &UserId) -> Result<DroneId, Refusal> {
    let known = app.store.drone_of_session(session).await.map_err(refuse)?;
    check_free(known.as_ref())?;
    let known_id = known.as_ref().map(|record| &record.registration.id);
    let drone = app.fleet.drone_of(session, known_id);
    let known = match known {
        Some(known) if known.registration.id != drone => {
            // Of another fleet, or of a resource that is gone.
            forget(app, &known.registration.id, session).await;
            None
        }
        known => known,
    };
    app.drones.bind(&drone, session)?;
    if known.is_none() {
        let record = new_record(drone.clone(), user.clone(), Some(session.clone()));
        if let Err(error) = app.store.put_drone(record).await {
            app.drones.unbind(&drone, session);
            return Err(refuse(error));
        }
    }
    engage(app, &drone, session, user).await?;
    Ok(drone)
}

async fn claim_this(
    app: &SharedApp,
    session: &ChatSessionId,
    user: &UserId,
    drone: &DroneId,
) -> Result<DroneId, Refusal> {
    let record = app.store.drone(drone).await.map_err(refuse)?;
    let own = record.filter(|record| record.registration.user == *user);
    let record = own.ok_or_else(|| Refusal::new(Code::NotFound, "there is no such drone"))?;
    check_free(Some(&record))?;
    let before = app.drones.replace(drone, session)?;
    let stored = change(app, drone, |record| record.registration.chat_session_id = Some(session.clone()));
    let engaged = match stored.await {
        Ok(()) => engage(app, drone, session, user).await,
        Err(error) => Err(refuse(error)),
    };
    if let (Err(_), Some(before)) = (&engaged, before) {
        app.drones.unbind(drone, session);
        note(app, drone, |record| record.registration.chat_session_id = None).await;
        // Nobody else can have become the session's meanwhile but by its own actor, which waits for this.
        app.drones.bind(&before, session)?;
    }
    engaged.map(|()| drone.clone())
}

fn check_free(record: Option<&DroneRecord>) -> Result<(), Refusal> {
    if record.is_some_and(|record| record.held) {
        return Err(Refusal::new(Code::Suspended, "the drone was stopped by a person; resume it to go on"));
    }
    Ok(())
}

/// Lets a drone that is bound to the session work for it.
async fn engage(
    app: &SharedApp,
    drone: &DroneId,
    session: &ChatSessionId,
    user: &UserId,
) -> Result<(), Refusal> {
    match app.drones.connection(drone) {
        Some(conn) => {
            let spec = facts::spec(&*app.store, drone, user, Some(session)).await.map_err(refuse)?;
            app.fleet.bind(spec).await.map_err(|error| facts::not_started(drone, &error))?;
            conn.bind(app.sessions.handle(app, session));
            Ok(())
        }
        None => start(app, drone, user, Some(session.clone())).await,
    }
}

/// A drone that works for no session yet.
pub async fn start_free(app: &SharedApp, user: &UserId) -> Result<DroneId, Refusal> {
    let drone = DroneId::generate();
    app.store.put_drone(new_record(drone.clone(), user.clone(), None)).await.map_err(refuse)?;
    start(app, &drone, user, None).await?;
    Ok(drone)
}

async fn start(
    app: &SharedApp,
    drone: &DroneId,
    user: &UserId,
    session: Option<ChatSessionId>,
) -> Result<(), Refusal> {
    let spec = facts::spec(&*app.store, drone, user, session.as_ref()).await.map_err(refuse)?;
    app.fleet.start(spec).await.map_err(|error| facts::not_started(drone, &error))
}

/// Another drone works for the session: this one is free, and stops. It would hold the session's workspace.
pub(super) async fn dismiss(app: &SharedApp, drone: &DroneId, session: &ChatSessionId) {
    unbind(app, drone, session).await;
    suspend_idle(app, drone).await;
}

async fn unbind(app: &SharedApp, drone: &DroneId, session: &ChatSessionId) {
    app.drones.unbind(drone, session);
    if let Some(conn) = app.drones.connection(drone) {
        conn.unbind(session);
    }
    note(app, drone, |record| {
        record.registration.chat_session_id.take_if(|bound| bound == session);
    })
    .await;
}

/// The session is deleted: its drone ends. The workspace stays; there may be work in it.
pub async fn session_deleted(app: &SharedApp, session: &ChatSessionId) {
    let bound = app.drones.now.lock().drone_of(session);
    if let Some(drone) = bound {
        end(app, &drone, session).await;
    }
}

/// Ends the drone of a session that is no more.
async fn end(app: &SharedApp, drone: &DroneId, session: &ChatSessionId) {
    unbind(app, drone, session).await;
    if let Some(conn) = app.drones.connection(drone) {
        // Whether or not it answers, it is stopped.
        let _answer = conn.ask(drone_name::REQUEST_TERMINATION, Frame::built(vec![]), ASK_LIMIT);
    }
    match app.fleet.end_session(session, drone).await {
        Ok(()) | Err(FleetError::Unknown(_)) => {}
        Err(error) => {
            tracing::error!(%drone, error = &error as &dyn std::error::Error, "failed to stop a deleted session's drone");
        }
    }
    forget(app, drone, session).await;
}

/// Nothing is left of the drone but its workspace.
async fn forget(app: &SharedApp, drone: &DroneId, session: &ChatSessionId) {
    app.drones.unbind(drone, session);
    // Not between the reading and the writing of a change, which would bring it back.
    let alone = app.drones.records.lock().await;
    let deleted = app.store.delete_drone(drone).await;
    drop(alone);
    match deleted {
        Ok(()) | Err(StoreError::NotFound) => {}
        Err(error) => {
            tracing::error!(%drone, error = &error as &dyn std::error::Error, "failed to delete a drone's record");
        }
    }
    let before = app.drones.now.lock().phases.remove(drone);
    app.sockets.metrics.drone_moved(before, None);
    app.generations.forget(drone);
}

/// Stops a drone for lack of work.
pub async fn suspend_idle(app: &SharedApp, drone: &DroneId) {
    match app.fleet.suspend_idle(drone).await {
        Ok(()) | Err(FleetError::Unknown(_)) => {}
        Err(error) => {
            tracing::error!(%drone, error = &error as &dyn std::error::Error, "failed to suspend an idle drone");
        }
    }
}

/// Which session a drone works for that has said hello. Its own word counts, where that can be true.
pub(crate) async fn session_for(
    app: &SharedApp,
    conn: &DroneConn,
    told: Option<&ChatSessionId>,
) -> Option<ChatSessionId> {
    let bound = app.drones.session_of(&conn.drone);
    let Some(told) = told.filter(|told| bound.as_ref() != Some(told)) else { return bound };
    let own = match app.store.session(told).await {
        Ok(session) => session.is_some_and(|session| session.user == conn.user),
        Err(error) => {
            tracing::error!(drone = %conn.drone, error = &error as &dyn std::error::Error, "failed to look a session up");
            false
        }
    };
    if own && bound.is_none() && app.drones.bind(&conn.drone, told).is_ok() {
        note(app, &conn.drone, |record| record.registration.chat_session_id = Some(told.clone())).await;
        return Some(told.clone());
    }
    bound
}

/// Notes what a drone said of itself.
pub(crate) async fn note_hello(app: &SharedApp, drone: &DroneId, hello: &Hello) {
    let bound = app.drones.session_of(drone).is_some();
    note(app, drone, |record| {
        let registration = &mut record.registration;
        registration.workspace_id = Some(hello.workspace_id.clone());
        registration.hostname.clone_from(&hello.hostname);
        registration.phase = connected_phase(bound);
        registration.status = status(registration.phase);
        registration.last_seen_at = Some(Timestamp::now());
        registration.reason = None;
    })
    .await;
}

/// The drone's `workspace.json`, asked of it now.
pub async fn workspace_state(app: &SharedApp, drone: &DroneId) -> Result<Value, Refusal> {
    let conn = app
        .drones
        .connection(drone)
        .filter(|conn| conn.is_ready())
        .ok_or_else(|| Refusal::new(Code::NoDrone, "the drone is not connected"))?;
    let asked = conn.ask(drone_name::WORKSPACE_STATE, Frame::built(vec![serde_json::json!({})]), ASK_LIMIT);
    match asked.await {
        Ok(args) => Ok(args.into_iter().nth(1).unwrap_or(Value::Null)),
        Err(Unanswered::TimedOut | Unanswered::Disconnected | Unanswered::NotSent) => {
            Err(Refusal::new(Code::DroneUnreachable, "the drone did not answer; try again in a moment"))
        }
    }
}

/// The record as clients see it now: a drone that is connected is there, whatever was last written down.
pub fn shown(app: &SharedApp, record: DroneRecord) -> DroneRegistration {
    let mut registration = record.registration;
    if app.drones.connection(&registration.id).is_some_and(|conn| conn.is_ready()) {
        registration.phase = connected_phase(app.drones.session_of(&registration.id).is_some());
        registration.last_seen_at = Some(Timestamp::now());
    }
    registration.status = status(registration.phase);
    registration
}

/// Passes on what the fleet says, until the hub goes away.
pub(crate) async fn watch_fleet(app: SharedApp) {
    let mut events = app.fleet.watch();
    for event in app.fleet.snapshot().await {
        take_fleet_event(&app, event).await;
    }
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = app.sessions.closing.cancelled() => return,
        };
        match event {
            Ok(event) => take_fleet_event(&app, event).await,
            Err(RecvError::Lagged(_)) => {
                for event in app.fleet.snapshot().await {
                    take_fleet_event(&app, event).await;
                }
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn take_fleet_event(app: &SharedApp, event: FleetEvent) {
    if let Some(handle) = app.drones.session_of(&event.drone).and_then(|session| app.sessions.peek(&session))
    {
        handle.tell(Input::Fleet(event.clone()));
    }
    let FleetEvent { drone, phase, reason, message: _, restarts, since: _ } = event;
    let before = app.drones.now.lock().phases.insert(drone.clone(), phase);
    app.sockets.metrics.drone_moved(before, Some(phase));
    note(app, &drone, |record| {
        record.registration.phase = phase;
        record.registration.status = status(phase);
        record.registration.reason = reason;
        record.registration.restarts = restarts;
    })
    .await;
}

/// Changes a record; whoever reads it later sees it, and nothing depends on it now.
async fn note(app: &SharedApp, drone: &DroneId, change_it: impl FnOnce(&mut DroneRecord) + Send) {
    match change(app, drone, change_it).await {
        Ok(()) | Err(StoreError::NotFound) => {}
        Err(error) => {
            tracing::error!(%drone, error = &error as &dyn std::error::Error, "failed to note a drone's state");
        }
    }
}

async fn change(
    app: &SharedApp,
    drone: &DroneId,
    change_it: impl FnOnce(&mut DroneRecord) + Send,
) -> Result<(), StoreError> {
    let _alone = app.drones.records.lock().await;
    let before = app.store.drone(drone).await?.ok_or(StoreError::NotFound)?;
    let mut record = before.clone();
    change_it(&mut record);
    if record == before { Ok(()) } else { app.store.put_drone(record).await }
}

/// Counts up the drone's generation for a connect.
pub(crate) async fn next_generation(app: &SharedApp, drone: &DroneId) -> Result<u64, StoreError> {
    let _alone = app.drones.records.lock().await;
    app.store.next_generation(drone).await
}

fn new_record(id: DroneId, user: UserId, session: Option<ChatSessionId>) -> DroneRecord {
    let phase = DronePhase::Starting;
    DroneRecord {
        registration: DroneRegistration {
            id,
            user,
            status: status(phase),
            workspace_id: None,
            chat_session_id: session,
            hostname: String::new(),
            created_at: Timestamp::now(),
            phase,
            pod_name: None,
            node_name: None,
            restarts: 0,
            last_seen_at: None,
            reason: None,
        },
        generation: 0,
        held: false,
        token_sha256: None,
    }
}

fn connected_phase(bound: bool) -> DronePhase {
    if bound { DronePhase::Busy } else { DronePhase::Available }
}

fn status(phase: DronePhase) -> DroneStatus {
    match phase {
        DronePhase::Starting | DronePhase::Recovering => DroneStatus::Starting,
        DronePhase::Available => DroneStatus::Available,
        DronePhase::Busy => DroneStatus::Busy,
        DronePhase::Suspended | DronePhase::Offline | DronePhase::Failed => DroneStatus::Offline,
    }
}

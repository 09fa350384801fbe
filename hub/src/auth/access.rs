//! Whether a document may be reached by who asks: decided here alone, for REST and sockets alike.
//!
//! A document of another user is answered exactly as one that is not there. Administrators manage accounts and
//! providers; other people's projects, sessions and drones are not theirs to see.

use protocol::document::{ChatSession, Project};
use protocol::error::{Code, Refusal};
use protocol::ids::{ChatSessionId, DroneId, ProjectId, TurnId, UserId};

use crate::auth::principal::Principal;
use crate::store::{DroneRecord, Store, StoreError, TurnRecord, refuse};

pub async fn project(store: &dyn Store, who: &Principal, id: &ProjectId) -> Result<Project, Refusal> {
    owned(store.project(id).await, who, "project", |project| &project.user)
}

pub async fn session(store: &dyn Store, who: &Principal, id: &ChatSessionId) -> Result<ChatSession, Refusal> {
    owned(store.session(id).await, who, "chat session", |session| &session.user)
}

pub async fn turn(store: &dyn Store, who: &Principal, id: &TurnId) -> Result<TurnRecord, Refusal> {
    owned(store.turn(id).await, who, "turn", |turn| &turn.user)
}

pub async fn drone(store: &dyn Store, who: &Principal, id: &DroneId) -> Result<DroneRecord, Refusal> {
    owned(store.drone(id).await, who, "drone", |drone| &drone.registration.user)
}

fn owned<T>(
    found: Result<Option<T>, StoreError>,
    who: &Principal,
    what: &'static str,
    owner: impl Fn(&T) -> &UserId,
) -> Result<T, Refusal> {
    found
        .map_err(refuse)?
        .filter(|document| owner(document) == who.id())
        .ok_or_else(|| Refusal::new(Code::NotFound, format!("there is no such {what}")))
}

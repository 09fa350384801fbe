//! What a fleet is told of a drone that should run, and what its refusal means.

use std::sync::Arc;

use protocol::document::{ChatSession, NEW_SESSION_NAME};
use protocol::error::{Code, Refusal};
use protocol::ids::{ChatSessionId, DroneId, UserId};

use crate::fleet::{DroneSpec, Facts, FleetError, ModelFacts, SessionFacts};
use crate::store::{Store, StoreError};

/// Of the documents as they are now.
pub(super) async fn spec(
    store: &dyn Store,
    drone: &DroneId,
    user: &UserId,
    session: Option<&ChatSessionId>,
) -> Result<DroneSpec, StoreError> {
    let owner = store.user(user).await?.ok_or(StoreError::NotFound)?.user.handle;
    let of_session = match session {
        Some(session) => Some(session_facts(store, session).await?),
        None => None,
    };
    let facts = Arc::new(Facts { owner, session: of_session });
    Ok(DroneSpec { id: drone.clone(), user: user.clone(), session: session.cloned(), facts })
}

async fn session_facts(store: &dyn Store, session: &ChatSessionId) -> Result<SessionFacts, StoreError> {
    let session = store.session(session).await?.ok_or(StoreError::NotFound)?;
    let project = store.project(&session.project).await?.ok_or(StoreError::NotFound)?;
    let ChatSession { name, mode, provider, selected_model, reasoning_effort, .. } = session;
    let model = provider.zip(selected_model).map(|(provider, name)| ModelFacts {
        provider,
        name,
        effort: Some(reasoning_effort),
    });
    Ok(SessionFacts {
        title: Some(name).filter(|name| name != NEW_SESSION_NAME),
        slug: project.slug,
        git_url: project.git_url,
        mode,
        model,
    })
}

pub(super) fn not_started(drone: &DroneId, error: &FleetError) -> Refusal {
    if let FleetError::Held(_) = error {
        return Refusal::new(Code::Suspended, "the drone was stopped by a person; resume it to go on");
    }
    tracing::error!(%drone, error = error as &dyn std::error::Error, "failed to start a drone");
    let why = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Refusal::new(Code::NoDrone, format!("the drone cannot be started: {why}"))
}

//! A session gets a drone and mirrors it. Five steps: observe → validate → build → apply → status.

pub mod apply;
pub mod build;
pub mod observe;
pub mod status;
pub mod validate;

use crds::value::OperatingMode;
use crds::{ChatSession, ChatSessionStatus};
use serde_json::json;

use self::apply::{ApplyError, DroneOutcome};
use self::observe::{Observed, Sight};
use crate::api::WriteError;
use crate::drone::status::Urgency;
use crate::drone::{malformed, malformed_note, sooner};
use crate::events::About;
use crate::index::{Broken, Name};
use crate::ledger::Made;
use crate::merge;
use crate::parts::Parts;
use crate::queue::{Key, Next};

#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("failed to compare the status")]
    Compare(#[source] serde_json::Error),
    #[error("failed to write the status")]
    Status(#[source] WriteError),
}

pub async fn reconcile(parts: &Parts, name: &Name) -> Result<Next, ReconcileError> {
    let observed = match observe::observe(&parts.index, &parts.ledger, name, &parts.config.class) {
        Sight::Missing => {
            parts.ledger.forget(Made::Session, name);
            return Ok(Next::OnChange);
        }
        Sight::Broken(broken) => return report(parts, &broken).await,
        Sight::Good(observed) => observed,
    };
    let now = parts.clock.now();
    let validated = validate::validate(&observed);
    if let validate::Validated::Make = validated {
        parts.ledger.wish(&observed.session.drone_name(), now);
    }
    if observed.session.wishes.mode == OperatingMode::Suspended {
        parts.ledger.fulfilled(&observed.session.drone_name());
    }
    let built = build::build(&observed, &validated, &parts.config);
    let makes_claim = built.claim.is_some();
    let applied = apply::apply(&parts.api, &parts.ledger, built).await;
    // Whatever came of it, a drone that was seen meanwhile waits for this.
    let drone = observed.session.drone_name();
    if makes_claim && parts.index.drone(&drone).is_some() {
        parts.queue.add([Key::Drone(drone.into())]);
    }
    let applied = applied?;
    let is_unclear = matches!(applied.drone, DroneOutcome::Unclear | DroneOutcome::Refused(_));
    let Some(status) = status::compute(&observed, &validated, &applied, now) else {
        return Ok(Next::OnChange);
    };
    let next = publish(parts, &observed, status).await?;
    Ok(if is_unclear { sooner(Next::BackOff, next) } else { next })
}

/// Writes the status if it says something new that lasts.
async fn publish(
    parts: &Parts,
    observed: &Observed,
    status: ChatSessionStatus,
) -> Result<Next, ReconcileError> {
    let name = &observed.session.name;
    match status::urgency(observed, &status) {
        Urgency::Nothing => {
            parts.ledger.settled(Made::Session, name);
            return Ok(Next::OnChange);
        }
        Urgency::Now => {}
        Urgency::IfItLasts(time) => {
            if let Err(left) = parts.ledger.has_lasted(Made::Session, name, time) {
                return Ok(Next::After(left));
            }
        }
    }
    let Some(change) = merge::diff(&observed.status, &status).map_err(ReconcileError::Compare)? else {
        return Ok(Next::OnChange);
    };
    let uid = &observed.session.uid;
    let patch = json!({ "metadata": { "uid": &**uid }, "status": change });
    match parts.api.patch_status::<ChatSession>(name, &patch).await {
        Ok(answer) => parts.ledger.wrote_session(name, uid, answer.version, status.clone()),
        // It is another one by now, or none.
        Err(WriteError::Gone | WriteError::Conflict(_)) => return Ok(Next::BackOff),
        Err(error) => return Err(ReconcileError::Status(error)),
    }
    parts.ledger.settled(Made::Session, name);
    let about = About::new::<ChatSession>(name, uid);
    for note in status::notes(&observed.status, &status) {
        parts.events.tell(&about, note);
    }
    // The drone reads from the session which workspace there was.
    if observed.status.workspace_claim != status.workspace_claim {
        parts.queue.add([Key::Drone(observed.session.drone_name().into())]);
    }
    Ok(Next::OnChange)
}

/// An object that does not fit our schema is told so, and left alone, with all that it has.
async fn report(parts: &Parts, broken: &Broken) -> Result<Next, ReconcileError> {
    let Broken { name, uid, generation, created, error } = broken;
    if !parts.ledger.is_news(Made::Session, name, uid, error) {
        return Ok(Next::OnChange);
    }
    let patch = malformed(uid, *generation, *created, error);
    match parts.api.patch_status::<ChatSession>(name, &patch).await {
        Ok(_) | Err(WriteError::Gone | WriteError::Conflict(_) | WriteError::Refused(_)) => {}
        Err(error) => return Err(ReconcileError::Status(error)),
    }
    tracing::warn!(session = %name, %error, "the session {name} does not fit the schema; it is left as it is");
    parts.ledger.reported(Made::Session, name, uid, error);
    parts.events.tell(&About::new::<ChatSession>(name, uid), malformed_note(error));
    Ok(Next::OnChange)
}

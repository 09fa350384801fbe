//! A drone owns its claim and its pod. Five steps: observe → validate (and diagnose) → build → apply → status.

pub mod apply;
mod backoff;
pub mod build;
pub mod failure;
pub mod observe;
pub mod status;
pub mod validate;

use std::time::Duration;

use crds::{DroneRegistration, DroneRegistrationStatus, conditions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use self::apply::{ApplyError, ClaimOutcome, PodOutcome};
use self::failure::{Diagnosis, State};
use self::observe::{Child, Observed, Sight};
use self::status::Urgency;
use crate::api::WriteError;
use crate::events::{About, Note};
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
    let observed = match observe::observe(&parts.index, &parts.ledger, name) {
        Sight::Missing => {
            parts.ledger.forget(Made::Drone, name);
            return Ok(Next::OnChange);
        }
        Sight::Broken(broken) => return report(parts, &broken).await,
        Sight::Good(observed) => observed,
    };
    if matches!(observed.claim, Child::Missing) && parts.ledger.is_making_claim(&observed.drone.claim_name())
    {
        // Its session makes it, and calls when it is done.
        return Ok(Next::OnChange);
    }
    let now = parts.clock.now();
    let validated = validate::validate(&observed);
    let diagnosis = failure::diagnose(&observed, &validated, now);
    if diagnosis.state == State::Create {
        parts.ledger.wish(name, now);
    }
    let built = build::build(&observed, &validated, &diagnosis, &parts.config);
    let applied = apply::apply(&parts.api, &parts.ledger, &observed, &validated, built).await?;
    let is_unclear = matches!(applied.claim, ClaimOutcome::Unclear) || applied.pod == PodOutcome::Unclear;
    let Some(status) = status::compute(&observed, &diagnosis, &applied, now) else {
        return Ok(Next::OnChange);
    };
    let retry = status.next_retry_at.clone();
    let next = publish(parts, &observed, &diagnosis, status).await?;
    Ok(if is_unclear { Next::BackOff } else { sooner(next, wake(&diagnosis, retry, now)) })
}

/// Writes the status if it says something new that lasts.
async fn publish(
    parts: &Parts,
    observed: &Observed,
    diagnosis: &Diagnosis,
    status: DroneRegistrationStatus,
) -> Result<Next, ReconcileError> {
    let name = &observed.drone.name;
    match status::urgency(&observed.status, &status) {
        Urgency::Nothing => {
            parts.ledger.settled(Made::Drone, name);
            return Ok(Next::OnChange);
        }
        Urgency::Now => {}
        Urgency::IfItLasts(time) => {
            if let Err(left) = parts.ledger.has_lasted(Made::Drone, name, time) {
                return Ok(Next::After(left));
            }
        }
    }
    let Some(change) = merge::diff(&observed.status, &status).map_err(ReconcileError::Compare)? else {
        return Ok(Next::OnChange);
    };
    let uid = &observed.drone.uid;
    let patch = json!({ "metadata": { "uid": &**uid }, "status": change });
    match parts.api.patch_status::<DroneRegistration>(name, &patch).await {
        Ok(answer) => parts.ledger.wrote_drone(name, uid, answer.version, status.clone()),
        // It is another one by now, or none.
        Err(WriteError::Gone | WriteError::Conflict(_)) => return Ok(Next::BackOff),
        Err(error) => return Err(ReconcileError::Status(error)),
    }
    parts.ledger.settled(Made::Drone, name);
    let about = About::new::<DroneRegistration>(name, uid);
    for note in status::notes(&observed.status, &status, diagnosis.before.as_ref()) {
        parts.events.tell(&about, note);
    }
    if conditions::is_true(&status.conditions, conditions::READY) {
        parts.ledger.fulfilled(name);
        if observed.status.started_at != status.started_at
            && let Some(milliseconds) = status.start_milliseconds
        {
            parts.metrics.started(milliseconds);
        }
    }
    // The session mirrors what we have just written; there is no need to wait for the watch to say it.
    if let Some(session) = &observed.drone.spec.chat_session {
        parts.queue.add([Key::Session(session.as_str().into())]);
    }
    Ok(Next::OnChange)
}

/// When nothing happens, when to look again.
fn wake(diagnosis: &Diagnosis, retry: Option<Time>, now: Timestamp) -> Next {
    let until = match &diagnosis.state {
        State::BackingOff(at) => Some(*at),
        _ => retry.map(|at| at.0).filter(|at| *at > now),
    };
    until.map_or(Next::OnChange, |at| {
        Next::After(Duration::try_from(at.duration_since(now)).unwrap_or_default())
    })
}

pub(crate) fn sooner(one: Next, other: Next) -> Next {
    match (one, other) {
        (Next::BackOff, _) | (_, Next::BackOff) => Next::BackOff,
        (Next::After(one), Next::After(other)) => Next::After(one.min(other)),
        (Next::After(time), Next::OnChange) | (Next::OnChange, Next::After(time)) => Next::After(time),
        (Next::OnChange, Next::OnChange) => Next::OnChange,
    }
}

/// An object that does not fit our schema is told so, and left alone, with all that it has.
async fn report(parts: &Parts, broken: &Broken) -> Result<Next, ReconcileError> {
    let Broken { name, uid, generation, created, error } = broken;
    if !parts.ledger.is_news(Made::Drone, name, uid, error) {
        return Ok(Next::OnChange);
    }
    let patch = malformed(uid, *generation, *created, error);
    match parts.api.patch_status::<DroneRegistration>(name, &patch).await {
        Ok(_) | Err(WriteError::Gone | WriteError::Conflict(_) | WriteError::Refused(_)) => {}
        Err(error) => return Err(ReconcileError::Status(error)),
    }
    tracing::warn!(drone = %name, %error, "the drone {name} does not fit the schema; it is left as it is");
    parts.ledger.reported(Made::Drone, name, uid, error);
    parts.events.tell(&About::new::<DroneRegistration>(name, uid), malformed_note(error));
    Ok(Next::OnChange)
}

pub(crate) fn malformed_note(error: &str) -> Note {
    Note::warning(
        "Malformed",
        format!("{error}; mend the object, or upgrade the operator; nothing is done until then"),
    )
}

/// The same each time, so that saying it again changes nothing.
pub(crate) fn malformed(uid: &str, generation: i64, created: Timestamp, error: &str) -> serde_json::Value {
    let words =
        format!("does not fit the schema of this operator: {error}; mend it, or upgrade the operator");
    let ready = conditions::new(
        conditions::READY,
        conditions::Is::False,
        "Malformed",
        &words,
        Some(generation),
        &Time(created),
    );
    json!({ "metadata": { "uid": uid }, "status": { "observedGeneration": generation, "conditions": [ready] } })
}

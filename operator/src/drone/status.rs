//! The status of a drone, computed from what was observed and what was done. Pure.

use std::time::Duration;

use crds::DroneRegistrationStatus;
use crds::conditions::{self as conditions, Is, bounded};
use crds::drone_registration::{DronePhase, LastFailure};
use crds::value::FailureClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::apply::{Applied, ClaimOutcome, PodOutcome};
use super::backoff;
use super::build::Resources;
use super::failure::{Account, Cause, Diagnosis, Refusal, State, later};
use super::observe::{Bound, CANNOT_GROW, Lookup, Observed, cannot_grow_to};
use super::validate;
use crate::events::Note;
use crate::index::ClaimPhase;
use crate::ledger::PASSING;

/// When a status is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// It says what is written already.
    Nothing,
    Now,
    /// If it still says so after that time.
    IfItLasts(Duration),
}

/// Words alone may change often.
const WORDS: Duration = Duration::from_secs(10);

/// `None`: there is nothing to be said.
pub fn compute(
    observed: &Observed,
    diagnosis: &Diagnosis,
    applied: &Resources<Applied>,
    now: Timestamp,
) -> Option<DroneRegistrationStatus> {
    if diagnosis.state == State::Leave {
        return None;
    }
    let old = &observed.status;
    let at = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let mut account = diagnosis.account.clone();
    let refusal = refusal(applied);
    if let Some(refused) = refusal {
        account_for(&mut account, refused, old, now);
    }
    if let PodOutcome::Created(uid) = &applied.pod {
        account.meet(uid, observed.wished_away.as_deref());
    }
    let cause = refusal.map(Cause::from).or_else(|| diagnosis.cause.clone());
    let phase = phase(observed, diagnosis, refusal.is_some(), cause.as_ref());
    let pod = observed.pod.there().filter(|_| !matches!(diagnosis.state, State::Suspended));
    let mut new = DroneRegistrationStatus {
        observed_generation: Some(observed.drone.generation),
        phase: Some(phase),
        pod_name: (pod.is_some() || account_has_pod(&account, diagnosis))
            .then(|| crds::names::pod(&observed.drone.name)),
        node_name: pod.and_then(|pod| pod.node.as_deref()).map(ToOwned::to_owned),
        workspace_claim: workspace_claim(observed),
        started_at: old.started_at.clone(),
        start_milliseconds: old.start_milliseconds,
        last_failure: last_failure(old, &account, cause.as_ref(), &at),
        ..DroneRegistrationStatus::default()
    };
    account.write(&mut new);
    if diagnosis.state == State::Ready {
        set_start(observed, &mut new, &at, now);
    }
    new.conditions = conditions::carried_over(
        &old.conditions,
        conditions_of(observed, diagnosis, applied, cause.as_ref(), phase, &at),
    );
    Some(new)
}

fn refusal(applied: &Resources<Applied>) -> Option<&Refusal> {
    match (&applied.claim, &applied.pod) {
        (ClaimOutcome::Refused(refusal), _) | (_, PodOutcome::Refused(refusal)) => Some(refusal),
        _ => None,
    }
}

/// A refusal is tried again, later each time.
fn account_for(account: &mut Account, _: &Refusal, old: &DroneRegistrationStatus, now: Timestamp) {
    let was_refused = old.last_failure.as_ref().is_some_and(|failure| failure.class == FailureClass::Policy)
        && old.next_retry_at.is_some();
    let before = if was_refused || account.attempt > 0 { account.attempt } else { 0 };
    account.attempt = before.saturating_add(1);
    account.next_retry_at = Some(later(now, backoff::after(account.attempt)));
}

fn account_has_pod(account: &Account, diagnosis: &Diagnosis) -> bool {
    account.pod_uid.is_some() && matches!(diagnosis.state, State::Create | State::Starting)
}

fn phase(observed: &Observed, diagnosis: &Diagnosis, is_refused: bool, cause: Option<&Cause>) -> DronePhase {
    let under_way = if diagnosis.recovering { DronePhase::Recovering } else { DronePhase::Starting };
    let is_final = cause.is_some_and(|cause| !cause.retryable);
    match &diagnosis.state {
        State::Ready => match &observed.bound {
            Bound::Free => DronePhase::Available,
            Bound::To(_) | Bound::Unreadable | Bound::Lost => DronePhase::Busy,
        },
        State::Suspended => DronePhase::Suspended,
        State::GivenUp => DronePhase::Failed,
        State::Ending | State::End(_) if observed.is_wished_away() => DronePhase::Offline,
        State::End(_) | State::Blocked(_) if is_final && !is_refused => DronePhase::Failed,
        State::End(_) if observed.status.phase == Some(DronePhase::Failed) && cause.is_none() => {
            DronePhase::Failed
        }
        State::Offline => DronePhase::Offline,
        State::Leave
        | State::Ending
        | State::End(_)
        | State::Create
        | State::BackingOff(_)
        | State::Blocked(_)
        | State::Waiting
        | State::Starting
        | State::Restarting => under_way,
    }
}

/// Once there was a workspace, it is remembered: an empty one is never put in its place without a word.
fn workspace_claim(observed: &Observed) -> Option<String> {
    let bound = observed
        .claim
        .there()
        .filter(|claim| claim.phase == ClaimPhase::Bound && validate::is_usable(observed, claim));
    bound.map(|claim| claim.name.to_string()).or_else(|| observed.status.workspace_claim.clone())
}

fn last_failure(
    old: &DroneRegistrationStatus,
    account: &Account,
    cause: Option<&Cause>,
    at: &Time,
) -> Option<LastFailure> {
    let Some(cause) = cause else { return old.last_failure.clone() };
    let failure = LastFailure {
        class: cause.class,
        reason: cause.reason.clone(),
        message: cause.message.clone(),
        exit_code: cause.exit_code,
        at: at.clone(),
        retryable: cause.retryable,
        advice: bounded(&cause.advice),
    };
    // The same pod and nothing counted anew: it is the same failure, seen again.
    let counted = old.counted.unwrap_or_default();
    let is_seen = old.pod_uid == account.pod_uid
        && counted == account.counted
        && old.restarts.unwrap_or_default() == account.restarts;
    match &old.last_failure {
        Some(before) if is_seen && before.reason == failure.reason && before.class == failure.class => {
            Some(LastFailure { at: before.at.clone(), ..failure })
        }
        _ => Some(failure),
    }
}

fn set_start(observed: &Observed, new: &mut DroneRegistrationStatus, at: &Time, now: Timestamp) {
    let Some(pod) = observed.pod.there() else { return };
    let is_same = observed.status.pod_uid == new.pod_uid
        && new.started_at.as_ref().is_some_and(|since| since.0.as_second() >= pod.created.as_second());
    if is_same {
        return;
    }
    let since = observed.wished_at.unwrap_or(pod.created);
    new.started_at = Some(at.clone());
    new.start_milliseconds =
        i64::try_from(now.duration_since(since).as_millis()).ok().map(|milliseconds| milliseconds.max(0));
}

fn conditions_of(
    observed: &Observed,
    diagnosis: &Diagnosis,
    applied: &Resources<Applied>,
    cause: Option<&Cause>,
    phase: DronePhase,
    at: &Time,
) -> Vec<Condition> {
    let generation = Some(observed.drone.generation);
    let condition =
        |kind, is, reason: &str, message: &str| conditions::new(kind, is, reason, message, generation, at);
    let (is_ready, reason, message) = readiness(observed, diagnosis, cause);
    let mut all = vec![condition(conditions::READY, is_ready.into(), &reason, &message)];
    let (is_bound, reason, message) = workspace(observed, applied);
    all.push(condition(conditions::WORKSPACE_BOUND, is_bound, reason, &message));
    if let Some(pod) = observed.pod.there().filter(|_| phase != DronePhase::Suspended) {
        let (is, reason, message) = match (&pod.node, &pod.unschedulable) {
            (Some(_), _) => (Is::True, "Scheduled", ""),
            (None, Some(words)) => (Is::False, "Unschedulable", words.as_str()),
            (None, None) => (Is::False, "Pending", ""),
        };
        all.push(condition(conditions::POD_SCHEDULED, is, reason, message));
        if let Lookup::Found(class) = &observed.class
            && pod.class_revision.as_deref().is_some_and(|revision| revision != class.revision)
        {
            let words = format!(
                "the DroneClass '{}' has changed since the pod was made; delete the drone, or suspend and resume its \
                 session, to take it up",
                class.name
            );
            all.push(condition(conditions::CLASS_OUTDATED, Is::True, "NewerRevision", &words));
        }
    }
    let is_suspended = phase == DronePhase::Suspended;
    let by = if is_suspended || observed.is_wished_away() { observed.suspended_by() } else { "Running" };
    all.push(condition(conditions::SUSPENDED, is_suspended.into(), by, ""));
    if phase == DronePhase::Failed {
        let advice = cause
            .map(|cause| cause.advice.clone())
            .or_else(|| observed.status.last_failure.as_ref().map(|failure| failure.advice.clone()));
        all.push(condition(conditions::STALLED, Is::True, "Failed", &advice.unwrap_or_default()));
    }
    all
}

fn readiness(observed: &Observed, diagnosis: &Diagnosis, cause: Option<&Cause>) -> (bool, String, String) {
    let no = |reason: &str, message: &str| (false, reason.to_owned(), message.to_owned());
    if let Some(cause) = cause.filter(|_| diagnosis.state != State::Ready) {
        return (false, cause.reason.clone(), cause.message.clone());
    }
    match &diagnosis.state {
        State::Ready => (true, "Ready".to_owned(), String::new()),
        State::Suspended => no("Suspended", "no pod, by wish; the workspace is kept"),
        State::Ending | State::End(_) if observed.is_wished_away() => {
            no("Stopping", "the pod is ending, by wish")
        }
        State::Offline => no(
            "NotReady",
            "the pod runs but is not ready: its workspace is locked by another, or it does not reach the hub; see \
             whether the hub runs, then look at the log with `kubectl gadget logs`",
        ),
        State::Leave
        | State::Ending
        | State::End(_)
        | State::Create
        | State::BackingOff(_)
        | State::GivenUp
        | State::Blocked(_)
        | State::Waiting
        | State::Starting
        | State::Restarting => match &observed.status.last_failure {
            Some(failure) if diagnosis.recovering || diagnosis.state == State::GivenUp => {
                no(&failure.reason, &failure.message)
            }
            _ => no("Starting", "the pod is starting"),
        },
    }
}

fn workspace(observed: &Observed, applied: &Resources<Applied>) -> (Is, &'static str, String) {
    let Some(claim) = observed.claim.there() else {
        return match observed.status.workspace_claim {
            Some(_) => (Is::False, "Missing", String::new()),
            None => (Is::False, "Pending", String::new()),
        };
    };
    let words = observed.claim_warning.as_ref().map(|warning| warning.message.clone()).unwrap_or_default();
    match claim.phase {
        ClaimPhase::Pending => return (Is::False, "Pending", words),
        ClaimPhase::Lost => return (Is::False, "Lost", words),
        ClaimPhase::Bound => {}
    }
    match &applied.claim {
        ClaimOutcome::NotChanged { grow_to: Some(size), refusal } => {
            return (Is::True, CANNOT_GROW, format!("{}{}", cannot_grow_to(size), refusal.message));
        }
        ClaimOutcome::NotChanged { grow_to: None, refusal } => {
            return (Is::True, "CannotChange", refusal.message.clone());
        }
        ClaimOutcome::Fine | ClaimOutcome::Unclear | ClaimOutcome::Refused(_) => {}
    }
    if let Some(error) = &claim.resize_error {
        return (Is::True, "ResizeFailed", error.clone());
    }
    match conditions::find(&observed.status.conditions, conditions::WORKSPACE_BOUND) {
        // Nothing was asked since: what was refused is refused.
        Some(before) if before.reason == CANNOT_GROW && observed.wishes_refused_size(&before.message) => {
            (Is::True, CANNOT_GROW, before.message.clone())
        }
        _ => (Is::True, "Bound", String::new()),
    }
}

/// Whether, and when, the new status is to be written.
pub fn urgency(old: &DroneRegistrationStatus, new: &DroneRegistrationStatus) -> Urgency {
    if old == new {
        return Urgency::Nothing;
    }
    let counted = |status: &DroneRegistrationStatus| {
        let exits = status.counted.map_or(0, |counted| counted.container_exits);
        (status.recent_failures.clone(), status.pod_attempt, status.next_retry_at.clone(), exits)
    };
    let is_named = new.last_failure.as_ref().is_some_and(|failure| {
        matches!(failure.class, FailureClass::Image | FailureClass::Policy)
            && old.last_failure.as_ref().map(|old| (&old.reason, &old.at))
                != Some((&failure.reason, &failure.at))
    });
    match new.phase {
        _ if is_only_words(old, new) => Urgency::IfItLasts(WORDS),
        Some(DronePhase::Busy | DronePhase::Available | DronePhase::Suspended | DronePhase::Failed) => {
            Urgency::Now
        }
        _ if counted(old) != counted(new) || is_named => Urgency::Now,
        Some(DronePhase::Starting | DronePhase::Recovering | DronePhase::Offline) | None => {
            Urgency::IfItLasts(PASSING)
        }
    }
}

fn is_only_words(old: &DroneRegistrationStatus, new: &DroneRegistrationStatus) -> bool {
    let without = |status: &DroneRegistrationStatus| {
        let mut status = status.clone();
        if let Some(failure) = &mut status.last_failure {
            failure.message.clear();
        }
        status.conditions.iter_mut().for_each(|condition| condition.message.clear());
        status
    };
    without(old) == without(new)
}

/// What people are told about the change, one note for each change of state. `before`: what ended the pod before.
pub fn notes(
    old: &DroneRegistrationStatus,
    new: &DroneRegistrationStatus,
    before: Option<&Cause>,
) -> Vec<Note> {
    let mut notes = Vec::new();
    let is_told = |cause: &Cause| {
        !is_ready(old) && old.last_failure.as_ref().is_some_and(|failure| failure.reason == cause.reason)
    };
    if let Some(Cause { class, reason, message, advice, .. }) =
        before.filter(|cause| old.pod_uid != new.pod_uid && !is_told(cause))
    {
        notes.push(failed(*class, reason, message, advice));
    }
    let said = |status: &DroneRegistrationStatus| {
        status.last_failure.as_ref().map(|failure| (failure.reason.clone(), failure.at.clone()))
    };
    if let Some(failure) = new.last_failure.as_ref().filter(|_| said(old) != said(new)) {
        notes.push(failed(failure.class, &failure.reason, &failure.message, &failure.advice));
    }
    let processes =
        |status: &DroneRegistrationStatus| status.counted.map_or(0, |counted| counted.process_restarts);
    if old.pod_uid == new.pod_uid && processes(new) > processes(old) {
        let words = "the drone's process died and was started again in its pod; its work goes on";
        notes.push(Note::warning("ProcessRestarted", words));
    }
    if old.phase != new.phase {
        match new.phase {
            Some(DronePhase::Busy | DronePhase::Available) if !is_ready(old) => {
                let node = new.node_name.as_deref().unwrap_or("its node");
                notes.push(Note::normal("Ready", format!("the drone is ready on {node}")));
            }
            Some(DronePhase::Suspended) => {
                notes.push(Note::normal("Suspended", "the pod is gone, by wish; the workspace is kept"));
            }
            _ => {}
        }
    }
    let growth = |status: &DroneRegistrationStatus| {
        conditions::find(&status.conditions, conditions::WORKSPACE_BOUND)
            .filter(|condition| condition.reason != "Bound" && condition.status == "True")
            .map(|condition| (condition.reason.clone(), condition.message.clone()))
    };
    if let Some((reason, message)) = growth(new).filter(|now| growth(old).as_ref() != Some(now)) {
        notes.push(Note::warning(reason, format!("{message}; take a storage class that allows expansion")));
    }
    if conditions::is_true(&new.conditions, conditions::CLASS_OUTDATED)
        && !conditions::is_true(&old.conditions, conditions::CLASS_OUTDATED)
    {
        notes
            .push(Note::normal("ClassOutdated", "the class has changed; the pod keeps what it started with"));
    }
    notes
}

fn failed(class: FailureClass, reason: &str, message: &str, advice: &str) -> Note {
    let words = format!("{message}; {advice}");
    match class {
        FailureClass::Moved => Note::normal(reason, words),
        _ => Note::warning(reason, words),
    }
}

fn is_ready(status: &DroneRegistrationStatus) -> bool {
    matches!(status.phase, Some(DronePhase::Busy | DronePhase::Available))
}

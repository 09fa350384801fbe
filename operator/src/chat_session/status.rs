//! The status of a session: a mirror of its drone's, in the session's words. Pure.

use std::time::Duration;

use crds::chat_session::{Adoption, SessionPhase};
use crds::conditions::{self, Is};
use crds::drone_registration::DronePhase;
use crds::value::{FailureClass, OperatingMode};
use crds::{ChatSessionStatus, DroneRegistrationStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::apply::{Applied, DroneOutcome};
use super::build::Resources;
use super::observe::{DroneSight, Observed};
use super::validate::Validated;
use crate::drone::status::Urgency;
use crate::events::Note;
use crate::index::Session;

/// A little longer than a drone's: what it says then is mirrored in one write, not in two.
const PASSING: Duration = Duration::from_millis(1600);
const WORDS: Duration = Duration::from_secs(10);

/// Reasons of a session that starts and has nothing in its way.
const ON_THE_WAY: &[&str] =
    &["DroneStarting", "Starting", "Resuming", "EarlierDroneEnding", "EarlierPodEnding"];

/// A state in one word, and why, in one and in more.
struct Summary {
    phase: SessionPhase,
    reason: String,
    message: String,
}

impl Summary {
    fn new(phase: SessionPhase, reason: &str, message: impl Into<String>) -> Self {
        Self { phase, reason: reason.to_owned(), message: message.into() }
    }

    /// The hub lets no drone in of a session that it has not taken in: its pod would start for ever.
    fn unless_kept_out(self, session: &Session, drone: Option<&DroneRegistrationStatus>) -> Self {
        let failure = drone.and_then(|drone| drone.last_failure.as_ref());
        // The next pod is on its way, and waits for the hub as well.
        let has_moved = failure
            .is_some_and(|failure| failure.reason == self.reason && failure.class == FailureClass::Moved);
        match &session.kept_out {
            Some(Adoption { state, message })
                if has_moved || self.reason == "NotReady" || ON_THE_WAY.contains(&&*self.reason) =>
            {
                Self::new(SessionPhase::Pending, &format!("{state:?}"), message.as_str())
            }
            _ => self,
        }
    }
}

/// `None`: there is nothing to be said.
pub fn compute(
    observed: &Observed,
    validated: &Validated,
    applied: &Resources<Applied>,
    now: Timestamp,
) -> Option<ChatSessionStatus> {
    let old = &observed.status;
    let at = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    let drone = match (validated, &observed.drone) {
        (Validated::Keep(_) | Validated::Bind(_), DroneSight::There(_, status)) => Some(&**status),
        _ => None,
    };
    let summary = summary(observed, validated, &applied.drone)?.unless_kept_out(&observed.session, drone);
    let is_asleep = summary.phase == SessionPhase::Suspended;
    let has_drone = !matches!(validated, Validated::Asleep | Validated::Blocked(_));
    let drone_name = has_drone.then(|| observed.session.drone_name());
    let mut new = ChatSessionStatus {
        observed_generation: Some(observed.session.generation),
        phase: Some(summary.phase),
        // Remembered while there is none: a session that names a drone gets no other after it.
        drone_name: drone_name.or_else(|| old.drone_name.clone()),
        workspace_claim: drone
            .and_then(|drone| drone.workspace_claim.clone())
            .or_else(|| old.workspace_claim.clone()),
        node_name: drone.filter(|_| !is_asleep).and_then(|drone| drone.node_name.clone()),
        started_at: drone.map_or_else(|| old.started_at.clone(), |drone| drone.started_at.clone()),
        start_milliseconds: drone.map_or(old.start_milliseconds, |drone| drone.start_milliseconds),
        restarts: drone.map_or(old.restarts, |drone| drone.restarts),
        ..ChatSessionStatus::default()
    };
    new.conditions = conditions::carried_over(&old.conditions, conditions_of(observed, drone, &summary, &at));
    Some(new)
}

fn summary(observed: &Observed, validated: &Validated, applied: &DroneOutcome) -> Option<Summary> {
    let had_drone =
        observed.status.started_at.is_some() && observed.status.phase != Some(SessionPhase::Suspended);
    let under_way = if had_drone { SessionPhase::Recovering } else { SessionPhase::Starting };
    if let DroneOutcome::Refused(refusal) = applied {
        let message = format!("{}; {}", refusal.message, refusal.advice);
        return Some(Summary::new(SessionPhase::Pending, refusal.reason, message));
    }
    Some(match validated {
        Validated::Leave => return None,
        Validated::Asleep => Summary::new(SessionPhase::Suspended, "Suspended", "no drone, by wish"),
        Validated::Make | Validated::Made => {
            Summary::new(under_way, "DroneStarting", "the drone is being made")
        }
        Validated::Blocked(problem) => {
            let phase =
                if problem.reason == "EarlierDroneEnding" { under_way } else { SessionPhase::Pending };
            Summary::new(phase, problem.reason, format!("{}; {}", problem.message, problem.advice))
        }
        Validated::Bind(drone) | Validated::Keep(drone) => {
            let DroneSight::There(_, status) = &observed.drone else { return None };
            of_drone(observed.session.wishes.mode, drone.spec.operating_mode, status, under_way)
        }
    })
}

fn of_drone(
    session: OperatingMode,
    drone: OperatingMode,
    status: &DroneRegistrationStatus,
    under_way: SessionPhase,
) -> Summary {
    let ready = conditions::find(&status.conditions, conditions::READY);
    let (reason, message) = ready.map_or(("DroneStarting", ""), |ready| (&*ready.reason, &*ready.message));
    let advice = status.last_failure.as_ref().filter(|failure| failure.reason == reason);
    let words = match advice {
        Some(failure) => format!("{message}; {}", failure.advice),
        None => message.to_owned(),
    };
    let by_hand = "the drone is suspended by hand; set its operatingMode to Running to go on";
    match (session, drone, status.phase) {
        (OperatingMode::Suspended, _, Some(DronePhase::Suspended)) => {
            Summary::new(SessionPhase::Suspended, "Suspended", "no pod, by wish; the workspace is kept")
        }
        (OperatingMode::Suspended, _, _) => {
            Summary::new(SessionPhase::Suspending, "Suspending", "the pod is ending, by wish")
        }
        (OperatingMode::Running, OperatingMode::Suspended, Some(DronePhase::Suspended)) => {
            Summary::new(SessionPhase::Suspended, "SuspendedByHand", by_hand)
        }
        (OperatingMode::Running, OperatingMode::Suspended, _) => {
            Summary::new(SessionPhase::Suspending, "SuspendedByHand", by_hand)
        }
        (OperatingMode::Running, OperatingMode::Running, phase) => match phase {
            Some(DronePhase::Busy | DronePhase::Available) => Summary::new(SessionPhase::Ready, "Ready", ""),
            Some(DronePhase::Recovering | DronePhase::Offline) => {
                Summary::new(SessionPhase::Recovering, reason, words)
            }
            Some(DronePhase::Failed) => Summary::new(SessionPhase::Failed, reason, words),
            Some(DronePhase::Suspended) => {
                Summary::new(SessionPhase::Starting, "Resuming", "the pod is starting")
            }
            Some(DronePhase::Starting) | None => Summary::new(under_way, reason, words),
        },
    }
}

fn conditions_of(
    observed: &Observed,
    drone: Option<&DroneRegistrationStatus>,
    summary: &Summary,
    at: &Time,
) -> Vec<Condition> {
    let generation = Some(observed.session.generation);
    let condition =
        |kind, is, reason: &str, message: &str| conditions::new(kind, is, reason, message, generation, at);
    let Summary { phase, reason, message } = summary;
    let mut all = vec![condition(conditions::READY, (*phase == SessionPhase::Ready).into(), reason, message)];
    let of_drone = |kind| drone.and_then(|drone| conditions::find(&drone.conditions, kind));
    match of_drone(conditions::WORKSPACE_BOUND) {
        Some(bound) => {
            let is = if bound.status == "True" { Is::True } else { Is::False };
            all.push(condition(conditions::WORKSPACE_BOUND, is, &bound.reason, &bound.message));
        }
        None => all.push(condition(conditions::WORKSPACE_BOUND, Is::False, "Pending", "")),
    }
    match of_drone(conditions::READY) {
        Some(ready) => {
            let is = if ready.status == "True" { Is::True } else { Is::False };
            all.push(condition(conditions::DRONE_READY, is, &ready.reason, ""));
        }
        None => all.push(condition(conditions::DRONE_READY, Is::False, "NoDrone", "")),
    }
    let is_suspended = *phase == SessionPhase::Suspended;
    let why = if is_suspended { reason } else { "Running" };
    all.push(condition(conditions::SUSPENDED, is_suspended.into(), why, ""));
    if *phase == SessionPhase::Failed {
        all.push(condition(conditions::STALLED, Is::True, "Failed", ""));
    }
    all
}

/// Whether, and when, the new status is to be written.
pub fn urgency(observed: &Observed, new: &ChatSessionStatus) -> Urgency {
    let old = &observed.status;
    if old == new {
        return Urgency::Nothing;
    }
    let without_words = |status: &ChatSessionStatus| {
        let mut status = status.clone();
        status.conditions.iter_mut().for_each(|condition| condition.message.clear());
        status
    };
    match new.phase {
        _ if without_words(old) == without_words(new) => Urgency::IfItLasts(WORDS),
        Some(SessionPhase::Ready | SessionPhase::Suspended | SessionPhase::Failed) => Urgency::Now,
        // It has lasted already, or the drone would not have said so.
        _ if says_that_it_is_under_way(&observed.drone) => Urgency::Now,
        Some(
            SessionPhase::Pending
            | SessionPhase::Starting
            | SessionPhase::Suspending
            | SessionPhase::Recovering
            | SessionPhase::Terminating,
        )
        | None => Urgency::IfItLasts(PASSING),
    }
}

fn says_that_it_is_under_way(drone: &DroneSight) -> bool {
    use DronePhase as P;
    match drone {
        DroneSight::There(_, status) => {
            matches!(status.phase, Some(P::Starting | P::Recovering | P::Offline))
        }
        DroneSight::Missing | DroneSight::JustMade(_) | DroneSight::Broken(_) => false,
    }
}

/// What people are told about the change, one note for each change of state.
pub fn notes(old: &ChatSessionStatus, new: &ChatSessionStatus) -> Vec<Note> {
    let ready = |status: &ChatSessionStatus| {
        conditions::find(&status.conditions, conditions::READY)
            .map(|ready| (ready.reason.clone(), ready.message.clone()))
            .unwrap_or_default()
    };
    let (reason, message) = ready(new);
    if old.phase == new.phase && ready(old).0 == reason {
        return Vec::new();
    }
    let note = match new.phase {
        Some(SessionPhase::Ready) => {
            let node = new.node_name.as_deref().unwrap_or("its node");
            let took = new.start_milliseconds.map(|time| format!(", {time} ms after it was wished"));
            Note::normal("Ready", format!("the session is ready on {node}{}", took.unwrap_or_default()))
        }
        Some(SessionPhase::Suspended) => Note::normal(reason, message),
        Some(SessionPhase::Failed | SessionPhase::Recovering | SessionPhase::Pending) => {
            Note::warning(reason, message)
        }
        // A way that takes its time is no news; what stands in it is.
        Some(SessionPhase::Starting) if !ON_THE_WAY.contains(&&*reason) => Note::warning(reason, message),
        Some(SessionPhase::Starting | SessionPhase::Suspending | SessionPhase::Terminating) | None => {
            return Vec::new();
        }
    };
    vec![note]
}

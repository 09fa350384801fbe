//! Why a session or drone is as it is: since when, for what cause, what happens next and what a person can do. All of it
//! is read off what operator and hub have written into the two resources.

pub mod words;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::chat_session::{Adoption, AdoptionState, ChatSessionStatus};
use crate::drone_registration::{ActivityState, DroneRegistrationStatus, LastFailure};
use crate::value::{FailureClass, OperatingMode};
use crate::{ChatSession, DroneRegistration, conditions, names};

/// The operator takes less to look at something new.
const UNSEEN_FOR_LONG: i64 = 10;
const AGAIN: &str = "it is tried again by itself, and starts as soon as that is mended";

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// As it is wished to be.
    pub is_well: bool,
    /// To stand after the name, such as `is ready`.
    pub state: String,
    /// One word of the status, where something is the matter.
    pub reason: Option<String>,
    pub since: Option<Timestamp>,
    pub cause: Option<String>,
    pub next: String,
    pub advice: Option<String>,
    /// What is worth knowing beside that.
    pub also: Vec<String>,
}

impl Reason {
    fn new(is_well: bool, state: &str, since: Option<Timestamp>, next: impl Into<String>) -> Self {
        let (state, next) = (state.to_owned(), next.into());
        Self { is_well, state, reason: None, since, cause: None, next, advice: None, also: Vec::new() }
    }

    /// Suspended by now, and not on the way there.
    fn is_over(&self) -> bool {
        self.since.is_some()
    }

    fn advised(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// A session, with the drone that works for it where there is one.
pub fn of_session(session: &ChatSession, drone: Option<&DroneRegistration>, now: Timestamp) -> Reason {
    let none = ChatSessionStatus::default();
    let status = session.status.as_ref().unwrap_or(&none);
    let told = drone.and_then(|drone| drone.status.as_ref());
    let mut reason = leaving(&session.metadata, "its drone and pod go with it")
        .or_else(|| unseen(&session.metadata, status.observed_generation, &status.conditions, now))
        .or_else(|| session_at_rest(session, drone))
        .unwrap_or_else(|| running(&status.conditions, told, now));
    if is_unknown_to_hub(session, &reason, now) {
        reason = hub_silent(reason);
    }
    if let Some(adoption) =
        status.adoption.as_ref().filter(|adoption| adoption.state != AdoptionState::Adopted)
    {
        reason = shut_out(reason, adoption);
    }
    if let Some(told) = told {
        let beside = beside(told, &reason, now);
        reason.also.extend(beside);
    }
    reason
}

pub fn of_drone(drone: &DroneRegistration, now: Timestamp) -> Reason {
    let none = DroneRegistrationStatus::default();
    let status = drone.status.as_ref().unwrap_or(&none);
    let mut reason = leaving(&drone.metadata, "its pod ends; a session that runs gets a new drone")
        .or_else(|| unseen(&drone.metadata, status.observed_generation, &status.conditions, now))
        .or_else(|| drone_at_rest(drone, status))
        .unwrap_or_else(|| running(&status.conditions, Some(status), now));
    if reason.is_well
        && drone.spec.chat_session.is_none()
        && drone.spec.operating_mode == OperatingMode::Running
    {
        "is ready and free".clone_into(&mut reason.state);
        "a session that names it in spec.drone is bound to it".clone_into(&mut reason.next);
    }
    let beside = beside(status, &reason, now);
    reason.also.extend(beside);
    reason
}

fn leaving(metadata: &ObjectMeta, next: &str) -> Option<Reason> {
    let since = metadata.deletion_timestamp.as_ref()?.0;
    Some(Reason::new(false, "is being deleted", Some(since), next))
}

/// The operator has not said anything about what is wished now.
fn unseen(
    metadata: &ObjectMeta,
    observed: Option<i64>,
    conditions: &[Condition],
    now: Timestamp,
) -> Option<Reason> {
    let is_seen = observed.is_some() && (observed >= metadata.generation || is_malformed(conditions));
    if is_seen || is_malformed(conditions) {
        return None;
    }
    let changed = metadata.managed_fields.iter().flatten().filter(|entry| entry.subresource.is_none());
    let changed = changed.filter_map(|entry| entry.time.as_ref()).map(|time| time.0).max();
    let since = changed.or_else(|| metadata.creation_timestamp.as_ref().map(|time| time.0));
    let state = if observed.is_some() { "has been changed" } else { "is new" };
    let reason = Reason::new(false, state, since, "the operator takes it up");
    let waits = since.is_some_and(|since| now.as_second() - since.as_second() > UNSEEN_FOR_LONG);
    Some(if waits {
        Reason {
            reason: Some("OperatorSilent".to_owned()),
            cause: Some("the operator has said nothing about it".to_owned()),
            ..reason
        }
        .advised(format!(
            "see whether the operator runs: kubectl get pods -A -l {}={},{}=operator",
            names::NAME,
            names::PRODUCT,
            names::COMPONENT
        ))
    } else {
        reason
    })
}

/// The hub takes a session in as soon as it sees it; its own sessions it knows already.
fn is_unknown_to_hub(session: &ChatSession, reason: &Reason, now: Timestamp) -> bool {
    let adoption = session.status.as_ref().and_then(|status| status.adoption.as_ref());
    let labels = session.metadata.labels.as_ref();
    let of_hub = labels.and_then(|labels| labels.get(names::MANAGED_BY)).is_some_and(|by| by == names::HUB);
    let made = session.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let waits = made.is_some_and(|made| now.as_second() - made.as_second() > UNSEEN_FOR_LONG);
    // What is the matter with its pod comes first.
    let starts = !reason.is_well && reason.reason.is_none() && session.metadata.deletion_timestamp.is_none();
    adoption.is_none() && !of_hub && waits && starts
}

fn hub_silent(reason: Reason) -> Reason {
    let advice = format!(
        "see whether the hub runs: kubectl get pods -A -l {}={},{}={}",
        names::NAME,
        names::PRODUCT,
        names::COMPONENT,
        names::HUB_COMPONENT
    );
    Reason {
        state: "is not ready".to_owned(),
        reason: Some("HubSilent".to_owned()),
        cause: Some(
            "the hub has said nothing about it, and lets no drone in of a session that it does not know"
                .to_owned(),
        ),
        next: "the hub takes it in as soon as it runs".to_owned(),
        ..reason
    }
    .advised(advice)
}

fn is_malformed(conditions: &[Condition]) -> bool {
    conditions::find(conditions, conditions::READY).is_some_and(|ready| ready.reason == "Malformed")
}

fn is_idle(metadata: &ObjectMeta) -> bool {
    let marks = metadata.annotations.as_ref();
    marks.and_then(|marks| marks.get(names::SUSPENDED_FOR)).is_some_and(|why| why == names::IDLE)
}

fn session_at_rest(session: &ChatSession, drone: Option<&DroneRegistration>) -> Option<Reason> {
    let conditions = session.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let name = session.metadata.name.as_deref().unwrap_or_default();
    let by_session = session.spec.operating_mode == OperatingMode::Suspended;
    let by_drone = drone.is_some_and(|drone| drone.spec.operating_mode == OperatingMode::Suspended);
    if !by_session && !by_drone {
        return None;
    }
    let resume = format!("start it again: kubectl gadget resume {name}");
    let (cause, next) = match (by_session, is_idle(&session.metadata)) {
        (true, true) => ("nobody worked there for its idle time", "the next prompt wakes it"),
        (true, false) => ("a person suspended it", "it stays so, whatever is prompted"),
        (false, _) => ("a person suspended its drone by hand", "it stays so, whatever is prompted"),
    };
    let mut reason = resting(conditions);
    if reason.is_over() {
        next.clone_into(&mut reason.next);
    }
    Some(Reason { cause: words_of(cause), ..reason.advised(resume) })
}

fn drone_at_rest(drone: &DroneRegistration, status: &DroneRegistrationStatus) -> Option<Reason> {
    let suspended = conditions::find(&status.conditions, conditions::SUSPENDED);
    let by_session = suspended
        .is_some_and(|suspended| suspended.status == "True" || suspended.reason == "SuspendedBySession");
    let by_hand = drone.spec.operating_mode == OperatingMode::Suspended;
    if !by_session && !by_hand {
        return None;
    }
    let name = drone.metadata.name.as_deref().unwrap_or_default();
    let mut reason = resting(&status.conditions);
    let (whose, resume) = match (&drone.spec.chat_session, by_hand) {
        (_, true) | (None, _) => ("a person suspended it", format!("drone/{name}")),
        (Some(session), false) => ("its session is suspended", session.clone()),
    };
    reason.cause = Some(whose.to_owned());
    Some(reason.advised(format!("start it again: kubectl gadget resume {resume}")))
}

/// Suspended, or on the way there.
fn resting(conditions: &[Condition]) -> Reason {
    let suspended = conditions::find(conditions, conditions::SUSPENDED);
    let since = suspended.map(|suspended| suspended.last_transition_time.0);
    if suspended.is_some_and(|suspended| suspended.status == "True") {
        Reason::new(true, "is suspended", since, "it stays so")
    } else {
        Reason::new(true, "is being suspended", None, "its pod ends, its workspace is kept")
    }
}

/// What should run: whether it does, and if not, why.
fn running(conditions: &[Condition], drone: Option<&DroneRegistrationStatus>, now: Timestamp) -> Reason {
    let Some(ready) = conditions::find(conditions, conditions::READY) else {
        return Reason::new(false, "has no state yet", None, "the operator takes it up");
    };
    let since = Some(ready.last_transition_time.0);
    if ready.status == "True" {
        return well(since, drone);
    }
    let failure =
        drone.and_then(|drone| drone.last_failure.as_ref()).filter(|failure| failure.reason == ready.reason);
    if failure.is_none() && matches!(&*ready.reason, "Starting" | "DroneStarting" | "Resuming" | "Pending") {
        let words = "it is ready as soon as its pod is; what keeps it would stand here";
        return Reason { cause: words_of(&ready.message), ..Reason::new(false, "is starting", since, words) };
    }
    let is_given_up = conditions::is_true(conditions, conditions::STALLED);
    let state = if is_given_up { "has failed" } else { "is not ready" };
    let (cause, advice) = match failure {
        Some(failure) => (words_of(&failure.message), words_of(&failure.advice)),
        None => split(&ready.message, "; "),
    };
    let next = next(drone, failure, is_given_up, now);
    let reason = Some(ready.reason.clone());
    Reason { reason, cause, advice, ..Reason::new(false, state, since, next) }
}

fn well(since: Option<Timestamp>, drone: Option<&DroneRegistrationStatus>) -> Reason {
    let activity = drone.and_then(|drone| drone.activity.as_ref());
    let next = match activity.map(|activity| activity.state) {
        Some(ActivityState::Working) => "its agent works",
        Some(ActivityState::Idle) | None => "it waits for a prompt",
    };
    Reason::new(true, "is ready", since, next)
}

/// What will be done, and by whom.
fn next(
    drone: Option<&DroneRegistrationStatus>,
    failure: Option<&LastFailure>,
    is_given_up: bool,
    now: Timestamp,
) -> String {
    let reason = failure.map_or("", |failure| &failure.reason);
    if reason == "NamespaceTerminating" {
        return "it goes with its namespace".to_owned();
    }
    if is_given_up || failure.is_some_and(|failure| !failure.retryable) {
        return "nothing, until somebody does something".to_owned();
    }
    if let Some(at) = drone.and_then(|drone| drone.next_retry_at.as_ref()) {
        return format!("a new pod is made {}", words::when(at.0, now));
    }
    match failure.map(|failure| failure.class) {
        Some(FailureClass::Process | FailureClass::Memory) => "its container is started again in place",
        // The pod is kept, and its node goes on trying.
        Some(FailureClass::Node) if reason == "FailedCreatePodSandBox" => AGAIN,
        Some(FailureClass::Moved | FailureClass::Node) => {
            "its pod is replaced, and the session goes on where it stopped"
        }
        Some(FailureClass::Storage | FailureClass::Image | FailureClass::Capacity | FailureClass::Policy) => {
            AGAIN
        }
        None => "it goes on by itself as soon as that is mended",
    }
    .to_owned()
}

/// Advice stands behind what happened.
fn split(message: &str, mark: &str) -> (Option<String>, Option<String>) {
    match message.split_once(mark) {
        Some((cause, advice)) => (words_of(cause), words_of(advice)),
        None => (words_of(message), None),
    }
}

fn words_of(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The hub lets no drone in of a session that it has not taken in, so its pod waits, or runs for nobody.
fn shut_out(reason: Reason, adoption: &Adoption) -> Reason {
    let Adoption { state, message } = adoption;
    let of_pod = reason.reason.as_deref().filter(|of| *of != "NotReady" && *of != format!("{state:?}"));
    if !reason.is_well && of_pod.is_some() {
        let also = format!("the hub has not taken it in: {message}");
        return Reason { also: vec![also], ..reason };
    }
    let (cause, advice) = split(message, ": ");
    Reason {
        is_well: false,
        state: "is kept out by the hub".to_owned(),
        reason: Some(format!("{state:?}")),
        cause,
        next: "the hub takes it in as soon as that is mended".to_owned(),
        advice,
        ..reason
    }
}

/// What does not keep it from working, and failures that are over.
fn beside(drone: &DroneRegistrationStatus, reason: &Reason, now: Timestamp) -> Vec<String> {
    let mut also = Vec::new();
    let restarts = drone.restarts.unwrap_or_default();
    if let Some(failure) =
        drone.last_failure.as_ref().filter(|failure| reason.reason.as_deref() != Some(&failure.reason))
    {
        let ago = words::ago(failure.at.0, now);
        also.push(format!("{}, {ago} ago: {}", failure.reason, failure.message));
    }
    if restarts > 0 {
        also.push(format!(
            "restarted {}",
            if restarts == 1 { "once".to_owned() } else { format!("{restarts} times") }
        ));
    }
    let told = |kind| conditions::find(&drone.conditions, kind);
    if let Some(outdated) = told(conditions::CLASS_OUTDATED).filter(|outdated| outdated.status == "True") {
        also.push(outdated.message.clone());
    }
    if let Some(bound) =
        told(conditions::WORKSPACE_BOUND).filter(|bound| bound.status == "True" && bound.reason != "Bound")
    {
        also.push(format!("its workspace: {} ({})", bound.message, bound.reason));
    }
    also
}

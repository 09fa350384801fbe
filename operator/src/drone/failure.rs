//! What ended a drone, or keeps it from starting, and what is to be done about it. One pure function from what was
//! observed: [`diagnose`]. The table in the design (what ends a drone) is the `match`es below.

mod account;
mod cause;

pub use self::account::Account;
pub use self::cause::{Cause, Refusal, refusal};

use crds::drone_registration::DronePhase;
use crds::value::FailureClass;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::backoff;
use super::observe::{Child, Observed};
use super::validate::{Problem, Validated, patience};
use crate::index::{Claim, ClaimPhase, Pod, PodPhase, Uid};

/// Where a drone is, and what is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    pub state: State,
    pub account: Account,
    /// What is wrong, or was wrong with the pod before.
    pub cause: Option<Cause>,
    /// What ended the pod before this one, where `cause` says something newer.
    pub before: Option<Cause>,
    /// Whether the drone was working before and is on its way back, rather than starting.
    pub recovering: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Nothing is to be done and nothing to be said.
    Leave,
    /// No pod, by wish.
    Suspended,
    /// Somebody ends the pod: by wish, or it is replaced when it is gone.
    Ending,
    /// The pod is to be ended: by wish, or because it is of no use any more.
    End(Uid),
    /// A pod is to be made.
    Create,
    /// No pod before that time.
    BackingOff(Timestamp),
    /// No pod before somebody does something.
    GivenUp,
    /// No pod can be made, or its workspace is lost.
    Blocked(Problem),
    /// A pod is there that cannot start yet, and why.
    Waiting,
    Starting,
    /// The container has ended and is started again in place.
    Restarting,
    Ready,
    /// The pod runs and was ready, and is not.
    Offline,
}

/// A drone that was ready for so long has worked: its failures before do not count for the back-off any more.
const WORKED_WELL: SignedDuration = SignedDuration::from_secs(60);

pub fn diagnose(observed: &Observed, validated: &Validated, now: Timestamp) -> Diagnosis {
    let mut account = Account::of(&observed.status);
    let status = &observed.status;
    if status.observed_generation.is_some_and(|seen| seen != observed.drone.generation) {
        // Somebody has changed something: a new beginning.
        account.forgive();
    }
    let problem = match validated {
        Validated::Leave => {
            return Diagnosis { state: State::Leave, account, cause: None, before: None, recovering: false };
        }
        Validated::Rest(_) => return resting(observed, account),
        Validated::Blocked(_, problem) => Some(problem),
        Validated::Run(_) => None,
    };
    let mut diagnosis = match (&observed.pod, problem) {
        (_, Some(problem)) if is_of_the_workspace(problem) => blocked(account, problem),
        (Child::There(pod), Some(problem)) if !is_ours(observed, pod) => blocked(account, problem),
        (Child::There(pod), _) => with_pod(observed, pod, account, now),
        (Child::JustMade(uid), _) => just_made(observed, uid, account),
        (Child::Missing, problem) => without_pod(observed, problem, account, now),
    };
    diagnosis.recovering |= is_recovering(observed, &diagnosis.account);
    diagnosis
}

/// Whether the drone was working before, or has failed, since it was wished to run.
fn is_recovering(observed: &Observed, account: &Account) -> bool {
    use DronePhase as P;
    let status = &observed.status;
    match status.phase {
        Some(P::Recovering | P::Busy | P::Available | P::Offline) => true,
        Some(P::Suspended) => false,
        Some(P::Starting | P::Failed) | None => {
            let is_another = status.pod_uid.is_some()
                && (status.pod_uid != account.pod_uid || matches!(observed.pod, Child::Missing));
            is_another || account.attempt > 0
        }
    }
}

/// A lost workspace matters also while the pod still runs.
fn is_of_the_workspace(problem: &Problem) -> bool {
    problem.class == FailureClass::Storage && !problem.retryable
}

fn is_ours(observed: &Observed, pod: &Pod) -> bool {
    pod.owner.as_ref().is_some_and(|owner| owner.uid == observed.drone.uid)
}

fn blocked(account: Account, problem: &Problem) -> Diagnosis {
    let cause = Some(Cause::from(problem));
    Diagnosis { state: State::Blocked(problem.clone()), account, cause, before: None, recovering: false }
}

fn resting(observed: &Observed, mut account: Account) -> Diagnosis {
    account.forgive();
    let state = match &observed.pod {
        Child::There(pod) if !is_ours(observed, pod) => State::Suspended,
        Child::There(pod) if pod.deleting => State::Ending,
        Child::There(pod) => State::End(pod.uid.clone()),
        // The watch will show it; then it is ended.
        Child::JustMade(_) => State::Ending,
        Child::Missing => State::Suspended,
    };
    if state == State::Suspended {
        account.leave_pod();
    }
    Diagnosis { state, account, cause: None, before: None, recovering: false }
}

fn just_made(observed: &Observed, uid: &Uid, mut account: Account) -> Diagnosis {
    let cause = lost_pod(observed, &account);
    account.meet(uid, observed.wished_away.as_deref());
    Diagnosis { state: State::Starting, account, cause, before: None, recovering: false }
}

fn without_pod(
    observed: &Observed,
    problem: Option<&Problem>,
    account: Account,
    now: Timestamp,
) -> Diagnosis {
    let cause = lost_pod(observed, &account);
    if is_given_up(observed, &account) {
        return Diagnosis { state: State::GivenUp, account, cause: None, before: None, recovering: false };
    }
    if let Some(problem) = problem {
        return blocked(account, problem);
    }
    let state = match account.next_retry_at {
        // A clock that was set back must not keep a drone waiting.
        Some(at) if at > now && at.duration_since(now) <= longest_wait() => State::BackingOff(at),
        _ => State::Create,
    };
    Diagnosis { state, account, cause, before: None, recovering: false }
}

fn longest_wait() -> SignedDuration {
    SignedDuration::from_secs(1 + i64::try_from(backoff::LONGEST.as_secs()).unwrap_or(0))
}

/// Why the pod that was there before is gone, where nothing has been said about its end yet.
fn lost_pod(observed: &Observed, account: &Account) -> Option<Cause> {
    let uid = account.pod_uid.as_deref()?;
    if account.counted.ended || observed.wished_away.as_deref() == Some(uid) {
        return None;
    }
    let gone = observed.gone.as_deref().filter(|gone| &*gone.uid == uid);
    Some(gone.map_or_else(Cause::deleted, Cause::of_deletion))
}

fn is_given_up(observed: &Observed, account: &Account) -> bool {
    let status = &observed.status;
    let by_failures = status.last_failure.as_ref().is_some_and(|failure| {
        !failure.retryable && matches!(failure.class, FailureClass::Process | FailureClass::Memory)
    });
    status.phase == Some(DronePhase::Failed) && by_failures && !account.is_forgiven()
}

fn with_pod(observed: &Observed, pod: &Pod, mut account: Account, now: Timestamp) -> Diagnosis {
    let is_another = account.pod_uid.as_deref() != Some(&*pod.uid);
    let before = if is_another { lost_pod(observed, &account) } else { None };
    account.meet(&pod.uid, observed.wished_away.as_deref());
    if is_given_up(observed, &account) {
        let state = if pod.deleting { State::GivenUp } else { State::End(pod.uid.clone()) };
        return Diagnosis { state, account, cause: None, before: None, recovering: false };
    }
    if pod.deleting {
        let by_wish = observed.wished_away.as_ref() == Some(&pod.uid);
        let cause = (!account.counted.ended && !by_wish).then(|| Cause::of_deletion(pod));
        return Diagnosis { state: State::Ending, account, cause, before: None, recovering: true };
    }
    if let PodPhase::Succeeded | PodPhase::Failed = pod.phase {
        return ended(observed, pod, account, now);
    }
    let (most, window) = patience(&observed.class);
    let exits = account.count(pod.container.exits(), observed.drone.process_restarts);
    if exits > 0 {
        account.fail(exits, now, window);
    }
    let process = (exits > 0).then(|| Cause::of_exit(pod));
    if let Some(cause) = process.clone().filter(|_| account.recent.len() >= most) {
        let cause = Some(cause.given_up(account.recent.len()));
        return Diagnosis {
            state: State::End(pod.uid.clone()),
            account,
            cause,
            before: None,
            recovering: false,
        };
    }
    let (state, cause) = alive(observed, pod);
    if state == State::Ready {
        account.next_retry_at = None;
    }
    let recovering = state == State::Restarting;
    match process.or(cause) {
        None => Diagnosis { state, account, cause: before, before: None, recovering },
        cause => Diagnosis { state, account, cause, before, recovering },
    }
}

/// The pod has come to an end by itself. It is taken away; the next comes at once, or after a while.
fn ended(observed: &Observed, pod: &Pod, mut account: Account, now: Timestamp) -> Diagnosis {
    let state = State::End(pod.uid.clone());
    if account.counted.ended {
        return Diagnosis { state, account, cause: None, before: None, recovering: true };
    }
    account.counted.ended = true;
    let cause = Cause::of_end(pod, observed.pod_warning.as_deref());
    let (most, window) = patience(&observed.class);
    let is_process = matches!(cause.class, FailureClass::Process | FailureClass::Memory);
    if is_process {
        account.fail(1, now, window);
        if account.recent.len() >= most {
            let cause = Some(cause.given_up(account.recent.len()));
            return Diagnosis { state, account, cause, before: None, recovering: false };
        }
    }
    let status = &observed.status;
    let ready_since = status.started_at.as_ref().filter(|_| status.pod_uid.as_deref() == Some(&*pod.uid));
    let worked = ready_since.is_some_and(|since| !is_process || now.duration_since(since.0) >= WORKED_WELL);
    account.attempt = if worked { 1 } else { account.attempt.saturating_add(1) };
    // What ended in an orderly way, or by its node, is replaced at once the first time.
    let is_crash = is_process && cause.exit_code != Some(0);
    let failures = if is_crash { account.attempt } else { account.attempt - 1 };
    account.next_retry_at = (failures > 0).then(|| later(now, backoff::after(failures)));
    Diagnosis { state, account, cause: Some(cause), before: None, recovering: true }
}

/// In whole seconds, as it is kept in the status, and not too early.
pub(super) fn later(now: Timestamp, wait: std::time::Duration) -> Timestamp {
    let at = now.checked_add(wait).unwrap_or(Timestamp::MAX);
    Timestamp::from_second(at.as_second() + i64::from(at.subsec_nanosecond() > 0)).unwrap_or(at)
}

fn alive(observed: &Observed, pod: &Pod) -> (State, Option<Cause>) {
    if pod.ready {
        return (State::Ready, None);
    }
    let container = &pod.container;
    if container.is_backing_off() || container.terminated.is_some() {
        return (State::Restarting, Some(Cause::of_exit(pod)));
    }
    if let Some(cause) = container.waiting.as_ref().and_then(|(reason, message)| {
        Cause::of_waiting(reason, message, observed.status.last_failure.as_ref())
    }) {
        return (State::Waiting, Some(cause));
    }
    if container.running {
        let status = &observed.status;
        let was_ready = status.pod_uid.as_deref() == Some(&*pod.uid)
            && status.started_at.as_ref().is_some_and(|since| since.0.as_second() >= pod.created.as_second())
            && account_exits(observed) == container.restarts;
        return (if was_ready { State::Offline } else { State::Starting }, None);
    }
    if let Some(cause) = claim_waits(observed) {
        return (State::Waiting, Some(cause));
    }
    if let Some(words) = &pod.unschedulable {
        return (State::Waiting, Some(Cause::unschedulable(words)));
    }
    if let Some(warning) = &observed.pod_warning {
        return (State::Waiting, Some(Cause::of_pod_warning(warning)));
    }
    (State::Starting, None)
}

fn account_exits(observed: &Observed) -> i32 {
    observed.status.counted.map_or(0, |counted| counted.container_exits)
}

/// A claim that gets no volume, and says why.
fn claim_waits(observed: &Observed) -> Option<Cause> {
    let claim: &Claim = observed.claim.there()?;
    let warning = observed.claim_warning.as_deref()?;
    (claim.phase == ClaimPhase::Pending).then(|| Cause::of_claim_warning(&claim.name, warning))
}

//! Whether a drone can be what it should be, and what exactly that is. Pure.

use std::sync::Arc;
use std::time::Duration;

use crds::value::{AccessMode, FailureClass, Retention};
use crds::{duration, names};

use super::observe::{Bound, Child, Lookup, Observed};
use crate::index::{Claim, ClaimPhase, Class, Owner};

/// What is to be done about a drone.
#[derive(Clone, Debug)]
pub enum Validated {
    /// Nothing: it is going, or nobody knows what is wished.
    Leave,
    /// No pod; the workspace stays.
    Rest(Workspace),
    Run(ValidatedDrone),
    /// It should run and cannot. A pod that is there stays.
    Blocked(Workspace, Problem),
}

/// A drone that can run.
#[derive(Clone, Debug)]
pub struct ValidatedDrone {
    pub class: Arc<Class>,
    pub workspace: Workspace,
}

/// What the claim should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    pub claim: String,
    pub plan: ClaimPlan,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimPlan {
    /// It is there, or may not be touched.
    Keep,
    Make(ClaimWish),
    /// It is ours: its owner and its size are kept as wished.
    Tend {
        owner: Option<Owner>,
        grow_to: Option<String>,
    },
}

/// A claim that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimWish {
    pub size: String,
    pub storage_class: Option<String>,
    pub access_mode: AccessMode,
    pub owner: Option<Owner>,
}

/// Why a drone cannot run, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub class: FailureClass,
    pub reason: &'static str,
    pub message: String,
    pub advice: String,
    /// Whether it can pass by itself.
    pub retryable: bool,
}

pub const DEFAULT_SIZE: &str = "10Gi";

pub fn validate(observed: &Observed) -> Validated {
    let drone = &observed.drone;
    if drone.deleting {
        return Validated::Leave;
    }
    if let Bound::Lost | Bound::Unreadable = observed.bound {
        return Validated::Leave;
    }
    let workspace = workspace(observed);
    if observed.is_wished_away() {
        return Validated::Rest(workspace);
    }
    if let Some(problem) = claim_problem(observed, &workspace.claim).or_else(|| pod_problem(observed)) {
        return Validated::Blocked(workspace, problem);
    }
    match &observed.class {
        Lookup::Found(class) => Validated::Run(ValidatedDrone { class: Arc::clone(class), workspace }),
        Lookup::Missing(name) => Validated::Blocked(
            workspace,
            Problem {
                class: FailureClass::Policy,
                reason: "ClassMissing",
                message: format!("there is no DroneClass '{name}'"),
                advice: format!(
                    "make the DroneClass '{name}'; `kubectl get droneclasses` shows those that are there"
                ),
                retryable: true,
            },
        ),
        Lookup::Unreadable(name) => Validated::Blocked(
            workspace,
            Problem {
                class: FailureClass::Policy,
                reason: "ClassMalformed",
                message: format!("the DroneClass '{name}' does not fit the schema of this operator"),
                advice: format!("mend the DroneClass '{name}', or upgrade the operator"),
                retryable: true,
            },
        ),
    }
}

/// The claim as it should be. What cannot be is [`claim_problem`]'s to say.
fn workspace(observed: &Observed) -> Workspace {
    let name = observed.drone.claim_name();
    let named = observed.drone.spec.workspace.claim_name.is_some();
    let plan = match &observed.claim {
        // A claim that somebody brought is used as it is.
        _ if named => ClaimPlan::Keep,
        Child::JustMade(_) => ClaimPlan::Keep,
        Child::Missing if had_workspace(observed, &name) => ClaimPlan::Keep,
        Child::Missing => match &observed.class {
            Lookup::Found(class) => ClaimPlan::Make(claim_wish(observed, class)),
            Lookup::Missing(_) | Lookup::Unreadable(_) => ClaimPlan::Keep,
        },
        Child::There(claim) if !may_tend(observed, claim) => ClaimPlan::Keep,
        Child::There(claim) => {
            ClaimPlan::Tend { owner: wished_owner(observed), grow_to: growth(observed, claim) }
        }
    };
    Workspace { claim: name, plan }
}

/// Whether the claim is the drone's own, or one that it may use.
pub fn is_usable(observed: &Observed, claim: &Claim) -> bool {
    let is_named = observed.drone.spec.workspace.claim_name.is_some();
    may_tend(observed, claim)
        || is_named && claim.is_workspace_of(&observed.drone.spec.user) && !claim.deleting
}

fn may_tend(observed: &Observed, claim: &Claim) -> bool {
    let lost_owner = claim.owner.is_some() && !observed.claim_owner_lives;
    claim.is_workspace_of(&observed.drone.spec.user)
        && !claim.deleting
        && !lost_owner
        && !is_of_another(observed, claim)
}

/// Whether the claim belongs to a session or drone that lives, and is not ours.
fn is_of_another(observed: &Observed, claim: &Claim) -> bool {
    let Some(owner) = &claim.owner else { return false };
    let ours = match &observed.bound {
        Bound::To(session) => owner.uid == session.uid,
        Bound::Free | Bound::Lost | Bound::Unreadable => false,
    };
    !ours && owner.uid != observed.drone.uid && observed.claim_owner_lives
}

/// Whether there was a workspace once: then an empty one is never put in its place without a word.
fn had_workspace(observed: &Observed, claim: &str) -> bool {
    let by_session = match &observed.bound {
        Bound::To(session) => session.status.workspace_claim.as_deref(),
        Bound::Free | Bound::Lost | Bound::Unreadable => None,
    };
    observed.status.workspace_claim.as_deref() == Some(claim) || by_session == Some(claim)
}

fn retention(observed: &Observed) -> Retention {
    let session = match &observed.bound {
        Bound::To(session) => session.wishes.workspace.retention,
        Bound::Free | Bound::Lost | Bound::Unreadable => None,
    };
    let class = || match &observed.class {
        Lookup::Found(class) => class.spec.workspace.retention,
        Lookup::Missing(_) | Lookup::Unreadable(_) => None,
    };
    session.or(observed.drone.spec.workspace.retention).or_else(class).unwrap_or_default()
}

/// Whoever's end is the claim's end: the session, or the drone where there is none. Deleting a drone never deletes a
/// session's workspace.
fn wished_owner(observed: &Observed) -> Option<Owner> {
    match retention(observed) {
        Retention::Retain => None,
        Retention::Delete => Some(match &observed.bound {
            Bound::To(session) => Owner {
                kind: "ChatSession".into(),
                name: Arc::clone(&session.name),
                uid: Arc::clone(&session.uid),
            },
            Bound::Free | Bound::Lost | Bound::Unreadable => Owner {
                kind: "DroneRegistration".into(),
                name: Arc::clone(&observed.drone.name),
                uid: Arc::clone(&observed.drone.uid),
            },
        }),
    }
}

fn claim_wish(observed: &Observed, class: &Class) -> ClaimWish {
    let drone = &observed.drone.spec.workspace;
    let defaults = &class.spec.workspace;
    ClaimWish {
        size: wished_size(observed)
            .or_else(|| defaults.size.clone())
            .unwrap_or_else(|| DEFAULT_SIZE.to_owned()),
        storage_class: drone.storage_class_name.clone().or_else(|| defaults.storage_class_name.clone()),
        access_mode: drone.access_mode.or(defaults.access_mode).unwrap_or_default(),
        owner: wished_owner(observed),
    }
}

/// What somebody has asked for. A class is asked only when a claim is made: its default grows no volume that is there.
fn wished_size(observed: &Observed) -> Option<String> {
    let session = match &observed.bound {
        Bound::To(session) => session.wishes.workspace.size.clone(),
        Bound::Free | Bound::Lost | Bound::Unreadable => None,
    };
    match (session, observed.drone.spec.workspace.size.clone()) {
        (Some(session), Some(drone)) if is_more(&drone, &session) => Some(drone),
        (Some(session), _) => Some(session),
        (None, drone) => drone,
    }
}

/// The size that the claim has not, and somebody wishes.
pub fn growth_wished(observed: &Observed) -> Option<String> {
    growth(observed, observed.claim.there()?)
}

fn growth(observed: &Observed, claim: &Claim) -> Option<String> {
    let wished = wished_size(observed)?;
    let there = claim.requested.as_ref()?;
    is_more(&wished, &there.0).then_some(wished)
}

fn is_more(wished: &str, there: &str) -> bool {
    match (quantity(wished), quantity(there)) {
        (Some(wished), Some(there)) => wished > there,
        _ => false,
    }
}

/// A quantity of bytes. `None` for one that cannot be read.
#[expect(clippy::cast_precision_loss, reason = "sizes of volumes are far from 2^53 of their unit")]
fn quantity(text: &str) -> Option<f64> {
    let split = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let power = |base: i64, exponent: u32| base.checked_pow(exponent).map(|value| value as f64);
    // "1e3" and "1E3" are numbers, "1E" is a unit.
    if let Ok(plain) = text.parse::<f64>() {
        return Some(plain);
    }
    let factor = match unit {
        "m" => Some(0.001),
        "k" => power(1000, 1),
        "M" => power(1000, 2),
        "G" => power(1000, 3),
        "T" => power(1000, 4),
        "P" => power(1000, 5),
        "E" => power(1000, 6),
        "Ki" => power(1024, 1),
        "Mi" => power(1024, 2),
        "Gi" => power(1024, 3),
        "Ti" => power(1024, 4),
        "Pi" => power(1024, 5),
        "Ei" => power(1024, 6),
        _ => None,
    }?;
    number.parse::<f64>().ok().map(|number| number * factor)
}

fn claim_problem(observed: &Observed, name: &str) -> Option<Problem> {
    let user = &observed.drone.spec.user;
    let problem = |reason, message: String, advice: String, retryable| {
        Some(Problem { class: FailureClass::Storage, reason, message, advice, retryable })
    };
    let named = observed.drone.spec.workspace.claim_name.is_some();
    let claim = match &observed.claim {
        Child::There(claim) => claim,
        Child::Missing if had_workspace(observed, name) => {
            return problem(
                "WorkspaceGone",
                format!("the claim '{name}' with the workspace is gone"),
                format!(
                    "restore the claim '{name}' from a backup and the drone starts again; or delete the session and \
                     make a new one, which begins with an empty workspace"
                ),
                false,
            );
        }
        Child::Missing if named => return Some(not_yours(name, user)),
        Child::Missing | Child::JustMade(_) => return None,
    };
    if !claim.is_workspace_of(user) {
        if named {
            return Some(not_yours(name, user));
        }
        return problem(
            "NameTaken",
            format!("the claim '{name}' is there and is not a workspace of '{user}'"),
            format!("rename or delete the claim '{name}', or make the session under another name"),
            true,
        );
    }
    if claim.phase == ClaimPhase::Lost {
        return problem(
            "WorkspaceLost",
            format!("the claim '{name}' has lost its volume"),
            format!(
                "restore the volume of the claim '{name}' and the drone starts again; or delete the claim and the \
                 session and make a new one, which begins with an empty workspace"
            ),
            false,
        );
    }
    if claim.deleting {
        return problem(
            "WorkspaceDeleting",
            format!("the claim '{name}' is being deleted"),
            "wait until it is gone; whoever deleted it knows whether that was meant".to_owned(),
            true,
        );
    }
    if !named && is_of_another(observed, claim) {
        let owner = claim.owner.as_ref().map_or("", |owner| &*owner.name);
        return problem(
            "NameTaken",
            format!("the claim '{name}' belongs to '{owner}'"),
            "make the session under another name, or name the claim in spec.workspace.claimName of a new session"
                .to_owned(),
            true,
        );
    }
    if !named && claim.owner.is_some() && !observed.claim_owner_lives {
        return problem(
            "WorkspaceDeleting",
            format!("the claim '{name}' belonged to a session that is gone, and goes with it"),
            "wait until it is gone; the drone starts with a new one then".to_owned(),
            true,
        );
    }
    None
}

/// The same words whether there is none or it is somebody else's: what others have is nobody's business.
fn not_yours(name: &str, user: &str) -> Problem {
    Problem {
        class: FailureClass::Storage,
        reason: "ClaimNotUsable",
        message: format!("there is no workspace of '{user}' in a claim '{name}'"),
        advice: "name a claim that was made as a workspace of the same user, in a new session".to_owned(),
        retryable: true,
    }
}

fn pod_problem(observed: &Observed) -> Option<Problem> {
    let pod = observed.pod.there()?;
    let owner = pod.owner.as_ref();
    if owner.is_some_and(|owner| owner.uid == observed.drone.uid) {
        return None;
    }
    let name = names::pod(&observed.drone.name);
    // Drones come and go under the same name: the pod of an earlier one goes by itself.
    if owner.is_some_and(|owner| &*owner.kind == "DroneRegistration" && owner.name == observed.drone.name) {
        return Some(Problem {
            class: FailureClass::Moved,
            reason: "EarlierPodEnding",
            message: format!("the pod '{name}' of an earlier drone of this name is still ending"),
            advice: "nothing to do: the drone starts as soon as it is gone".to_owned(),
            retryable: true,
        });
    }
    Some(Problem {
        class: FailureClass::Policy,
        reason: "NameTaken",
        message: format!("a pod '{name}' is there that is not the drone's"),
        advice: format!("delete the pod '{name}', or make the session under another name"),
        retryable: true,
    })
}

/// How long a pod may take to end.
pub fn grace(class: &Class) -> Duration {
    const DEFAULT: Duration = Duration::from_secs(30);
    class.spec.termination_grace_period.as_deref().and_then(duration::parse).unwrap_or(DEFAULT)
}

/// So many failures within so long, and the drone is given up.
pub fn patience(class: &Lookup<Class>) -> (usize, Duration) {
    const FAILURES: usize = 5;
    const WINDOW: Duration = Duration::from_mins(10);
    let Lookup::Found(class) = class else { return (FAILURES, WINDOW) };
    let policy = &class.spec.failure_policy;
    let failures = policy.max_restarts.and_then(|most| usize::try_from(most).ok()).filter(|most| *most > 0);
    let window = policy.window.as_deref().and_then(duration::parse);
    (failures.unwrap_or(FAILURES), window.unwrap_or(WINDOW))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_compared_across_units() {
        assert!(is_more("20Gi", "10Gi") && is_more("1Ti", "999Gi") && is_more("11G", "10Gi"));
        assert!(!is_more("10Gi", "10Gi") && !is_more("10G", "10Gi") && !is_more("10240Mi", "10Gi"));
        assert!(is_more("1e10", "1Gi") && !is_more("many", "1Gi"));
    }
}

//! What is known of a drone: from the indexes and from what we wrote last. Nothing is read from the API server.

use std::sync::Arc;

use crds::DroneRegistrationStatus;
use crds::value::OperatingMode;
use crds::{conditions, names};
use k8s_openapi::jiff::Timestamp;

use super::validate;
use crate::index::{Broken, Claim, Class, Drone, Index, Name, Pod, Seen, Session, Uid, Warning};
use crate::ledger::{Ledger, Made};

/// Everything that a decision about a drone depends on, the time apart.
#[derive(Clone, Debug)]
pub struct Observed {
    pub drone: Arc<Drone>,
    /// The status in the store, as far as we know.
    pub status: DroneRegistrationStatus,
    pub bound: Bound,
    pub class: Lookup<Class>,
    pub claim: Child<Claim>,
    /// Whether the session or drone that owns the claim is there.
    pub claim_owner_lives: bool,
    pub pod: Child<Pod>,
    /// The pod that was there before, as it was at last.
    pub gone: Option<Arc<Pod>>,
    /// The last pod that we ended by wish: its end is no failure.
    pub wished_away: Option<Uid>,
    pub pod_warning: Option<Arc<Warning>>,
    pub claim_warning: Option<Arc<Warning>>,
    /// Since when the drone should run, where we were there.
    pub wished_at: Option<Timestamp>,
}

impl Observed {
    /// Whether the storage class has said that it cannot give this size. It is not asked again before somebody wishes
    /// another.
    pub fn growth_was_refused(&self, size: &str) -> bool {
        conditions::find(&self.status.conditions, conditions::WORKSPACE_BOUND).is_some_and(|condition| {
            condition.reason == CANNOT_GROW && condition.message.starts_with(&cannot_grow_to(size))
        })
    }

    /// Whether somebody still wishes the size that was refused with these words.
    pub fn wishes_refused_size(&self, words: &str) -> bool {
        validate::growth_wished(self).is_some_and(|size| words.starts_with(&cannot_grow_to(&size)))
    }

    /// Whether there should be no pod.
    pub fn is_wished_away(&self) -> bool {
        self.suspended_by() != "Running"
    }

    /// Who suspends the drone, as a reason of the condition `Suspended`.
    pub fn suspended_by(&self) -> &'static str {
        let by_session = match &self.bound {
            Bound::To(session) => session.wishes.mode == OperatingMode::Suspended,
            Bound::Free | Bound::Unreadable | Bound::Lost => false,
        };
        match self.drone.spec.operating_mode {
            OperatingMode::Suspended => "SuspendedByHand",
            OperatingMode::Running if by_session => "SuspendedBySession",
            OperatingMode::Running => "Running",
        }
    }
}

/// Reason of `WorkspaceBound` while the volume stays smaller than it should be.
pub const CANNOT_GROW: &str = "CannotGrow";

/// How the message begins: it is how a refusal is remembered.
pub fn cannot_grow_to(size: &str) -> String {
    format!("the volume cannot grow to {size}: ")
}

/// The session that a drone works for.
#[derive(Clone, Debug)]
pub enum Bound {
    Free,
    To(Arc<Session>),
    /// The session cannot be read. It is there, so everything stays as it is.
    Unreadable,
    /// The session is gone, or going: so is the drone, soon.
    Lost,
}

#[derive(Clone, Debug)]
pub enum Lookup<T> {
    Found(Arc<T>),
    Unreadable(Name),
    Missing(Name),
}

/// A pod or a claim.
#[derive(Clone, Debug)]
pub enum Child<T> {
    Missing,
    /// We made it; the watch has not shown it yet.
    JustMade(Uid),
    There(Arc<T>),
}

impl<T> Child<T> {
    pub fn there(&self) -> Option<&Arc<T>> {
        match self {
            Self::There(there) => Some(there),
            Self::Missing | Self::JustMade(_) => None,
        }
    }
}

/// What there is of a drone of this name.
#[derive(Debug)]
pub enum Sight {
    Missing,
    Broken(Arc<Broken>),
    Good(Box<Observed>),
}

pub fn observe(index: &Index, ledger: &Ledger, name: &str) -> Sight {
    let Some(view) = index.drone(name) else { return Sight::Missing };
    let drone = match view.drone {
        Seen::Good(drone) => drone,
        Seen::Broken(broken) => return Sight::Broken(broken),
    };
    let status = ledger.drone_status(name, &drone.uid, drone.version, &drone.status);
    let pod = child(view.pod, ledger, Made::Pod, &names::pod(name));
    Sight::Good(Box::new(Observed {
        bound: bound(&drone, view.session),
        class: match view.class {
            Some(Seen::Good(class)) => Lookup::Found(class),
            Some(Seen::Broken(_)) => Lookup::Unreadable(drone.spec.class_name.as_str().into()),
            None => Lookup::Missing(drone.spec.class_name.as_str().into()),
        },
        claim: child(view.claim, ledger, Made::Claim, &drone.claim_name()),
        claim_owner_lives: view.claim_owner_lives,
        pod,
        gone: view.gone,
        wished_away: ledger.wished_away(name),
        pod_warning: view.pod_warning,
        claim_warning: view.claim_warning,
        wished_at: ledger.wished_at(name),
        status,
        drone,
    }))
}

fn child<T>(seen: Option<Arc<T>>, ledger: &Ledger, what: Made, name: &str) -> Child<T> {
    match (seen, ledger.just_made(what, name)) {
        (Some(there), _) => Child::There(there),
        (None, Some(uid)) => Child::JustMade(uid),
        (None, None) => Child::Missing,
    }
}

fn bound(drone: &Drone, session: Option<Seen<Session>>) -> Bound {
    if drone.spec.chat_session.is_none() {
        return Bound::Free;
    }
    let owner = drone.owner.as_ref().filter(|owner| &*owner.kind == "ChatSession");
    let is_another = |uid: &Uid| owner.is_some_and(|owner| owner.uid != *uid);
    match session {
        None => Bound::Lost,
        Some(session) if is_another(session.uid()) => Bound::Lost,
        Some(Seen::Broken(_)) => Bound::Unreadable,
        Some(Seen::Good(session)) if session.deleting => Bound::Lost,
        Some(Seen::Good(session)) => Bound::To(session),
    }
}

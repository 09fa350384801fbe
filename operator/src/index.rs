//! What the watches said last: of each object only what is read, found by name and by owner, never by a search.
//!
//! Pure but for one short lock. Taking an object in answers with the work that it makes necessary.

mod claim;
mod class;
mod drone;
mod pod;
mod seen;
mod session;
pub mod store;
mod warning;

pub use self::claim::{Claim, ClaimPhase};
pub use self::class::Class;
pub use self::drone::Drone;
pub use self::pod::{Container, Pod, PodPhase, Termination};
pub use self::seen::{Broken, Name, Owner, Seen, Uid};
pub use self::session::{Session, Wishes};
pub use self::warning::{Subject, Warning};

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crds::value::OperatingMode;
use crds::{DroneRegistrationStatus, names};
use parking_lot::Mutex;

use crate::queue::Key;

#[derive(Debug, Default)]
pub struct Index {
    /// Held for look-ups and for taking one object in; never over an await.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<Name, Seen<Session>>,
    drones: HashMap<Name, Seen<Drone>>,
    classes: HashMap<Name, Seen<Class>>,
    pods: HashMap<Name, Arc<Pod>>,
    claims: HashMap<Name, Arc<Claim>>,
    /// The last state of a drone's last pod that is gone: it says why it went.
    gone: HashMap<Name, Arc<Pod>>,
    /// The last warning about an object, by the object's uid.
    warnings: HashMap<Uid, Arc<Warning>>,
    drones_of_class: HashMap<Name, BTreeSet<Name>>,
    /// Sessions by the drone that they name in `spec.drone`.
    sessions_of_drone: HashMap<Name, BTreeSet<Name>>,
    /// Drones by the claim that they name in `spec.workspace.claimName`.
    drones_of_claim: HashMap<Name, BTreeSet<Name>>,
}

/// Everything of a drone that a reconcile looks at, read in one go.
#[derive(Clone, Debug)]
pub struct DroneView {
    pub drone: Seen<Drone>,
    /// Of `spec.chatSession`.
    pub session: Option<Seen<Session>>,
    pub class: Option<Seen<Class>>,
    pub claim: Option<Arc<Claim>>,
    /// Whether the session that owns the claim is there.
    pub claim_owner_lives: bool,
    pub pod: Option<Arc<Pod>>,
    pub gone: Option<Arc<Pod>>,
    pub pod_warning: Option<Arc<Warning>>,
    pub claim_warning: Option<Arc<Warning>>,
}

/// Everything of a session that a reconcile looks at.
#[derive(Clone, Debug)]
pub struct SessionView {
    pub session: Seen<Session>,
    /// The drone that is named as the session's drone would be, or as it wishes.
    pub drone: Option<Seen<Drone>>,
    pub class: Option<Seen<Class>>,
    /// Of the name that the drone's claim would have.
    pub claim: Option<Arc<Claim>>,
}

impl Index {
    pub fn drone(&self, name: &str) -> Option<DroneView> {
        let inner = self.inner.lock();
        let drone = inner.drones.get(name)?.clone();
        let (session, class, claim) = match &drone {
            Seen::Good(good) => (
                good.spec.chat_session.as_deref().and_then(|session| inner.sessions.get(session)).cloned(),
                inner.classes.get(good.spec.class_name.as_str()).cloned(),
                inner.claims.get(good.claim_name().as_str()).cloned(),
            ),
            Seen::Broken(_) => (None, None, None),
        };
        let pod = inner.pods.get(names::pod(name).as_str()).cloned();
        let pod_warning = pod.as_ref().and_then(|pod| inner.warnings.get(&pod.uid)).cloned();
        let claim_warning = claim.as_ref().and_then(|claim| inner.warnings.get(&claim.uid)).cloned();
        let claim_owner_lives = claim.as_ref().and_then(|claim| claim.owner.as_ref()).is_some_and(|owner| {
            inner.sessions.get(&owner.name).is_some_and(|session| *session.uid() == owner.uid)
                || inner.drones.get(&owner.name).is_some_and(|drone| *drone.uid() == owner.uid)
        });
        let gone = inner.gone.get(name).cloned();
        Some(DroneView {
            drone,
            session,
            class,
            claim,
            claim_owner_lives,
            pod,
            gone,
            pod_warning,
            claim_warning,
        })
    }

    pub fn session(&self, name: &str, default_class: &str) -> Option<SessionView> {
        let inner = self.inner.lock();
        let session = inner.sessions.get(name)?.clone();
        let (drone, class, claim) = match &session {
            Seen::Good(good) => {
                let drone = good.drone_name();
                let class = good.wishes.class.as_deref().unwrap_or(default_class);
                (
                    inner.drones.get(drone.as_str()).cloned(),
                    inner.classes.get(class).cloned(),
                    inner.claims.get(names::claim(&drone).as_str()).cloned(),
                )
            }
            Seen::Broken(_) => (None, None, None),
        };
        Some(SessionView { session, drone, class, claim })
    }

    pub fn class(&self, name: &str) -> Option<Seen<Class>> {
        self.inner.lock().classes.get(name).cloned()
    }

    /// All work there is: for a new leader.
    pub fn everything(&self) -> Vec<Key> {
        let inner = self.inner.lock();
        let sessions = inner.sessions.keys().map(|name| Key::Session(Arc::clone(name)));
        let drones = inner.drones.keys().map(|name| Key::Drone(Arc::clone(name)));
        let classes = inner.classes.keys().map(|name| Key::Class(Arc::clone(name)));
        sessions.chain(drones).chain(classes).collect()
    }

    /// How many drones are in each phase, for `/metrics`.
    pub fn phases(&self) -> HashMap<&'static str, i64> {
        let mut phases = HashMap::new();
        for drone in self.inner.lock().drones.values() {
            let phase = match drone {
                Seen::Good(good) => good.status.phase.map_or("None", phase_name),
                Seen::Broken(_) => "Malformed",
            };
            *phases.entry(phase).or_insert(0) += 1;
        }
        phases
    }
}

fn phase_name(phase: crds::drone_registration::DronePhase) -> &'static str {
    use crds::drone_registration::DronePhase as P;
    match phase {
        P::Starting => "Starting",
        P::Available => "Available",
        P::Busy => "Busy",
        P::Recovering => "Recovering",
        P::Suspended => "Suspended",
        P::Offline => "Offline",
        P::Failed => "Failed",
    }
}

impl Inner {
    /// Work that a drone of this name gives, to itself and to the sessions that look at it.
    fn around_drone(&self, name: &Name, work: &mut Vec<Key>) {
        work.push(Key::Drone(Arc::clone(name)));
        if self.sessions.contains_key(name) {
            work.push(Key::Session(Arc::clone(name)));
        }
        for session in self.sessions_of_drone.get(name).into_iter().flatten() {
            work.push(Key::Session(Arc::clone(session)));
        }
        if let Some(Seen::Good(drone)) = self.drones.get(name)
            && let Some(session) = drone.spec.chat_session.as_deref()
            && session != &**name
        {
            work.push(Key::Session(session.into()));
        }
    }

    fn around_claim(&self, name: &Name, work: &mut Vec<Key>) {
        if let Some(drone) = name.strip_prefix("ws-")
            && self.drones.contains_key(drone)
        {
            work.push(Key::Drone(drone.into()));
        }
        for drone in self.drones_of_claim.get(name).into_iter().flatten() {
            work.push(Key::Drone(Arc::clone(drone)));
        }
    }

    fn link_drone(&mut self, name: &Name, drone: &Seen<Drone>, link: Link) {
        let Seen::Good(drone) = drone else { return };
        link.set(&mut self.drones_of_class, drone.spec.class_name.as_str(), name);
        if let Some(claim) = drone.spec.workspace.claim_name.as_deref() {
            link.set(&mut self.drones_of_claim, claim, name);
        }
    }

    fn link_session(&mut self, name: &Name, session: &Seen<Session>, link: Link) {
        let Seen::Good(session) = session else { return };
        if let Some(drone) = session.wishes.drone.as_deref() {
            link.set(&mut self.sessions_of_drone, drone, name);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Link {
    Add,
    Remove,
}

impl Link {
    fn set(self, links: &mut HashMap<Name, BTreeSet<Name>>, from: &str, to: &Name) {
        match self {
            Self::Add => {
                links.entry(from.into()).or_default().insert(Arc::clone(to));
            }
            Self::Remove => {
                if let Some(set) = links.get_mut(from) {
                    set.remove(to);
                    if set.is_empty() {
                        links.remove(from);
                    }
                }
            }
        }
    }
}

impl DroneView {
    /// Whether the session that the drone is bound to wants it to run, for those that are not bound too.
    pub fn mode_of_session(&self) -> OperatingMode {
        match &self.session {
            Some(Seen::Good(session)) => session.wishes.mode,
            Some(Seen::Broken(_)) | None => OperatingMode::Running,
        }
    }
}

/// The status without the part that the hub writes.
pub(crate) fn without_activity(mut status: DroneRegistrationStatus) -> DroneRegistrationStatus {
    status.activity = None;
    status
}

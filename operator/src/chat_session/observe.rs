//! What is known of a session: from the indexes and from what we wrote last.

use std::sync::Arc;

use crds::{ChatSessionStatus, DroneRegistrationStatus, names};

use crate::index::{Broken, Class, Drone, Index, Seen, Session, Uid};
use crate::ledger::{Ledger, Made};

/// Everything that a decision about a session depends on, the time apart.
#[derive(Clone, Debug)]
pub struct Observed {
    pub session: Arc<Session>,
    /// The status in the store, as far as we know.
    pub status: ChatSessionStatus,
    pub drone: DroneSight,
    pub class: Option<Arc<Class>>,
    /// Whether there is a claim of the name that the drone's has, or may be.
    pub has_claim: bool,
}

#[derive(Clone, Debug)]
pub enum DroneSight {
    Missing,
    /// We made it; the watch has not shown it yet.
    JustMade(Uid),
    Broken(Arc<Broken>),
    There(Arc<Drone>, Box<DroneRegistrationStatus>),
}

/// What there is of a session of this name.
#[derive(Debug)]
pub enum Sight {
    Missing,
    Broken(Arc<Broken>),
    Good(Box<Observed>),
}

pub fn observe(index: &Index, ledger: &Ledger, name: &str, default_class: &str) -> Sight {
    let Some(view) = index.session(name, default_class) else { return Sight::Missing };
    let session = match view.session {
        Seen::Good(session) => session,
        Seen::Broken(broken) => return Sight::Broken(broken),
    };
    let drone = session.drone_name();
    Sight::Good(Box::new(Observed {
        status: ledger.session_status(name, &session.uid, session.version, &session.status),
        drone: match (view.drone, ledger.just_made(Made::Drone, &drone)) {
            (Some(Seen::Good(there)), _) => {
                let status = ledger.drone_status(&drone, &there.uid, there.version, &there.status);
                DroneSight::There(there, Box::new(status))
            }
            (Some(Seen::Broken(broken)), _) => DroneSight::Broken(broken),
            (None, Some(uid)) => DroneSight::JustMade(uid),
            (None, None) => DroneSight::Missing,
        },
        class: match view.class {
            Some(Seen::Good(class)) => Some(class),
            Some(Seen::Broken(_)) | None => None,
        },
        has_claim: view.claim.is_some() || ledger.just_made(Made::Claim, &names::claim(&drone)).is_some(),
        session,
    }))
}

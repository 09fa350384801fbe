//! Which drone a session gets, or why none. Pure.

use std::sync::Arc;

use crds::value::OperatingMode;

use super::observe::{DroneSight, Observed};
use crate::index::{Drone, Session};

#[derive(Clone, Debug)]
pub enum Validated {
    /// It is going, and what belongs to it goes with it.
    Leave,
    /// It is suspended and has no drone: it needs none.
    Asleep,
    /// A drone is to be made.
    Make,
    /// A drone was made; the watch will show it.
    Made,
    /// This drone is to be bound to the session.
    Bind(Arc<Drone>),
    /// The session has this drone.
    Keep(Arc<Drone>),
    Blocked(Problem),
}

/// Why a session has no drone, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub reason: &'static str,
    pub message: String,
    pub advice: String,
}

pub fn validate(observed: &Observed) -> Validated {
    let session = &observed.session;
    if session.deleting {
        return Validated::Leave;
    }
    match &observed.drone {
        DroneSight::Missing => without_drone(observed),
        DroneSight::JustMade(_) => Validated::Made,
        DroneSight::Broken(broken) => Validated::Blocked(Problem {
            reason: "DroneMalformed",
            message: format!("the drone '{}' does not fit the schema of this operator", broken.name),
            advice: format!("mend the drone '{}', delete it, or upgrade the operator", broken.name),
        }),
        DroneSight::There(drone, _) => with_drone(session, drone),
    }
}

fn without_drone(observed: &Observed) -> Validated {
    let session = &observed.session;
    if session.wishes.mode == OperatingMode::Suspended {
        return Validated::Asleep;
    }
    match &session.wishes.drone {
        // It was bound once. Whoever deletes a drone asks for a new one on the same workspace.
        Some(drone) if observed.status.drone_name.as_deref() != Some(&**drone) => {
            Validated::Blocked(Problem {
                reason: "DroneMissing",
                message: format!("there is no drone '{drone}'"),
                advice: format!("start the drone '{drone}', or make a session that names none"),
            })
        }
        _ => Validated::Make,
    }
}

fn with_drone(session: &Session, drone: &Arc<Drone>) -> Validated {
    let name = &drone.name;
    let is_named = session.wishes.drone.as_ref() == Some(name);
    let owner = drone.owner.as_ref();
    let is_ours = owner.is_some_and(|owner| owner.uid == session.uid);
    // Sessions come and go under the same name: what belonged to an earlier one goes by itself.
    let of_earlier = owner.is_some_and(|owner| {
        &*owner.kind == "ChatSession" && owner.name == session.name && owner.uid != session.uid
    });
    if drone.deleting || of_earlier {
        return Validated::Blocked(Problem {
            reason: "EarlierDroneEnding",
            message: format!("an earlier drone '{name}' is still ending"),
            advice: "nothing to do: a new one is made as soon as it is gone".to_owned(),
        });
    }
    let is_users = drone.spec.user == *session.wishes.user;
    match drone.spec.chat_session.as_deref() {
        _ if !is_users || (owner.is_some() && !is_ours) => taken(name, is_named),
        Some(bound) if *bound != *session.name => taken(name, is_named),
        Some(_) if is_ours => Validated::Keep(Arc::clone(drone)),
        Some(_) => Validated::Bind(Arc::clone(drone)),
        None if is_named => Validated::Bind(Arc::clone(drone)),
        None => Validated::Blocked(Problem {
            reason: "NameTaken",
            message: format!("a drone '{name}' is there that is not the session's"),
            advice: format!(
                "name it in spec.drone of a new session to use it, or make the session under another name than '{name}'"
            ),
        }),
    }
}

/// The same words whoever has it: what others have is nobody's business.
fn taken(name: &str, is_named: bool) -> Validated {
    Validated::Blocked(if is_named {
        Problem {
            reason: "DroneTaken",
            message: format!("the drone '{name}' is not free for this user"),
            advice: "make a session that names a drone of the same user which has no session, or none"
                .to_owned(),
        }
    } else {
        Problem {
            reason: "NameTaken",
            message: format!("a drone '{name}' is there that is not the session's"),
            advice: "make the session under another name".to_owned(),
        }
    })
}

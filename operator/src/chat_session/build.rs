//! The drone of a session, as it is to be sent, and its claim beside it. Pure.

use crds::drone_registration::DroneWorkspace;
use crds::value::{OperatingMode, Retention};
use crds::{DroneRegistration, DroneRegistrationSpec, names};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::core::ObjectMeta;
use serde_json::{Value, json};

use super::observe::Observed;
use super::validate::Validated;
use crate::config::Config;
use crate::drone::build::{ClaimOf, claim, controller, labels};
use crate::drone::validate::{ClaimWish, DEFAULT_SIZE};
use crate::index::{Drone, Owner, Session};

/// What a session is made of, at one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources<S: SessionStage> {
    pub drone: S::Drone,
    /// Made side by side with the drone, so that the pod need not wait for both, one after the other.
    pub claim: S::Claim,
}

pub trait SessionStage {
    type Drone;
    type Claim;
}

#[derive(Clone, Debug, PartialEq)]
pub struct Built;

impl SessionStage for Built {
    type Drone = DroneAction;
    type Claim = Option<Box<PersistentVolumeClaim>>;
}

#[derive(Clone, Debug, PartialEq)]
pub enum DroneAction {
    Keep,
    Create(Box<DroneRegistration>),
    /// A merge patch that holds only for the version of the drone that we saw.
    Bind {
        name: String,
        body: Value,
    },
}

pub fn build(observed: &Observed, validated: &Validated, config: &Config) -> Resources<Built> {
    match validated {
        Validated::Leave
        | Validated::Asleep
        | Validated::Made
        | Validated::Keep(_)
        | Validated::Blocked(_) => Resources { drone: DroneAction::Keep, claim: None },
        Validated::Bind(drone) => Resources { drone: bind(&observed.session, drone), claim: None },
        Validated::Make => Resources {
            drone: DroneAction::Create(Box::new(new_drone(observed, config))),
            claim: new_claim(observed).map(Box::new),
        },
    }
}

fn owner(session: &Session) -> Owner {
    Owner { kind: "ChatSession".into(), name: session.name.clone(), uid: session.uid.clone() }
}

fn new_drone(observed: &Observed, config: &Config) -> DroneRegistration {
    let session = &observed.session;
    let name = session.drone_name();
    let wishes = &session.wishes.workspace;
    // The workspace of a drone before, where it was not the one that this drone would make.
    let before = observed.status.workspace_claim.clone().filter(|claim| *claim != names::claim(&name));
    DroneRegistration {
        metadata: ObjectMeta {
            labels: Some(labels(&session.wishes.user, Some(&session.name), &name)),
            owner_references: Some(vec![controller(&owner(session))]),
            name: Some(name),
            ..ObjectMeta::default()
        },
        spec: DroneRegistrationSpec {
            user: session.wishes.user.to_string(),
            chat_session: Some(session.name.to_string()),
            class_name: session.wishes.class.as_deref().unwrap_or(&config.class).to_owned(),
            workspace: DroneWorkspace {
                size: wishes.size.clone(),
                storage_class_name: wishes.storage_class_name.clone(),
                claim_name: wishes.claim_name.clone().or(before),
                access_mode: None,
                // The session is asked each time: it may change its mind.
                retention: None,
            },
            operating_mode: OperatingMode::Running,
        },
        status: None,
    }
}

/// `None` where the drone has to look closer: a claim is there, was there, or is named.
fn new_claim(observed: &Observed) -> Option<PersistentVolumeClaim> {
    let session = &observed.session;
    let wishes = &session.wishes.workspace;
    if observed.has_claim || observed.status.workspace_claim.is_some() || wishes.claim_name.is_some() {
        return None;
    }
    let class = observed.class.as_ref()?;
    let defaults = &class.spec.workspace;
    let drone = session.drone_name();
    let wish = ClaimWish {
        size: wishes
            .size
            .clone()
            .or_else(|| defaults.size.clone())
            .unwrap_or_else(|| DEFAULT_SIZE.to_owned()),
        storage_class: wishes.storage_class_name.clone().or_else(|| defaults.storage_class_name.clone()),
        access_mode: defaults.access_mode.unwrap_or_default(),
        owner: match wishes.retention.or(defaults.retention).unwrap_or_default() {
            Retention::Retain => None,
            Retention::Delete => Some(owner(session)),
        },
    };
    let of = ClaimOf { user: &session.wishes.user, session: Some(&session.name), drone: &drone };
    Some(claim(&names::claim(&drone), of, &wish))
}

fn bind(session: &Session, drone: &Drone) -> DroneAction {
    let labels = labels(&session.wishes.user, Some(&session.name), &drone.name);
    DroneAction::Bind {
        name: drone.name.to_string(),
        body: json!({
            "metadata": {
                "uid": &*drone.uid,
                "resourceVersion": drone.version.to_string(),
                "labels": labels,
                "ownerReferences": [controller(&owner(session))],
            },
            "spec": { "chatSession": &*session.name },
        }),
    }
}

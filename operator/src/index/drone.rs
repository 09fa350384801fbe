//! What is read of a DroneRegistration.

use crds::{DroneRegistration, DroneRegistrationSpec, DroneRegistrationStatus, names};
use k8s_openapi::jiff::Timestamp;

use super::seen::{self, Broken, Name, Owner, Seen, Uid};

#[derive(Clone, Debug, PartialEq)]
pub struct Drone {
    pub name: Name,
    pub uid: Uid,
    pub version: u64,
    pub generation: i64,
    pub deleting: bool,
    pub created: Timestamp,
    pub owner: Option<Owner>,
    pub spec: DroneRegistrationSpec,
    /// Without `activity`, which is the hub's.
    pub status: DroneRegistrationStatus,
    /// The one thing of `activity` that is read: how often the process in the pod has been restarted.
    pub process_restarts: i32,
}

impl Drone {
    pub fn claim_name(&self) -> String {
        match &self.spec.workspace.claim_name {
            Some(claim) => claim.clone(),
            None => names::claim(&self.name),
        }
    }
}

impl From<DroneRegistration> for Drone {
    fn from(drone: DroneRegistration) -> Self {
        let DroneRegistration { metadata, spec, status } = drone;
        let status = status.unwrap_or_default();
        Self {
            name: seen::name(&metadata),
            uid: seen::uid(&metadata),
            version: seen::version(&metadata),
            generation: seen::generation(&metadata),
            deleting: metadata.deletion_timestamp.is_some(),
            created: seen::created(&metadata),
            owner: seen::owner(&metadata),
            spec,
            process_restarts: status.activity.as_ref().map_or(0, |activity| activity.process_restarts),
            status: super::without_activity(status),
        }
    }
}

impl Seen<Drone> {
    pub fn uid(&self) -> &Uid {
        match self {
            Self::Good(drone) => &drone.uid,
            Self::Broken(broken) => &broken.uid,
        }
    }
}

impl From<kube::core::DeserializeGuard<DroneRegistration>> for Seen<Drone> {
    fn from(guard: kube::core::DeserializeGuard<DroneRegistration>) -> Self {
        match guard.0 {
            Ok(good) => Self::Good(Drone::from(good).into()),
            Err(invalid) => Self::Broken(Broken::new(&invalid.metadata, invalid.error).into()),
        }
    }
}

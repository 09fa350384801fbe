//! What is read of a DroneClass: all of its spec, its revision, and the settings that it was made of.

use crds::{DroneClass, DroneClassSpec, names};

use super::seen::{self, Broken, Name, Seen, Uid};

#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    pub name: Name,
    pub uid: Uid,
    /// As the API server gives it: what a change must be based on.
    pub version: String,
    /// Fingerprint of the settings that the operator made it of. Absent when a person made it.
    pub made_of: Option<String>,
    pub spec: DroneClassSpec,
    pub revision: String,
}

impl From<DroneClass> for Class {
    fn from(class: DroneClass) -> Self {
        let revision = class.spec.revision();
        let made_of =
            class.metadata.annotations.as_ref().and_then(|notes| notes.get(names::SETTINGS)).cloned();
        Self {
            name: seen::name(&class.metadata),
            uid: seen::uid(&class.metadata),
            version: class.metadata.resource_version.unwrap_or_default(),
            made_of,
            spec: class.spec,
            revision,
        }
    }
}

impl From<kube::core::DeserializeGuard<DroneClass>> for Seen<Class> {
    fn from(guard: kube::core::DeserializeGuard<DroneClass>) -> Self {
        match guard.0 {
            Ok(good) => Self::Good(Class::from(good).into()),
            Err(invalid) => Self::Broken(Broken::new(&invalid.metadata, invalid.error).into()),
        }
    }
}

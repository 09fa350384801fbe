//! What is read of a DroneClass: all of its spec, and its revision.

use crds::{DroneClass, DroneClassSpec};

use super::seen::{self, Broken, Name, Seen};

#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    pub name: Name,
    pub spec: DroneClassSpec,
    pub revision: String,
}

impl From<DroneClass> for Class {
    fn from(class: DroneClass) -> Self {
        let revision = class.spec.revision();
        Self { name: seen::name(&class.metadata), spec: class.spec, revision }
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

//! The custom resources of Gadget: types, their rules, and the names of what belongs to them.
//!
//! Operator, hub and tests share these. There is no client here and no runtime. What the API server refuses is decided
//! by the schema that comes of these types and by the CEL rules beside the fields; there is no webhook.

pub mod chat_session;
pub mod conditions;
pub mod drone_class;
pub mod drone_registration;
pub mod duration;
pub mod names;
mod rules;
pub mod value;
pub mod why;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use chat_session::{ChatSession, ChatSessionSpec, ChatSessionStatus};
pub use drone_class::{DroneClass, DroneClassSpec};
pub use drone_registration::{DroneRegistration, DroneRegistrationSpec, DroneRegistrationStatus};

pub const GROUP: &str = "gadgetcode.dev";
pub const VERSION: &str = "v1alpha1";

/// All of them, as `crdgen` writes them.
pub fn all() -> [CustomResourceDefinition; 3] {
    [ChatSession::crd(), DroneRegistration::crd(), DroneClass::crd()]
}

//! What is read of a PersistentVolumeClaim.

use crds::names;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::seen::{self, Name, Owner, Uid};

#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub name: Name,
    pub uid: Uid,
    pub deleting: bool,
    /// Whether it is labelled as a workspace.
    pub workspace: bool,
    /// Whose it is, where it is a workspace.
    pub user_hash: Option<Name>,
    pub owner: Option<Owner>,
    pub requested: Option<Quantity>,
    pub phase: ClaimPhase,
    /// The storage class, to be named in words.
    pub storage_class: Option<Name>,
    /// What a resize that failed says.
    pub resize_error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimPhase {
    Pending,
    Bound,
    Lost,
}

impl Claim {
    pub fn is_workspace_of(&self, user: &str) -> bool {
        self.workspace && self.user_hash.as_deref() == Some(names::user_hash(user).as_str())
    }
}

impl From<PersistentVolumeClaim> for Claim {
    fn from(claim: PersistentVolumeClaim) -> Self {
        let meta = &claim.metadata;
        let (spec, status) = (claim.spec.unwrap_or_default(), claim.status.unwrap_or_default());
        let requested = spec.resources.and_then(|resources| resources.requests?.get("storage").cloned());
        let resize_error =
            status.conditions.unwrap_or_default().into_iter().find_map(|condition| match &*condition.type_ {
                "ControllerResizeError" | "NodeResizeError" if condition.status == "True" => {
                    condition.message
                }
                _ => None,
            });
        Self {
            name: seen::name(meta),
            uid: seen::uid(meta),
            deleting: meta.deletion_timestamp.is_some(),
            workspace: seen::label(meta, names::COMPONENT) == Some(names::WORKSPACE_COMPONENT),
            user_hash: seen::label(meta, names::USER_HASH).map(Into::into),
            owner: seen::owner(meta),
            requested,
            phase: match status.phase.as_deref() {
                Some("Bound") => ClaimPhase::Bound,
                Some("Lost") => ClaimPhase::Lost,
                _ => ClaimPhase::Pending,
            },
            storage_class: spec.storage_class_name.map(Into::into),
            resize_error,
        }
    }
}

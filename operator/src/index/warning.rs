//! What is read of an Event about a pod or a claim: some causes are said nowhere else.

use k8s_openapi::api::core::v1::Event;

use super::seen::{Name, Uid};

/// The last warning about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub subject: Subject,
    pub name: Name,
    pub uid: Uid,
    pub reason: Name,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Pod,
    Claim,
}

/// Reasons that say why a pod or claim does not come on, or goes, and are in no status.
const TOLD_NOWHERE_ELSE: &[&str] = &[
    "FailedMount",
    "FailedAttachVolume",
    "FailedMapVolume",
    "FailedCreatePodSandBox",
    "Evicted",
    "ProvisioningFailed",
    "FailedBinding",
    "VolumeResizeFailed",
    "ExternalExpanding",
];

impl Warning {
    pub(super) fn read(event: &Event) -> Option<Self> {
        let reason = event.reason.as_deref()?;
        if !TOLD_NOWHERE_ELSE.contains(&reason) {
            return None;
        }
        let subject = match event.involved_object.kind.as_deref()? {
            "Pod" => Subject::Pod,
            "PersistentVolumeClaim" => Subject::Claim,
            _ => return None,
        };
        Some(Self {
            subject,
            name: event.involved_object.name.as_deref()?.into(),
            uid: event.involved_object.uid.as_deref()?.into(),
            reason: reason.into(),
            message: crds::conditions::bounded(event.message.as_deref().unwrap_or_default()),
        })
    }
}

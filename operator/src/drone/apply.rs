//! The only step that writes a drone's children: the claim first, then the pod.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::build::{Built, ClaimAction, PodAction, Resources, Stage};
use super::failure::{Refusal, refusal};
use super::observe::Observed;
use super::validate::Validated;
use crate::api::{Api, WriteError};
use crate::index::Uid;
use crate::ledger::{Ledger, Made};

#[derive(Clone, Debug, PartialEq)]
pub struct Applied;

impl Stage for Applied {
    type Claim = ClaimOutcome;
    type Pod = PodOutcome;
}

#[derive(Clone, Debug, PartialEq)]
pub enum ClaimOutcome {
    /// Nothing was to be done, or it is done.
    Fine,
    /// It is in another state than we knew: the watch will say.
    Unclear,
    /// It could not be made.
    Refused(Refusal),
    /// It could not be changed: the storage class cannot, or we may not.
    NotChanged { grow_to: Option<String>, refusal: Refusal },
}

#[derive(Clone, Debug, PartialEq)]
pub enum PodOutcome {
    Kept,
    Created(Uid),
    Deleted,
    /// It is in another state than we knew: the watch will say.
    Unclear,
    Refused(Refusal),
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("failed to make the claim {name}")]
    CreateClaim { name: String, source: WriteError },
    #[error("failed to change the claim {name}")]
    PatchClaim { name: String, source: WriteError },
    #[error("failed to make the pod {name}")]
    CreatePod { name: String, source: WriteError },
    #[error("failed to delete the pod {name}")]
    DeletePod { name: String, source: WriteError },
}

pub async fn apply(
    api: &Api,
    ledger: &Ledger,
    observed: &Observed,
    validated: &Validated,
    built: Resources<Built>,
) -> Result<Resources<Applied>, ApplyError> {
    let Resources { claim, pod } = built;
    let claim = apply_claim(api, ledger, claim).await?;
    let pod = match (&claim, pod) {
        // No pod without its volume.
        (ClaimOutcome::Refused(_) | ClaimOutcome::Unclear, PodAction::Create(_)) => PodOutcome::Kept,
        (_, pod) => apply_pod(api, ledger, observed, validated, pod).await?,
    };
    Ok(Resources { claim, pod })
}

async fn apply_claim(api: &Api, ledger: &Ledger, action: ClaimAction) -> Result<ClaimOutcome, ApplyError> {
    match action {
        ClaimAction::Keep => Ok(ClaimOutcome::Fine),
        ClaimAction::Create(claim) => create_claim(api, ledger, &claim).await,
        // The watch will show it.
        ClaimAction::Patch { name, body } if ledger.just_patched(&name, &body) => Ok(ClaimOutcome::Unclear),
        ClaimAction::Patch { name, body } => {
            let grow_to = body["spec"]["resources"]["requests"]["storage"].as_str().map(ToOwned::to_owned);
            match api.patch::<PersistentVolumeClaim>(&name, &body).await {
                Ok(_) => {
                    ledger.patched(&name, body);
                    Ok(ClaimOutcome::Fine)
                }
                Err(WriteError::Conflict(_) | WriteError::Gone) => Ok(ClaimOutcome::Unclear),
                Err(WriteError::Refused(status)) => {
                    Ok(ClaimOutcome::NotChanged { grow_to, refusal: refusal("change of the claim", &status) })
                }
                Err(source) => Err(ApplyError::PatchClaim { name, source }),
            }
        }
    }
}

pub async fn create_claim(
    api: &Api,
    ledger: &Ledger,
    claim: &PersistentVolumeClaim,
) -> Result<ClaimOutcome, ApplyError> {
    let name = claim.metadata.name.clone().unwrap_or_default();
    match api.create(claim).await {
        Ok(answer) => {
            ledger.made(Made::Claim, &name, answer.uid);
            Ok(ClaimOutcome::Fine)
        }
        Err(WriteError::Conflict(_)) => Ok(ClaimOutcome::Unclear),
        Err(WriteError::Refused(status)) => Ok(ClaimOutcome::Refused(refusal("claim", &status))),
        Err(source) => Err(ApplyError::CreateClaim { name, source }),
    }
}

async fn apply_pod(
    api: &Api,
    ledger: &Ledger,
    observed: &Observed,
    validated: &Validated,
    action: PodAction,
) -> Result<PodOutcome, ApplyError> {
    match action {
        PodAction::Keep => Ok(PodOutcome::Kept),
        PodAction::Create(pod) => {
            let name = pod.metadata.name.clone().unwrap_or_default();
            match api.create(&*pod).await {
                Ok(answer) => {
                    ledger.made(Made::Pod, &name, answer.uid.clone());
                    Ok(PodOutcome::Created(answer.uid))
                }
                Err(WriteError::Conflict(_)) => Ok(PodOutcome::Unclear),
                Err(WriteError::Refused(status)) => Ok(PodOutcome::Refused(refusal("pod", &status))),
                Err(source) => Err(ApplyError::CreatePod { name, source }),
            }
        }
        PodAction::Delete { name, uid } => {
            if let Validated::Rest(_) = validated {
                ledger.wish_away(&observed.drone.name, &uid);
            }
            match api.delete::<Pod>(&name, &uid).await {
                Ok(()) => Ok(PodOutcome::Deleted),
                Err(WriteError::Conflict(_)) => Ok(PodOutcome::Unclear),
                Err(WriteError::Refused(status)) => {
                    Ok(PodOutcome::Refused(refusal("end of the pod", &status)))
                }
                Err(source) => Err(ApplyError::DeletePod { name, source }),
            }
        }
    }
}

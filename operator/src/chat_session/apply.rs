//! The only step that writes a session's drone. Drone and claim are made side by side.

use crds::DroneRegistration;

use super::build::{Built, DroneAction, Resources, SessionStage};
use crate::api::{Api, WriteError};
use crate::drone::apply::{ClaimOutcome, create_claim};
use crate::drone::failure::{Refusal, refusal};
use crate::ledger::{Ledger, Made};

#[derive(Clone, Debug, PartialEq)]
pub struct Applied;

impl SessionStage for Applied {
    type Drone = DroneOutcome;
    /// The drone looks after its claim: what went wrong is for it to say.
    type Claim = ();
}

#[derive(Clone, Debug, PartialEq)]
pub enum DroneOutcome {
    Kept,
    Created,
    Bound,
    /// It is in another state than we knew: the watch will say.
    Unclear,
    Refused(Refusal),
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("failed to make the drone {name}")]
    Create { name: String, source: WriteError },
    #[error("failed to bind the drone {name}")]
    Bind { name: String, source: WriteError },
}

pub async fn apply(
    api: &Api,
    ledger: &Ledger,
    built: Resources<Built>,
) -> Result<Resources<Applied>, ApplyError> {
    let Resources { drone, claim } = built;
    // Said before the drone can be seen: its reconcile waits for the claim and makes no second one.
    let name = claim.as_ref().and_then(|claim| claim.metadata.name.as_deref());
    let making = name.map(|name| ledger.making_claim(name));
    let claim = async {
        let _making = making;
        let Some(claim) = claim else { return };
        match create_claim(api, ledger, &claim).await {
            Ok(ClaimOutcome::Fine | ClaimOutcome::Unclear) => {}
            other => tracing::debug!(?other, "failed to make a claim ahead; its drone tries again"),
        }
    };
    let (drone, ()) = tokio::join!(apply_drone(api, ledger, drone), claim);
    Ok(Resources { drone: drone?, claim: () })
}

async fn apply_drone(api: &Api, ledger: &Ledger, action: DroneAction) -> Result<DroneOutcome, ApplyError> {
    match action {
        DroneAction::Keep => Ok(DroneOutcome::Kept),
        DroneAction::Create(drone) => {
            let name = drone.metadata.name.clone().unwrap_or_default();
            match api.create(&*drone).await {
                Ok(answer) => {
                    ledger.made(Made::Drone, &name, answer.uid);
                    Ok(DroneOutcome::Created)
                }
                Err(WriteError::Conflict(_)) => Ok(DroneOutcome::Unclear),
                Err(WriteError::Refused(status)) => Ok(DroneOutcome::Refused(refusal("drone", &status))),
                Err(source) => Err(ApplyError::Create { name, source }),
            }
        }
        DroneAction::Bind { name, body } => match api.patch::<DroneRegistration>(&name, &body).await {
            Ok(_) => Ok(DroneOutcome::Bound),
            Err(WriteError::Conflict(_) | WriteError::Gone) => Ok(DroneOutcome::Unclear),
            Err(WriteError::Refused(status)) => {
                Ok(DroneOutcome::Refused(refusal("bond of the drone", &status)))
            }
            Err(source) => Err(ApplyError::Bind { name, source }),
        },
    }
}

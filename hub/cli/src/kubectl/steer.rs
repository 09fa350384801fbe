//! `kubectl gadget suspend`, `resume` and `terminate`: what should run. The operator does the rest.

use std::time::Duration;

use anyhow::{Context as _, bail};
use crds::value::OperatingMode;
use crds::{DroneRegistration, conditions, names};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::args::SteerArgs;
use super::cluster::{Cluster, Subject};
use super::why;
use crate::console::Console;

const MANAGER: &str = "kubectl-gadget";
/// How often it is looked whether it has come about.
const LOOK: Duration = Duration::from_millis(500);

pub(super) async fn suspend(
    cluster: &Cluster,
    args: &SteerArgs,
    console: &mut Console,
) -> anyhow::Result<()> {
    let subject = cluster.subject(&args.name).await?;
    wish(cluster, &subject, OperatingMode::Suspended).await?;
    console.line(&format!("{}: its pod ends, its workspace is kept", subject.name()))?;
    wait(cluster, args, console, conditions::SUSPENDED).await
}

pub(super) async fn resume(cluster: &Cluster, args: &SteerArgs, console: &mut Console) -> anyhow::Result<()> {
    let subject = cluster.subject(&args.name).await?;
    wish(cluster, &subject, OperatingMode::Running).await?;
    // A drone that somebody suspended by hand stays so whatever its session says.
    if let Subject::Session(_, Some(drone)) = &subject
        && drone.spec.operating_mode == OperatingMode::Suspended
    {
        patch(cluster, &**drone, OperatingMode::Running).await?;
    }
    console.line(&format!("{}: its pod starts on the same workspace", subject.name()))?;
    wait(cluster, args, console, conditions::READY).await
}

pub(super) async fn terminate(
    cluster: &Cluster,
    args: &SteerArgs,
    console: &mut Console,
) -> anyhow::Result<()> {
    let subject = cluster.subject(&args.name).await?;
    // First, or the operator would make the next drone.
    match &subject {
        Subject::Session(session, _) => patch(cluster, &**session, OperatingMode::Suspended).await?,
        Subject::Drone(drone) => {
            if let Some(session) = drone.spec.chat_session.as_deref() {
                patch(cluster, &cluster.session(session).await?, OperatingMode::Suspended).await?;
            }
        }
    }
    let Some(drone) = subject.drone() else {
        bail!("{} has no drone: it is suspended, and nothing else was to be done", subject.name());
    };
    let name = drone.metadata.name.as_deref().context("a drone without a name")?;
    let this = Preconditions { uid: drone.metadata.uid.clone(), resource_version: None };
    let params = DeleteParams { preconditions: Some(this), ..DeleteParams::default() };
    let drones = cluster.api::<DroneRegistration>();
    cluster.answer(drones.delete(name, &params)).await?;
    console.line(&format!("{}: its drone ends", subject.name()))?;
    if !args.wait {
        return Ok(());
    }
    let uid = drone.metadata.uid.as_deref();
    until(args, async || {
        let there = cluster.answer(drones.get_opt(name)).await?;
        Ok(there.is_none_or(|there| there.metadata.uid.as_deref() != uid))
    })
    .await
    .map(drop)
}

async fn wish(cluster: &Cluster, subject: &Subject, mode: OperatingMode) -> anyhow::Result<()> {
    match subject {
        Subject::Session(session, _) => patch(cluster, &**session, mode).await,
        Subject::Drone(drone) => patch(cluster, &**drone, mode).await,
    }
}

/// Says what a person wishes of this very object.
async fn patch<K>(cluster: &Cluster, object: &K, mode: OperatingMode) -> anyhow::Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize,
{
    let body = patch_of(object.meta().uid.as_deref(), mode);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let name = object.meta().name.as_deref().context("an object without a name")?;
    let api: Api<K> = cluster.api();
    cluster.answer(api.patch(name, &params, &Patch::Merge(&body))).await.map(drop)
}

/// Without the hub's mark, a suspension is a person's: the next prompt does not wake it.
fn patch_of(uid: Option<&str>, mode: OperatingMode) -> Value {
    json!({
        "metadata": { "uid": uid, "annotations": { names::SUSPENDED_FOR: null } },
        "spec": { "operatingMode": mode },
    })
}

/// Until the condition holds; else says why it does not.
async fn wait(
    cluster: &Cluster,
    args: &SteerArgs,
    console: &mut Console,
    condition: &str,
) -> anyhow::Result<()> {
    if !args.wait {
        return Ok(());
    }
    let holds = until(args, async || {
        let (conditions, observed, generation) = match cluster.subject(&args.name).await? {
            Subject::Session(session, _) => {
                let status = session.status.unwrap_or_default();
                (status.conditions, status.observed_generation, session.metadata.generation)
            }
            Subject::Drone(drone) => {
                let status = drone.status.unwrap_or_default();
                (status.conditions, status.observed_generation, drone.metadata.generation)
            }
        };
        Ok(observed == generation && conditions::is_true(&conditions, condition))
    })
    .await;
    if holds.is_err() {
        why::print(cluster, &args.name, console).await?;
    }
    holds
}

async fn until(args: &SteerArgs, come_about: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let looked = tokio::time::timeout(args.timeout, async {
        while !come_about().await? {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    });
    match looked.await {
        Ok(done) => done,
        Err(_) => bail!("{} is not there after {:?}; it goes on", args.name, args.timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_a_person_s_and_for_one_object() {
        let body = patch_of(Some("u-1"), OperatingMode::Suspended);
        assert_eq!(
            body,
            json!({
                "metadata": { "uid": "u-1", "annotations": { "gadgetcode.dev/suspended-for": null } },
                "spec": { "operatingMode": "Suspended" },
            })
        );
    }
}

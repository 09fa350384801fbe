//! A person's hand on drones by the hub's REST interface: stopped, let run again, ended, started for no session yet.

use anyhow::{Context as _, Result, ensure};
use crds::value::OperatingMode;
use crds::{ChatSession, DroneRegistration};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::core::NamespaceResourceScope;
use protocol::document::DroneRegistration as Registration;
use protocol::ids::DroneId;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::api::Api;
use tests::deadline::eventually;
use tests::ide::Ide;

use crate::hub_sessions::{refused_as_suspended, says_something, stage, told};
use crate::hub_stage::HubStage;

/// `suspend`, `resume` or `terminate`.
async fn hand(person: &Api, drone: &str, what: &str) -> Result<()> {
    let path = format!("/drone/registration/{drone}/{what}");
    let _drone: Registration = person.call(Method::POST, &path, None).await?;
    Ok(())
}

async fn is_gone<K>(stage: &HubStage, name: &str) -> Result<()>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    eventually(&format!("{name} to be gone"), || async {
        Ok(stage.api::<K>().get_opt(name).await?.is_none().then_some(()))
    })
    .await
    .with_context(|| stage.complaints())
}

async fn is_in(stage: &HubStage, drone: &str, phase: &str) -> Result<()> {
    let is =
        |drone: &DroneRegistration| serde_json::to_value(&drone.status).unwrap_or_default()["phase"] == phase;
    stage.shows::<DroneRegistration>(drone, &format!("is {phase}"), is).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drone_that_a_person_stops_at_the_hub_stays_so_until_a_person_lets_it_run() -> Result<()> {
    let stage = stage().await?;
    let ada = stage.person("ada").await?;
    let (ide, session) = stage.open(&ada, "Shop").await?;
    let name = session.id.as_str();
    says_something(&stage, &ada, &ide, &session).await?;
    let workspace = stage.api::<PersistentVolumeClaim>().get(&format!("ws-{name}")).await?.uid();

    told(&stage, &ide, "Suspended", hand(&ada, name, "suspend")).await?;
    is_gone::<Pod>(&stage, name).await?;
    let resource = stage.api::<ChatSession>().get(name).await?;
    ensure!(resource.spec.operating_mode == OperatingMode::Suspended, "{:?}", resource.spec);
    ensure!(resource.annotations().is_empty(), "it is a person's wish: {:?}", resource.annotations());
    refused_as_suspended(&ide).await?;
    told(&stage, &ide, "Busy", hand(&ada, name, "resume")).await?;
    says_something(&stage, &ada, &ide, &session).await?;

    told(&stage, &ide, "Offline", hand(&ada, name, "terminate")).await?;
    is_gone::<DroneRegistration>(&stage, name).await?;
    is_gone::<Pod>(&stage, name).await?;
    refused_as_suspended(&ide).await?;
    told(&stage, &ide, "Busy", hand(&ada, name, "resume")).await?;
    says_something(&stage, &ada, &ide, &session).await?;
    let again = stage.api::<PersistentVolumeClaim>().get(&format!("ws-{name}")).await?.uid();
    ensure!(again == workspace, "the workspace is the same");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drone_that_was_started_for_no_session_is_stopped_bound_and_ended() -> Result<()> {
    let stage = stage().await?;
    let ada = stage.person("ada").await?;
    let start = async || -> Result<DroneId> {
        let drone: Registration = ada.call(Method::POST, "/drones", Some(&json!({}))).await?;
        is_in(&stage, drone.id.as_str(), "Available").await?;
        Ok(drone.id)
    };
    let (mine, spare) = (start().await?, start().await?);
    let resource = stage.api::<DroneRegistration>().get(mine.as_str()).await?;
    ensure!(resource.spec.user == "ada" && resource.spec.chat_session.is_none(), "{:?}", resource.spec);
    hand(&ada, mine.as_str(), "suspend").await?;
    is_in(&stage, mine.as_str(), "Suspended").await?;
    hand(&ada, mine.as_str(), "resume").await?;
    is_in(&stage, mine.as_str(), "Available").await?;

    // A tab takes it for a session that is new.
    let pod = stage.pod_uid(mine.as_str()).await?;
    let project = ada.create_project("Shop", None).await?;
    let session = ada.create_session(&project).await?;
    let ide = Ide::connect_to(&stage.origin(), ada.token(), "tab").await?;
    ide.open_with(Some(&mine), &project, &session).await.with_context(|| stage.complaints())?;
    says_something(&stage, &ada, &ide, &session).await?;
    is_in(&stage, mine.as_str(), "Busy").await?;
    let resource = stage.api::<ChatSession>().get(session.id.as_str()).await?;
    ensure!(resource.spec.drone.as_deref() == Some(mine.as_str()), "{:?}", resource.spec);
    ensure!(stage.pod_uid(mine.as_str()).await? == pod, "its pod goes on");
    ensure!(
        stage.api::<DroneRegistration>().get_opt(session.id.as_str()).await?.is_none(),
        "there is no other"
    );

    // The other is ended here, and another one with kubectl: both are gone from the list.
    hand(&ada, spare.as_str(), "terminate").await?;
    is_gone::<DroneRegistration>(&stage, spare.as_str()).await?;
    is_gone::<Pod>(&stage, spare.as_str()).await?;
    let third = start().await?;
    stage.delete::<DroneRegistration>(third.as_str()).await?;
    eventually("the list to have the one that works alone", || async {
        let drones: Value = ada.call(Method::GET, "/drones", None).await?;
        let online = |drone: &&Value| drone["phase"] != "Offline" && drone["phase"] != "Failed";
        let left: Vec<&Value> = drones["items"].as_array().into_iter().flatten().filter(online).collect();
        Ok((left.len() == 1 && left[0]["_id"] == mine.as_str()).then_some(()))
    })
    .await
    .with_context(|| stage.complaints())?;
    says_something(&stage, &ada, &ide, &session).await
}

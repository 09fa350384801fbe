//! What a launch, a bind, a suspend, a resume and a deletion cost, by the API server's own audit log.

use std::time::Duration;

use anyhow::Result;
use crds::{ChatSession, DroneRegistration};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::PostParams;
use serde_json::json;

use crate::operator_stage::{Stage, counted};

#[tokio::test]
async fn a_session_starts_rests_comes_back_and_goes_with_as_few_writes_as_can_be() -> Result<()> {
    let stage = Stage::with_operator().await?;
    // The first start of a control plane is slow, and one that takes longer than a second and a half is said meanwhile.
    let mut name = String::new();
    for number in 0..20 {
        name = format!("session-{number}");
        let since = stage.position().await?;
        stage.session(&name, json!({})).await?;
        let status = stage.reaches(&name, "Ready").await?.status.unwrap_or_default();
        println!("ready after {:?} ms", status.start_milliseconds);
        assert_eq!(status.node_name.as_deref(), Some("node-1"));
        let mut launch = counted([
            ("create droneregistrations", 1),
            ("create persistentvolumeclaims", 1),
            ("create pods", 1),
            ("patch droneregistrations/status", 1),
            ("patch chatsessions/status", 1),
        ]);
        let is_quick = status.start_milliseconds.is_some_and(|time| time < 1400);
        let writes = stage.writes_since(since).await?;
        assert_eq!(stage.reads_since(since).await?, 0);
        assert_eq!(stage.refused_since(since).await?, 0);
        if is_quick {
            assert_eq!(writes, launch);
            break;
        }
        launch.extend(counted([("patch droneregistrations/status", 2), ("patch chatsessions/status", 2)]));
        assert!(writes.iter().all(|(what, times)| times <= &launch[what]), "{writes:?}");
        assert!(number < 19, "no launch was quick");
    }
    let name = name.as_str();

    let since = stage.position().await?;
    stage.patch::<ChatSession>(name, json!({ "spec": { "operatingMode": "Suspended" } })).await?;
    stage.reaches(name, "Suspended").await?;
    let rest = counted([
        ("delete pods", 1),
        ("patch droneregistrations/status", 1),
        ("patch chatsessions/status", 1),
    ]);
    assert_eq!(stage.writes_since(since).await?, rest);

    let since = stage.position().await?;
    stage.patch::<ChatSession>(name, json!({ "spec": { "operatingMode": "Running" } })).await?;
    stage.reaches(name, "Ready").await?;
    let resume = counted([
        ("create pods", 1),
        ("patch droneregistrations/status", 1),
        ("patch chatsessions/status", 1),
    ]);
    assert_eq!(stage.writes_since(since).await?, resume);

    let before = stage.counts().await?;
    let since = stage.position().await?;
    stage.delete::<ChatSession>(name).await?;
    stage.gone::<Pod>(name).await?;
    stage.stays_quiet(Duration::from_secs(2)).await?;
    assert_eq!(stage.writes_since(since).await?, counted([]));
    let (drones, pods, claims) = before;
    assert_eq!(stage.counts().await?, (drones - 1, pods - 1, claims), "the workspace is retained");
    Ok(())
}

#[tokio::test]
async fn a_workspace_goes_with_its_session_where_that_is_wished_also_if_it_is_wished_late() -> Result<()> {
    let stage = Stage::with_operator().await?;
    stage.session("early", json!({ "workspace": { "retention": "Delete" } })).await?;
    stage.session("late", json!({})).await?;
    for name in ["early", "late"] {
        stage.reaches(name, "Ready").await?;
    }
    let since = stage.position().await?;
    stage.patch::<ChatSession>("late", json!({ "spec": { "workspace": { "retention": "Delete" } } })).await?;
    stage
        .shows::<PersistentVolumeClaim>("ws-late", "to have an owner", |claim| {
            claim.metadata.owner_references.as_ref().is_some_and(|owners| !owners.is_empty())
        })
        .await?;
    assert_eq!(stage.writes_since(since).await?.get("patch persistentvolumeclaims"), Some(&1));
    for name in ["early", "late"] {
        stage.delete::<ChatSession>(name).await?;
        stage.gone::<PersistentVolumeClaim>(&format!("ws-{name}")).await?;
    }
    assert_eq!(stage.counts().await?, (0, 0, 0));
    Ok(())
}

#[tokio::test]
async fn an_unbound_drone_is_bound_and_a_deleted_one_is_replaced_on_the_same_workspace() -> Result<()> {
    let stage = Stage::with_operator().await?;
    let drone = json!({
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "DroneRegistration", "metadata": { "name": "mine" },
        "spec": { "user": "ada", "className": "default" },
    });
    stage.api::<DroneRegistration>().create(&PostParams::default(), &serde_json::from_value(drone)?).await?;
    stage
        .shows::<DroneRegistration>("mine", "to be available", |drone| {
            let told = serde_json::to_value(&drone.status).unwrap_or_default();
            told["phase"] == "Available"
        })
        .await?;
    let since = stage.position().await?;
    stage.session("one", json!({ "drone": "mine" })).await?;
    stage.reaches("one", "Ready").await?;
    stage
        .shows::<DroneRegistration>("mine", "to be busy", |drone| {
            let told = serde_json::to_value(&drone.status).unwrap_or_default();
            told["phase"] == "Busy"
        })
        .await?;
    let bind = counted([
        ("patch droneregistrations", 1),
        ("patch droneregistrations/status", 1),
        ("patch chatsessions/status", 1),
    ]);
    assert_eq!(stage.writes_since(since).await?, bind);
    let before = stage.pod_uid("mine").await?;
    stage.delete::<DroneRegistration>("mine").await?;
    stage
        .shows::<Pod>("mine", "to be another one", |pod| pod.metadata.uid.as_deref() != Some(&before))
        .await?;
    stage.reaches("one", "Ready").await?;
    assert_eq!(stage.counts().await?, (1, 1, 1));
    Ok(())
}

#[tokio::test]
async fn a_volume_grows_where_its_class_can_and_it_is_said_where_it_cannot() -> Result<()> {
    let stage = Stage::with_operator().await?;
    for (name, class) in [("grows", "standard"), ("fixed", "fixed")] {
        stage.session(name, json!({ "workspace": { "size": "1Gi", "storageClassName": class } })).await?;
        stage.reaches(name, "Ready").await?;
        stage.patch::<ChatSession>(name, json!({ "spec": { "workspace": { "size": "2Gi" } } })).await?;
    }
    stage
        .shows::<PersistentVolumeClaim>("ws-grows", "to want more", |claim| {
            let told = serde_json::to_value(&claim.spec).unwrap_or_default();
            told["resources"]["requests"]["storage"] == "2Gi"
        })
        .await?;
    let session = stage
        .shows::<ChatSession>("fixed", "to say that it cannot grow", |session| {
            let told = serde_json::to_string(&session.status).unwrap_or_default();
            told.contains("CannotGrow")
        })
        .await?;
    let told = serde_json::to_value(&session.status)?;
    assert_eq!(told["phase"], "Ready");
    stage.stays_quiet(Duration::from_secs(3)).await
}

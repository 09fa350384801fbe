//! What ends a drone, with the real scheduler and controllers and a node that is played.

use std::time::Duration;

use anyhow::Result;
use crds::value::FailureClass;
use crds::{ChatSession, DroneRegistration};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use serde_json::json;
use tests::control_plane::node::{Behaviour, Eviction, Obstacle, Selector, Start};

use crate::operator_stage::{NAMESPACE, Stage};

/// Waits until this is told of the drone.
async fn told(stage: &Stage, name: &str, class: FailureClass, reason: &str) -> Result<DroneRegistration> {
    stage
        .shows::<DroneRegistration>(name, &format!("to tell {class} {reason}"), |drone| {
            let failure = drone.status.as_ref().and_then(|status| status.last_failure.as_ref());
            failure.is_some_and(|failure| {
                failure.class == class && failure.reason == reason && !failure.advice.is_empty()
            })
        })
        .await
}

async fn replaced(stage: &Stage, name: &str, before: &str) -> Result<()> {
    stage.shows::<Pod>(name, "to be replaced", |pod| pod.uid().as_deref() != Some(before)).await?;
    stage.reaches(name, "Ready").await?;
    Ok(())
}

#[tokio::test]
async fn a_drone_that_ends_is_brought_back_or_not_as_its_end_asks_for() -> Result<()> {
    let stage = Stage::with_operator().await?;
    let name = "one";
    stage.session(name, json!({})).await?;
    stage.reaches(name, "Ready").await?;

    let before = stage.pod_uid(name).await?;
    stage.node.exit(name, 3).await?;
    told(&stage, name, FailureClass::Process, "ContainerEnded").await?;
    stage.node.oom(name).await?;
    told(&stage, name, FailureClass::Memory, "OOMKilled").await?;
    stage.reaches(name, "Ready").await?;
    assert_eq!(stage.pod_uid(name).await?, before, "restarted in place");

    stage.node.evict(name, Eviction::Memory).await?;
    told(&stage, name, FailureClass::Node, "Evicted").await?;
    replaced(&stage, name, &before).await?;

    let before = stage.pod_uid(name).await?;
    stage.node.evict(name, Eviction::Shutdown).await?;
    told(&stage, name, FailureClass::Node, "NodeShutdown").await?;
    replaced(&stage, name, &before).await?;

    let before = stage.pod_uid(name).await?;
    let began = tokio::time::Instant::now();
    stage.delete::<Pod>(name).await?;
    stage.shows::<Pod>(name, "to be replaced", |pod| pod.uid().as_deref() != Some(&before)).await?;
    println!("replaced {:?} after it was deleted", began.elapsed());
    told(&stage, name, FailureClass::Moved, "PodDeleted").await?;
    stage.reaches(name, "Ready").await?;

    let before = stage.pod_uid(name).await?;
    stage.node.exit(name, 0).await?;
    told(&stage, name, FailureClass::Process, "Completed").await?;
    replaced(&stage, name, &before).await?;
    stage
        .shows::<ChatSession>(name, "to have counted six restarts", |session| {
            session.status.as_ref().is_some_and(|status| status.restarts == Some(6))
        })
        .await?;
    stage.stays_quiet(Duration::from_secs(3)).await?;
    let described = stage.control_plane.kubectl(["-n", NAMESPACE, "describe", "drone", name]).await?;
    for reason in
        ["ContainerEnded", "OOMKilled", "Evicted", "NodeShutdown", "PodDeleted", "Completed", "Ready"]
    {
        assert!(described.contains(reason), "{reason} is not in\n{described}");
    }
    Ok(())
}

#[tokio::test]
async fn a_drone_that_ends_again_and_again_is_given_up() -> Result<()> {
    let stage = Stage::with_operator().await?;
    let crashing = Behaviour {
        start: Start::Exits(1),
        restart_delay: Duration::from_millis(50),
        ..Behaviour::default()
    };
    stage.node.set_behaviour(Selector::pod("one"), crashing).await;
    stage.session("one", json!({})).await?;
    stage.session("two", json!({})).await?;
    stage.reaches("one", "Failed").await?;
    stage.gone::<Pod>("one").await?;
    stage.reaches("two", "Ready").await?;
    stage.stays_quiet(Duration::from_secs(3)).await?;
    stage.node.heal("one").await;
    stage.delete::<DroneRegistration>("one").await?;
    stage.reaches("one", "Ready").await?;
    Ok(())
}

#[tokio::test]
async fn what_keeps_a_pod_from_starting_is_told_in_words_and_heals() -> Result<()> {
    let stage = Stage::with_operator().await?;
    for (name, obstacle, class, reason) in [
        ("image", Obstacle::Image("pull access denied".into()), FailureClass::Image, "ImagePullFailed"),
        ("name", Obstacle::ImageName("cannot parse".into()), FailureClass::Image, "InvalidImageName"),
        (
            "secret",
            Obstacle::Configuration("secret \"x\" not found".into()),
            FailureClass::Policy,
            "CreateContainerConfigError",
        ),
        ("mount", Obstacle::Mount("timed out".into()), FailureClass::Storage, "FailedMount"),
    ] {
        stage.node.set_behaviour(Selector::pod(name), Behaviour::waits(obstacle)).await;
        stage.session(name, json!({})).await?;
        let drone = told(&stage, name, class, reason).await?;
        println!(
            "{name}: {:?}",
            drone.status.and_then(|status| status.last_failure).map(|failure| failure.message)
        );
        let before = stage.pod_uid(name).await?;
        stage.node.heal(name).await;
        stage.reaches(name, "Ready").await?;
        assert_eq!(stage.pod_uid(name).await?, before, "{name}: the pod is kept");
    }
    Ok(())
}

#[tokio::test]
async fn quota_a_full_cluster_and_a_missing_class_are_told_and_heal() -> Result<()> {
    let stage = Stage::with_operator().await?;
    let quotas: Api<ResourceQuota> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let quota = json!({ "metadata": { "name": "small" }, "spec": { "hard": { "pods": "0" } } });
    quotas.create(&PostParams::default(), &serde_json::from_value(quota)?).await?;
    tests::deadline::eventually("the quota to hold", || async {
        Ok(quotas.get("small").await?.status.and_then(|status| status.hard))
    })
    .await?;
    stage.session("quota", json!({})).await?;
    told(&stage, "quota", FailureClass::Policy, "QuotaExceeded").await?;
    quotas.delete("small", &kube::api::DeleteParams::default()).await?;
    stage.reaches("quota", "Ready").await?;

    stage.session("class", json!({ "className": "big" })).await?;
    told(&stage, "class", FailureClass::Policy, "ClassMissing").await?;
    let big = json!({
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "DroneClass", "metadata": { "name": "big" },
        "spec": { "image": "drone:1", "resources": { "requests": { "memory": "900Ti" } } },
    });
    stage.api::<crds::DroneClass>().create(&PostParams::default(), &serde_json::from_value(big)?).await?;
    told(&stage, "class", FailureClass::Capacity, "Unschedulable").await?;
    stage.delete::<ChatSession>("class").await?;
    stage.gone::<DroneRegistration>("class").await?;
    stage.stays_quiet(Duration::from_secs(3)).await
}

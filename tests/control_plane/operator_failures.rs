//! What ends a drone, with the real scheduler and controllers and a node that is played.

use std::time::Duration;

use anyhow::{Result, ensure};
use crds::value::FailureClass;
use crds::{ChatSession, DroneClass, DroneRegistration, conditions};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tests::control_plane::node::{Behaviour, Eviction, Node, NodeOptions, Obstacle, Selector, Start};

use crate::operator_stage::{NAMESPACE, Stage};
use crate::pods::pod;

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

fn words(drone: DroneRegistration) -> String {
    drone.status.and_then(|status| status.last_failure).map(|failure| failure.message).unwrap_or_default()
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
        println!("{name}: {}", words(drone));
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
    stage.api::<DroneClass>().create(&PostParams::default(), &serde_json::from_value(big)?).await?;
    told(&stage, "class", FailureClass::Capacity, "Unschedulable").await?;
    stage.delete::<ChatSession>("class").await?;
    stage.gone::<DroneRegistration>("class").await?;
    stage.stays_quiet(Duration::from_secs(3)).await
}

#[tokio::test]
async fn a_drone_that_has_to_make_room_is_replaced_where_there_is_room() -> Result<()> {
    let stage = Stage::with_operator().await?;
    stage.session("drained", json!({})).await?;
    stage.reaches("drained", "Ready").await?;
    let before = stage.pod_uid("drained").await?;
    let _other = Node::start(&stage.control_plane, "node-2").await?;
    let node = stage.node.name();
    let drain = ["drain", node, "--force", "--delete-emptydir-data", "--timeout=60s"];
    stage.control_plane.kubectl(drain).await?;
    told(&stage, "drained", FailureClass::Moved, "Drained").await?;
    replaced(&stage, "drained", &before).await?;

    let small = NodeOptions {
        cpu: "1".into(),
        labels: [("pool".to_owned(), "small".to_owned())].into(),
        ..NodeOptions::named("small")
    };
    let _small = Node::start_with(&stage.control_plane, small).await?;
    let class = json!({
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "DroneClass", "metadata": { "name": "small" },
        "spec": {
            "image": "drone:1", "nodeSelector": { "pool": "small" }, "terminationGracePeriod": "5s",
            "resources": { "requests": { "cpu": "600m" } },
        },
    });
    stage.api::<DroneClass>().create(&PostParams::default(), &serde_json::from_value(class)?).await?;
    stage.session("preempted", json!({ "className": "small" })).await?;
    stage.reaches("preempted", "Ready").await?;
    let important = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": "important" }, "value": 1000,
    });
    let made = stage.control_plane.try_kubectl(["create", "-f", "-"], &important.to_string()).await?;
    ensure!(made.success, "{}", made.stderr);
    let mut pod = pod("important", "small");
    pod["spec"]["priorityClassName"] = "important".into();
    pod["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": "600m" } });
    let before = stage.pod_uid("preempted").await?;
    stage.api::<Pod>().create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    told(&stage, "preempted", FailureClass::Capacity, "Unschedulable").await?;
    tests::deadline::eventually("an event that says why the pod went", || async {
        let drone = ["-n", NAMESPACE, "describe", "drone", "preempted"];
        let described = stage.control_plane.kubectl(drone).await?;
        Ok(described.contains("made room for a more important one").then_some(()))
    })
    .await?;
    stage.reaches("preempted", "Recovering").await?;
    stage.delete::<Pod>("important").await?;
    replaced(&stage, "preempted", &before).await?;
    stage.stays_quiet(Duration::from_secs(3)).await
}

#[tokio::test]
async fn a_volume_that_cannot_be_had_and_an_admission_rule_are_told_and_heal() -> Result<()> {
    let stage = Stage::with_operator().await?;
    stage.storage.refuse("out of disks");
    stage.session("volume", json!({})).await?;
    let drone = told(&stage, "volume", FailureClass::Storage, "ProvisioningFailed").await?;
    let said = words(drone);
    ensure!(said.contains("out of disks"), "{said}");
    stage.storage.serve().await?;
    stage.reaches("volume", "Ready").await?;

    let policy = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": "no" },
            "spec": {
                "matchConstraints": { "resourceRules": [
                    { "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] },
                ] },
                "validations": [{ "expression": "object.metadata.name != 'refused'", "message": "no pod of this name" }],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": "no" },
            "spec": { "policyName": "no", "validationActions": ["Deny"] },
        },
    ] });
    let made = stage.control_plane.try_kubectl(["create", "-f", "-"], &policy.to_string()).await?;
    ensure!(made.success, "{}", made.stderr);
    let mut probe = pod("refused", "nowhere");
    probe["metadata"]["namespace"] = "default".into();
    tests::deadline::eventually("the rule to hold", || async {
        let dry = ["create", "--dry-run=server", "-f", "-"];
        let tried = stage.control_plane.try_kubectl(dry, &probe.to_string()).await?;
        Ok(tried.stderr.contains("no pod of this name").then_some(()))
    })
    .await?;
    stage.session("refused", json!({})).await?;
    let drone = told(&stage, "refused", FailureClass::Policy, "AdmissionRefused").await?;
    let said = words(drone);
    ensure!(said.contains("no pod of this name"), "{said}");
    let since = stage.position().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let writes: usize = stage.writes_since(since).await?.values().sum();
    ensure!(writes <= 8, "a hot loop: {writes} writes in five seconds");
    stage.control_plane.kubectl(["delete", "validatingadmissionpolicybinding", "no"]).await?;
    stage.reaches("refused", "Ready").await?;
    Ok(())
}

#[tokio::test]
async fn a_process_that_comes_back_in_place_is_counted_and_its_pod_is_left_alone() -> Result<()> {
    let stage = Stage::with_operator().await?;
    stage.session("one", json!({})).await?;
    stage.reaches("one", "Ready").await?;
    let before = stage.pod_uid("one").await?;
    // As the hub writes it, who is told by the drone's supervisor.
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let activity = json!({ "state": "Working", "since": now, "lastActivityAt": now, "processRestarts": 1 });
    let patch = Patch::Merge(json!({ "status": { "activity": activity } }));
    stage.api::<DroneRegistration>().patch_status("one", &PatchParams::default(), &patch).await?;
    stage
        .shows::<ChatSession>("one", "to have counted it", |session| {
            session.status.as_ref().is_some_and(|status| status.restarts == Some(1))
        })
        .await?;
    tests::deadline::eventually("an event that says so", || async {
        let described = stage.control_plane.kubectl(["-n", NAMESPACE, "describe", "drone", "one"]).await?;
        Ok((described.contains("ProcessRestarted") && described.contains("its work goes on")).then_some(()))
    })
    .await?;
    ensure!(stage.pod_uid("one").await? == before);
    stage.reaches("one", "Ready").await?;
    stage.stays_quiet(Duration::from_secs(3)).await
}

#[tokio::test]
async fn a_drone_keeps_the_class_that_it_started_with_and_says_that_there_is_a_newer_one() -> Result<()> {
    let stage = Stage::with_operator().await?;
    stage.session("one", json!({})).await?;
    stage.reaches("one", "Ready").await?;
    let before = stage.pod_uid("one").await?;
    stage.patch::<DroneClass>("default", json!({ "spec": { "image": "drone:2" } })).await?;
    let outdated = |drone: &DroneRegistration| {
        let status = drone.status.as_ref();
        status.is_some_and(|status| conditions::is_true(&status.conditions, conditions::CLASS_OUTDATED))
    };
    stage.shows::<DroneRegistration>("one", "to be of an older class", outdated).await?;
    stage.stays_quiet(Duration::from_secs(3)).await?;
    ensure!(stage.pod_uid("one").await? == before, "its pod goes on");
    for (mode, phase) in [("Suspended", "Suspended"), ("Running", "Ready")] {
        stage.patch::<ChatSession>("one", json!({ "spec": { "operatingMode": mode } })).await?;
        stage.reaches("one", phase).await?;
    }
    let image = stage.find::<Pod>("one").await?.and_then(|pod| pod.spec?.containers.first()?.image.clone());
    ensure!(image.as_deref() == Some("drone:2"), "{image:?}");
    stage.shows::<DroneRegistration>("one", "to be of this class", |drone| !outdated(drone)).await.map(drop)
}

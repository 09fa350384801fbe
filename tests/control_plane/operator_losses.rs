//! What is lost under a drone: its node, its volume, its namespace, the kinds themselves. Nothing is replaced by something
//! empty in silence, nobody else is harmed, and nothing is tried in a hot loop.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crds::chat_session::SessionPhase;
use crds::drone_registration::DronePhase;
use crds::value::FailureClass;
use crds::{ChatSession, DroneClass, DroneRegistration, conditions};
use k8s_openapi::api::core::v1::{Namespace, Node as NodeObject, PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use serde_json::json;
use tests::control_plane::node::Node;
use tests::control_plane::{Options, uninstall};
use tests::deadline::eventually;

use crate::operator_stage::{NAMESPACE, Stage};

/// What the session says of itself in its condition `Ready`.
fn words(session: &ChatSession) -> String {
    let conditions = session.status.as_ref().map(|status| &*status.conditions).unwrap_or_default();
    conditions::find(conditions, conditions::READY).map(|ready| ready.message.clone()).unwrap_or_default()
}

/// Waits until drone and session are in these phases for this reason, and gives the session's words.
async fn told(
    stage: &Stage,
    name: &str,
    (drone, session): (DronePhase, SessionPhase),
    (class, reason): (FailureClass, &str),
) -> Result<String> {
    stage
        .shows::<DroneRegistration>(name, &format!("to tell {class} {reason}"), |object| {
            let status = object.status.as_ref();
            let failure = status.and_then(|status| status.last_failure.as_ref());
            failure.is_some_and(|failure| failure.class == class && failure.reason == reason)
                && status.and_then(|status| status.phase) == Some(drone)
        })
        .await?;
    let object = stage
        .shows::<ChatSession>(name, &format!("to be {session:?} for {reason}"), |object| {
            let status = object.status.as_ref();
            let ready = status.and_then(|status| conditions::find(&status.conditions, conditions::READY));
            ready.is_some_and(|ready| ready.reason == reason)
                && status.and_then(|status| status.phase) == Some(session)
        })
        .await?;
    Ok(words(&object))
}

#[tokio::test]
async fn a_drone_of_a_lost_node_waits_in_words_and_is_replaced_as_soon_as_its_pod_is_let_go() -> Result<()> {
    let options = Options { node_grace: Duration::from_secs(6), ..Options::default() };
    let mut stage = Stage::start(options).await?;
    stage.operator("operator-1", None)?;
    for name in ["forced", "tainted"] {
        stage.session(name, json!({})).await?;
        stage.reaches(name, "Ready").await?;
    }
    let well = Node::start(&stage.control_plane, "node-2").await?;
    stage.control_plane.kubectl(["cordon", stage.node.name()]).await?;
    stage.session("elsewhere", json!({})).await?;
    stage.reaches("elsewhere", "Ready").await?;
    let claims = async || -> Result<Vec<Option<String>>> {
        let mut uids = Vec::new();
        for name in ["ws-forced", "ws-tainted"] {
            uids.push(stage.find::<PersistentVolumeClaim>(name).await?.and_then(|claim| claim.uid()));
        }
        Ok(uids)
    };
    let (forced, tainted) = (stage.pod_uid("forced").await?, stage.pod_uid("tainted").await?);
    let workspaces = claims().await?;

    stage.node.lose();
    for name in ["forced", "tainted"] {
        let recovering = (DronePhase::Recovering, SessionPhase::Recovering);
        let said = told(&stage, name, recovering, (FailureClass::Node, "NodeLost")).await?;
        ensure!(said.contains("does not answer") && said.contains("out-of-service"), "{said}");
    }
    // The API server keeps the pods, so nobody may write to their workspaces.
    stage.stays_quiet(Duration::from_secs(3)).await?;
    ensure!(stage.pod_uid("forced").await? == forced && stage.pod_uid("tainted").await? == tainted);

    let force = ["-n", NAMESPACE, "delete", "pod", "forced", "--force", "--grace-period=0"];
    stage.control_plane.kubectl(force).await?;
    stage.shows::<Pod>("forced", "to be replaced", |pod| pod.uid().as_ref() != Some(&forced)).await?;
    ensure!(
        stage.reaches("forced", "Ready").await?.status.and_then(|status| status.node_name).as_deref()
            == Some(well.name())
    );

    // Else the real controller takes a pod for lost after five minutes only: a person says that the node is off.
    let out = "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute";
    stage.control_plane.kubectl(["taint", "node", stage.node.name(), out]).await?;
    stage.shows::<Pod>("tainted", "to be replaced", |pod| pod.uid().as_ref() != Some(&tainted)).await?;
    ensure!(
        stage.reaches("tainted", "Ready").await?.status.and_then(|status| status.node_name).as_deref()
            == Some(well.name())
    );
    for name in ["forced", "tainted"] {
        let restarts = stage.find::<ChatSession>(name).await?.and_then(|session| session.status?.restarts);
        ensure!(restarts == Some(1), "{name}: {restarts:?}");
    }
    ensure!(claims().await? == workspaces, "the workspaces are the same");
    stage.node.come_back().await?;
    eventually("the node to be well", || async {
        let node = Api::<NodeObject>::all(stage.client.clone()).get(stage.node.name()).await?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        Ok(conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True").then_some(()))
    })
    .await?;
    stage.stays_quiet(Duration::from_secs(3)).await?;
    let untouched =
        stage.find::<ChatSession>("elsewhere").await?.and_then(|session| session.status?.restarts);
    ensure!(untouched.is_none(), "{untouched:?}");
    Ok(())
}

#[tokio::test]
async fn a_workspace_that_is_lost_is_never_replaced_by_an_empty_one_in_silence() -> Result<()> {
    let stage = Stage::with_operator().await?;
    for name in ["lost", "gone", "well"] {
        stage.session(name, json!({})).await?;
        stage.reaches(name, "Ready").await?;
    }
    let failed = (DronePhase::Failed, SessionPhase::Failed);

    // The disk is gone: the real controller says so of the claim.
    stage.storage.lose(NAMESPACE, "ws-lost").await?;
    let said = told(&stage, "lost", failed, (FailureClass::Storage, "WorkspaceLost")).await?;
    ensure!(said.contains("restore the volume of the claim 'ws-lost'"), "{said}");
    // Whatever happens to its pod, there is no next one.
    stage.delete::<Pod>("lost").await?;
    stage.gone::<Pod>("lost").await?;
    stage
        .shows::<ChatSession>("lost", "to be nowhere", |session| {
            session.status.as_ref().is_some_and(|status| status.node_name.is_none())
        })
        .await?;
    stage.stays_quiet(Duration::from_secs(3)).await?;

    // The claim is deleted while nobody uses it.
    let kept = stage.find::<PersistentVolumeClaim>("ws-gone").await?.context("there is a claim")?;
    let mode = |mode: &str| json!({ "spec": { "operatingMode": mode } });
    stage.patch::<ChatSession>("gone", mode("Suspended")).await?;
    stage.reaches("gone", "Suspended").await?;
    stage.delete::<PersistentVolumeClaim>("ws-gone").await?;
    stage.gone::<PersistentVolumeClaim>("ws-gone").await?;
    stage.patch::<ChatSession>("gone", mode("Running")).await?;
    let said = told(&stage, "gone", failed, (FailureClass::Storage, "WorkspaceGone")).await?;
    ensure!(said.contains("restore the claim 'ws-gone' from a backup"), "{said}");
    stage.stays_quiet(Duration::from_secs(3)).await?;
    ensure!(stage.find::<PersistentVolumeClaim>("ws-gone").await?.is_none(), "nobody made an empty one");
    let described = stage.control_plane.kubectl(["-n", NAMESPACE, "describe", "chat", "gone"]).await?;
    ensure!(described.contains("restore the claim 'ws-gone' from a backup"), "{described}");

    // Restored from a backup, it goes on.
    let mut restored =
        json!({ "metadata": { "name": "ws-gone", "labels": kept.labels() }, "spec": kept.spec });
    if let Some(spec) = restored["spec"].as_object_mut() {
        spec.remove("volumeName");
    }
    let restored = serde_json::from_value(restored)?;
    stage.api::<PersistentVolumeClaim>().create(&PostParams::default(), &restored).await?;
    stage.reaches("gone", "Ready").await?;

    let untouched = stage.find::<ChatSession>("well").await?.and_then(|session| session.status?.restarts);
    ensure!(untouched.is_none(), "{untouched:?}");
    stage.stays_quiet(Duration::from_secs(3)).await
}

fn session(name: &str) -> Result<ChatSession> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "ChatSession", "metadata": { "name": name },
        "spec": { "user": "ada", "project": { "slug": "shop" } },
    }))?)
}

#[tokio::test]
async fn a_namespace_that_is_deleted_goes_and_its_operator_waits_for_it_to_come_back() -> Result<()> {
    let mut stage = Stage::with_operator().await?;
    stage.prepare_namespace("others").await?;
    stage.operator_in("others", "operator-2", None)?;
    let others: Api<ChatSession> = Api::namespaced(stage.client.clone(), "others");
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), "others");
    let launch = async |name: &str| -> Result<Option<String>> {
        others.create(&PostParams::default(), &session(name)?).await?;
        eventually("a session of another namespace to be ready", || async {
            let status = others.get(name).await?.status;
            Ok(status.filter(|status| status.phase == Some(SessionPhase::Ready)).map(drop))
        })
        .await?;
        Ok(pods.get(name).await?.uid())
    };
    let other = launch("one").await?;
    for name in ["one", "two"] {
        stage.session(name, json!({})).await?;
        stage.reaches(name, "Ready").await?;
    }
    let since = stage.position().await?;
    stage.control_plane.kubectl(["delete", "namespace", NAMESPACE, "--wait=false"]).await?;
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    eventually("the namespace to be gone", || async {
        Ok(namespaces.get_opt(NAMESPACE).await?.is_none().then_some(()))
    })
    .await
    .with_context(|| stage.complaints())?;
    ensure!(pods.get("one").await?.uid() == other, "another namespace is left alone");
    launch("two").await?;
    // Also what was refused counts.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let entries = stage.control_plane.settled_audit().await?.since(since)?;
    let asked = entries
        .iter()
        .filter(|entry| entry.namespace == NAMESPACE && entry.user_agent.contains("gadget-operator"))
        .filter(|entry| entry.is_write())
        .count();
    println!("{asked} writes were tried while the namespace went");
    ensure!(asked <= 60, "a hot loop: {asked} writes\n{}", stage.complaints());
    for operator in &mut stage.operators {
        ensure!(operator.ended()?.is_none(), "{}", operator.complaints());
    }

    // It comes back under the same name, empty, and is served again.
    stage.prepare_namespace(NAMESPACE).await?;
    stage.shows::<DroneClass>("default", "to be there again", |_| true).await?;
    stage.session("one", json!({})).await?;
    stage.reaches("one", "Ready").await?;
    stage.stays_quiet(Duration::from_secs(3)).await
}

#[tokio::test]
async fn missing_kinds_are_named_until_they_are_there() -> Result<()> {
    let mut stage = Stage::start(Options { definitions: Vec::new(), ..Options::default() }).await?;
    stage.operator("operator-1", None)?;
    let kinds = ["ChatSession", "DroneRegistration", "DroneClass"];
    let said =
        |kind: &str| format!("{kind}: the kind {kind} is not installed; install the chart gadget-crds");
    let names = async |stage: &Stage, missing: &[&str]| {
        eventually("the missing kinds to be named", || async {
            let (status, words) = stage.asks(0, "/readyz").await?;
            let named = kinds.iter().filter(|kind| words.contains(&said(kind))).copied().collect::<Vec<_>>();
            let expected = if missing.is_empty() { 200 } else { 503 };
            Ok((named == missing && status == expected).then_some(()))
        })
        .await
        .with_context(|| stage.complaints())
    };
    names(&stage, &kinds).await?;
    ensure!(stage.asks(0, "/healthz").await? == (200, "ok\n".to_owned()));
    stage.control_plane.install(&crds::all()).await?;
    names(&stage, &[]).await?;
    stage.session("one", json!({})).await?;
    stage.reaches("one", "Ready").await?;
    let pod = stage.pod_uid("one").await?;

    // A kind goes while sessions live.
    let classes: Vec<_> = crds::all().into_iter().filter(|one| one.spec.names.kind == "DroneClass").collect();
    uninstall(&stage.client, &classes).await?;
    names(&stage, &["DroneClass"]).await?;
    ensure!(stage.asks(0, "/healthz").await?.0 == 200);
    let since = stage.position().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let entries = stage.control_plane.settled_audit().await?.since(since)?;
    let tried =
        entries.iter().filter(|entry| entry.user_agent.contains("gadget-operator") && entry.is_write());
    let tried = tried.filter(|entry| !entry.is_lease()).count();
    ensure!(tried <= 10, "a hot loop: {tried} writes in five seconds");
    stage.control_plane.install(&classes).await?;
    names(&stage, &[]).await?;
    stage.shows::<DroneClass>("default", "to be there again", |_| true).await?;
    stage.session("two", json!({})).await?;
    stage.reaches("two", "Ready").await?;
    ensure!(stage.pod_uid("one").await? == pod, "a session that runs is left alone");
    ensure!(stage.operators[0].ended()?.is_none());
    Ok(())
}

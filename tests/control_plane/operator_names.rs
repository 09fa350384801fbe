//! What is there already under the names of a session's children: taken over where it is the user's own, else left alone
//! and told. And statuses that somebody has edited.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crds::{ChatSession, DroneRegistration, conditions, names};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::operator_stage::{NAMESPACE, Stage};
use crate::pods::pod;

/// Waits until the session says this, and gives its words.
async fn says(stage: &Stage, name: &str, reason: &str) -> Result<String> {
    let ready = |session: &ChatSession| {
        let conditions = session.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        conditions::find(&conditions, conditions::READY).cloned()
    };
    let is = |session: &ChatSession| ready(session).is_some_and(|ready| ready.reason == reason);
    let session = stage.shows::<ChatSession>(name, &format!("to say {reason}"), is).await?;
    Ok(ready(&session).context("it was there")?.message)
}

fn claim(name: &str, labels: &Value) -> Result<PersistentVolumeClaim> {
    Ok(serde_json::from_value(json!({
        "metadata": { "name": name, "labels": labels },
        "spec": { "accessModes": ["ReadWriteOncePod"], "resources": { "requests": { "storage": "1Gi" } } },
    }))?)
}

fn workspace_of(user: &str) -> Value {
    json!({ names::COMPONENT: names::WORKSPACE_COMPONENT, names::USER_HASH: names::user_hash(user) })
}

#[tokio::test]
async fn what_has_the_name_of_a_child_is_left_alone_and_told_and_what_is_the_user_s_own_is_used() -> Result<()>
{
    let stage = Stage::with_operator().await?;
    let make = PostParams::default();
    let (pods, claims) = (stage.api::<Pod>(), stage.api::<PersistentVolumeClaim>());
    let drones = stage.api::<DroneRegistration>();
    let drone = json!({
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "DroneRegistration", "metadata": { "name": "of-bob" },
        "spec": { "user": "bob", "className": "default", "operatingMode": "Suspended" },
    });
    drones.create(&make, &serde_json::from_value(drone)?).await?;
    pods.create(&make, &serde_json::from_value(pod("of-somebody", stage.node.name()))?).await?;
    claims.create(&make, &claim("ws-of-nobody", &json!({}))?).await?;
    claims.create(&make, &claim("ws-of-ada", &workspace_of("ada"))?).await?;
    claims.create(&make, &claim("brought", &workspace_of("ada"))?).await?;
    claims.create(&make, &claim("of-bob", &workspace_of("bob"))?).await?;
    let own = claims.get("ws-of-ada").await?.uid();
    let brought = claims.get("brought").await?.uid();
    stage
        .shows::<Pod>("of-somebody", "to run", |pod| {
            pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
        })
        .await?;
    stage
        .shows::<DroneRegistration>("of-bob", "to rest", |drone| {
            serde_json::to_value(&drone.status).unwrap_or_default()["phase"] == "Suspended"
        })
        .await?;
    let versions = async || -> Result<Vec<Option<String>>> {
        Ok(vec![
            drones.get("of-bob").await?.resource_version(),
            pods.get("of-somebody").await?.resource_version(),
            claims.get("ws-of-nobody").await?.resource_version(),
            claims.get("of-bob").await?.resource_version(),
        ])
    };
    let before = versions().await?;

    for name in ["of-bob", "of-somebody", "of-nobody", "of-ada"] {
        stage.session(name, json!({})).await?;
    }
    let with = |claim: &str| json!({ "workspace": { "claimName": claim } });
    stage.session("brings", with("brought")).await?;
    stage.session("steals", with("of-bob")).await?;
    for (name, reason, words) in [
        ("of-bob", "NameTaken", "make the session under another name"),
        ("of-somebody", "NameTaken", "delete the pod 'of-somebody'"),
        ("of-nobody", "NameTaken", "rename or delete the claim 'ws-of-nobody'"),
        ("steals", "ClaimNotUsable", "there is no workspace of 'ada' in a claim 'of-bob'"),
    ] {
        let said = says(&stage, name, reason).await?;
        ensure!(said.contains(words), "{name}: {said}");
    }
    for name in ["of-ada", "brings"] {
        stage.reaches(name, "Ready").await?;
    }
    ensure!(claims.get("ws-of-ada").await?.uid() == own && claims.get("brought").await?.uid() == brought);
    ensure!(claims.get_opt("ws-brings").await?.is_none(), "no claim beside the one that was brought");
    stage.stays_quiet(Duration::from_secs(3)).await?;
    ensure!(versions().await? == before, "somebody else's objects were touched");

    // As soon as the names are free, the sessions start.
    stage.delete::<DroneRegistration>("of-bob").await?;
    stage.delete::<Pod>("of-somebody").await?;
    stage.delete::<PersistentVolumeClaim>("ws-of-nobody").await?;
    for name in ["of-bob", "of-somebody", "of-nobody"] {
        stage.reaches(name, "Ready").await?;
    }
    stage.stays_quiet(Duration::from_secs(3)).await
}

#[tokio::test]
async fn a_status_that_somebody_has_edited_is_put_right_and_a_clock_that_jumped_keeps_nobody_waiting()
-> Result<()> {
    let mut stage = Stage::with_operator().await?;
    stage.session("one", json!({})).await?;
    let ready = stage.reaches("one", "Ready").await?;
    let drone = stage.find::<DroneRegistration>("one").await?.context("there is a drone")?;
    let pod = stage.pod_uid("one").await?;
    let edit = async |kind: &str, status: Value| {
        let patch = json!({ "status": status }).to_string();
        let edit = ["patch", kind, "--subresource=status", "--type=merge", "-p", &patch, "-n", NAMESPACE];
        stage.control_plane.kubectl(edit).await.map(drop)
    };
    edit("chat/one", json!({ "phase": "Failed", "droneName": "nobody", "conditions": null })).await?;
    edit("drone/one", json!({ "phase": "Failed", "nodeName": "moon", "conditions": null })).await?;
    let same = |found: &ChatSession| {
        found.status.as_ref().map(|status| (status.phase, &status.drone_name))
            == ready.status.as_ref().map(|status| (status.phase, &status.drone_name))
    };
    stage.shows::<ChatSession>("one", "to be as it was", same).await?;
    let status = drone.status.clone().unwrap_or_default();
    stage
        .shows::<DroneRegistration>("one", "to be as it was", |found| {
            found.status.as_ref().is_some_and(|found| {
                (found.phase, &found.node_name, found.conditions.len())
                    == (status.phase, &status.node_name, status.conditions.len())
            })
        })
        .await?;
    ensure!(stage.pod_uid("one").await? == pod, "its pod goes on");
    stage.stays_quiet(Duration::from_secs(3)).await?;

    // Written by an operator whose clock was years ahead.
    stage.operators.clear();
    let late = json!({ "status": { "nextRetryAt": "2040-01-01T00:00:00Z", "podAttempt": 9 } });
    let drones = stage.api::<DroneRegistration>();
    drones.patch_status("one", &PatchParams::default(), &Patch::Merge(&late)).await?;
    stage.delete::<Pod>("one").await?;
    stage.gone::<Pod>("one").await?;
    stage.operator("operator-2", None)?;
    stage.shows::<Pod>("one", "to be there again", |found| found.uid().as_ref() != Some(&pod)).await?;
    stage.reaches("one", "Ready").await?;
    let status = stage.find::<DroneRegistration>("one").await?.and_then(|drone| drone.status);
    ensure!(status.is_some_and(|status| status.next_retry_at.is_none()));
    Ok(())
}

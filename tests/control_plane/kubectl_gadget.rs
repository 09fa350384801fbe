//! `kubectl gadget`: the real kubectl runs the plugin, against sessions that the real operator keeps.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crds::value::OperatingMode;
use crds::{ChatSession, DroneRegistration};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};
use tests::control_plane::node::{Behaviour, Obstacle, Selector};
use tests::control_plane::programs::{Programs, built};
use tokio::process::Command;

use crate::operator_stage::{NAMESPACE, Stage};

const PATIENCE: Duration = Duration::from_mins(1);

/// As a person with a home of their own, in the namespace of the sessions.
async fn gadget(stage: &Stage, words: &[&str]) -> Result<Output> {
    let plugin = built("kubectl-gadget")?;
    let beside = plugin.parent().context("the plugin is in a directory")?;
    let path = std::env::join_paths(
        [beside.to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let mut command = Command::from(Programs::find()?.command("kubectl"));
    command.arg("gadget").args(words).args(["--namespace", NAMESPACE]);
    command.env("PATH", path).env("HOME", stage.control_plane.directory()).env_remove("XDG_CONFIG_HOME");
    command.env("KUBECONFIG", stage.control_plane.admin_kubeconfig());
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(tokio::time::timeout(PATIENCE, command.output()).await.context("it takes too long")??)
}

/// What it says when it does as it is told.
async fn said(stage: &Stage, words: &[&str]) -> Result<String> {
    let output = gadget(stage, words).await?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{words:?}: {complaint}\n{}", stage.complaints());
    Ok(String::from_utf8(output.stdout)?)
}

/// What it complains of.
async fn refused(stage: &Stage, words: &[&str]) -> Result<String> {
    let output = gadget(stage, words).await?;
    ensure!(output.status.code() == Some(1), "{words:?}: {output:?}");
    Ok(String::from_utf8(output.stderr)?)
}

fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[tokio::test]
async fn sessions_are_listed_and_it_is_said_why_one_is_not_ready() -> Result<()> {
    let stage = Stage::with_operator().await?;
    let none = gadget(&stage, &["ls"]).await?;
    assert!(none.status.success() && none.stdout.is_empty());
    assert_eq!(String::from_utf8(none.stderr)?, format!("no sessions in namespace {NAMESPACE}\n"));

    let denied = Obstacle::Image("pull access denied".into());
    stage.node.set_behaviour(Selector::pod("broken"), Behaviour::waits(denied)).await;
    for name in ["one", "broken"] {
        stage.session(name, json!({})).await?;
    }
    stage.reaches("one", "Ready").await?;
    stage
        .shows::<ChatSession>("broken", "to say why", |session| {
            let conditions = session.status.as_ref().map(|status| status.conditions.as_slice());
            conditions.is_some_and(|all| all.iter().any(|one| one.reason == "ImagePullFailed"))
        })
        .await?;

    let list = said(&stage, &["ls"]).await?;
    let rows: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "PHASE", "SINCE", "USER", "PROJECT", "RESTARTS", "WHY"]);
    assert_eq!([rows[1][0], rows[1][1], rows[1][6]], ["broken", "Starting", "ImagePullFailed"]);
    assert_eq!([rows[2][0], rows[2][1], rows[2][4]], ["one", "Ready", "shop"]);
    holds(&said(&stage, &["ls", "-A"]).await?, &["NAMESPACE", NAMESPACE]);

    holds(&said(&stage, &["why", "one"]).await?, &["one is ready\n", "since ", "it waits for a prompt"]);
    let broken = said(&stage, &["why", "broken"]).await?;
    holds(&broken, &["broken is not ready: ImagePullFailed\n", "pull access denied", "imagePullSecrets"]);
    let of_drone: Value = serde_json::from_str(&said(&stage, &["why", "drone/broken", "--json"]).await?)?;
    assert_eq!((&of_drone["reason"], &of_drone["isWell"]), (&json!("ImagePullFailed"), &json!(false)));

    let unknown = refused(&stage, &["why", "nobody"]).await?;
    holds(&unknown, &["there is no session or drone nobody in namespace drones", "kubectl gadget ls -A"]);
    holds(&refused(&stage, &["why", "pod/one"]).await?, &["name chat/NAME or drone/NAME"]);
    Ok(())
}

#[tokio::test]
async fn sessions_are_suspended_resumed_and_their_drones_ended() -> Result<()> {
    let stage = Stage::with_operator().await?;
    stage.session("one", json!({})).await?;
    stage.reaches("one", "Ready").await?;

    holds(&said(&stage, &["suspend", "one", "--wait"]).await?, &["one: its pod ends, its workspace is kept"]);
    stage.gone::<Pod>("one").await?;
    holds(&said(&stage, &["why", "one"]).await?, &["one is suspended\n", "a person suspended it"]);
    said(&stage, &["resume", "one", "--wait"]).await?;
    stage.reaches("one", "Ready").await?;

    // By hand, which a session that is resumed has to overcome.
    said(&stage, &["suspend", "drone/one", "--wait"]).await?;
    holds(&said(&stage, &["why", "one"]).await?, &["a person suspended its drone by hand"]);
    said(&stage, &["resume", "one", "--wait"]).await?;
    let drone = stage.find::<DroneRegistration>("one").await?.context("a drone")?;
    assert_eq!(drone.spec.operating_mode, OperatingMode::Running);

    let claim = stage.find::<PersistentVolumeClaim>("ws-one").await?.context("a claim")?.metadata.uid;
    said(&stage, &["terminate", "one", "--wait"]).await?;
    stage.gone::<DroneRegistration>("one").await?;
    stage.reaches("one", "Suspended").await?;
    said(&stage, &["resume", "one", "--wait"]).await?;
    let kept = stage.find::<PersistentVolumeClaim>("ws-one").await?.context("a claim")?.metadata.uid;
    assert_eq!(kept, claim, "on the same workspace");

    // What does not come about in time is explained.
    said(&stage, &["suspend", "one", "--wait"]).await?;
    let full = Obstacle::Image("pull access denied".into());
    stage.node.set_behaviour(Selector::pod("one"), Behaviour::waits(full)).await;
    let late = gadget(&stage, &["resume", "one", "--wait", "--timeout", "4s"]).await?;
    assert_eq!(late.status.code(), Some(1));
    holds(&String::from_utf8(late.stdout)?, &["one is not ready: ImagePullFailed"]);
    holds(&String::from_utf8(late.stderr)?, &["is not there after 4s"]);
    Ok(())
}

#[tokio::test]
async fn without_a_hub_or_a_sign_in_it_is_said_how_to_get_one() -> Result<()> {
    let stage = Stage::with_operator().await?;
    let made_by_hub = json!({ "app.kubernetes.io/managed-by": "gadget-hub" });
    stage.session("one", json!({})).await?;
    let not_yet = refused(&stage, &["attach", "one"]).await?;
    holds(&not_yet, &["the hub has not taken one in yet"]);
    stage.patch::<ChatSession>("one", json!({ "metadata": { "labels": made_by_hub } })).await?;
    holds(
        &refused(&stage, &["attach", "one"]).await?,
        &["kubectl gadget login --email", "gadget-hub invite"],
    );
    let invite = ["login", "--invite", "http://localhost:8420/#invite=x"];
    holds(&refused(&stage, &invite).await?, &["no hub is ready in namespace drones", "--hub-namespace"]);
    Ok(())
}

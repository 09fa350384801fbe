//! Operators that die at any write, an API server that fails, objects that do not fit.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use crds::{ChatSession, DroneRegistration};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use nix::sys::signal::{Signal, kill};
use serde_json::json;
use tests::control_plane::Options;
use tests::control_plane::proxy::{Fault, Proxy, Rule, When};
use tests::deadline::eventually;

use crate::operator_stage::{NAMESPACE, Stage};

/// With an operator that signs in as its own service account, through a proxy, and may do what the chart grants it.
async fn behind_a_proxy() -> Result<(Stage, Proxy, PathBuf)> {
    let mut stage = Stage::start(Options::default()).await?;
    let (_, proxy, kubeconfig) = stage.account().await?;
    stage.operator("operator-1", Some(kubeconfig.clone()))?;
    stage.session("first", json!({})).await?;
    stage.reaches("first", "Ready").await?;
    Ok((stage, proxy, kubeconfig))
}

/// The operator dies at this write, and a new one takes over when it has. Whether the write came at all.
async fn dies_at(
    stage: &mut Stage,
    proxy: &Proxy,
    kubeconfig: &std::path::Path,
    nth: usize,
    when: When,
    deed: impl AsyncFnOnce(&Stage) -> Result<()>,
    done: impl AsyncFnOnce(&Stage) -> Result<()>,
) -> Result<bool> {
    let pid = stage.operators[0].pid()?;
    proxy.on_write(nth, when, move |_| {
        let _ended = kill(pid, Signal::SIGKILL);
    });
    deed(stage).await?;
    // Either it dies, or there are fewer writes than that.
    let began = tokio::time::Instant::now();
    while stage.operators[0].ended()?.is_none() && began.elapsed() < Duration::from_secs(4) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let is_dead = stage.operators[0].ended()?.is_some();
    if is_dead {
        stage.operators.clear();
        stage.operator("operator-1", Some(kubeconfig.to_owned()))?;
    } else {
        proxy.on_write(usize::MAX / 2, when, |_| {});
    }
    done(stage).await?;
    Ok(is_dead)
}

#[tokio::test]
async fn an_operator_may_die_at_every_write_of_a_launch_a_suspend_and_a_deletion() -> Result<()> {
    let (mut stage, proxy, kubeconfig) = behind_a_proxy().await?;
    let mut deaths = 0;
    for when in [When::Before, When::After] {
        for nth in 1..=5 {
            let name = format!("{}-{nth}", if when == When::Before { "before" } else { "after" });
            let name = name.as_str();
            let workspace = json!({ "workspace": { "retention": "Delete" } });
            let died = dies_at(
                &mut stage,
                &proxy,
                &kubeconfig,
                nth,
                when,
                async |stage| stage.session(name, workspace).await,
                async |stage| stage.reaches(name, "Ready").await.map(drop),
            )
            .await?;
            deaths += usize::from(died);
            if nth <= 3 {
                let suspend = json!({ "spec": { "operatingMode": "Suspended" } });
                let died = dies_at(
                    &mut stage,
                    &proxy,
                    &kubeconfig,
                    nth,
                    when,
                    async |stage| stage.patch::<ChatSession>(name, suspend).await,
                    async |stage| stage.reaches(name, "Suspended").await.map(drop),
                )
                .await?;
                ensure!(died, "a suspend takes three writes");
                deaths += 1;
                ensure!(stage.find::<Pod>(name).await?.is_none(), "{name} has a pod");
                ensure!(stage.find::<PersistentVolumeClaim>(&format!("ws-{name}")).await?.is_some());
            }
        }
    }
    println!("died {deaths} times");
    ensure!(deaths >= 14, "only {deaths} deaths");
    assert_eq!(stage.counts().await?.0, 11);
    stage.stays_quiet(Duration::from_secs(3)).await?;
    // A deletion takes no write of the operator: it dies in the middle of it by itself.
    for session in stage.api::<ChatSession>().list(&kube::api::ListParams::default()).await?.items {
        stage.delete::<ChatSession>(&session.name_any()).await?;
    }
    stage.operators.clear();
    stage.operator("operator-1", Some(kubeconfig))?;
    eventually("everything to be gone", || async { Ok((stage.counts().await? == (0, 0, 1)).then_some(())) })
        .await?;
    stage.stays_quiet(Duration::from_secs(3)).await
}

#[tokio::test]
async fn an_api_server_that_fails_is_tried_again_and_nothing_is_made_twice() -> Result<()> {
    let (stage, proxy, _) = behind_a_proxy().await?;
    let mut number = 0;
    for fault in [
        Fault::conflict(),
        Fault::too_many_requests(1),
        Fault::internal_error(),
        Fault::unavailable(),
        Fault::timeout(),
        Fault::Reset,
        Fault::AnswerReset,
        Fault::Lost,
        Fault::AnswerLost,
    ] {
        for nth in [1, 2, 3] {
            proxy.inject(Rule::when(tests::control_plane::proxy::Request::is_write, fault.clone()).nth(nth));
        }
        number += 1;
        let name = format!("s{number}");
        stage.session(&name, json!({})).await?;
        stage.reaches(&name, "Ready").await?;
        proxy.clear();
    }
    assert_eq!(stage.counts().await?, (10, 10, 10));
    stage.stays_quiet(Duration::from_secs(3)).await
}

#[tokio::test]
async fn watches_that_are_closed_or_too_old_lose_nothing() -> Result<()> {
    let (stage, proxy, _) = behind_a_proxy().await?;
    for round in 0..6 {
        let name = format!("s{round}");
        stage.session(&name, json!({})).await?;
        if round % 2 == 0 {
            proxy.close_watches();
        } else {
            proxy.expire_watches();
        }
        stage.reaches(&name, "Ready").await?;
    }
    proxy.set_down(true);
    stage.delete::<ChatSession>("s0").await?;
    stage.delete::<Pod>("s1").await?;
    proxy.set_down(false);
    stage.gone::<DroneRegistration>("s0").await?;
    stage
        .shows::<DroneRegistration>("s1", "to have a new pod", |drone| {
            drone.status.as_ref().is_some_and(|status| status.restarts == Some(1))
        })
        .await?;
    stage.reaches("s1", "Ready").await?;
    assert_eq!(stage.counts().await?, (6, 6, 7));
    stage.stays_quiet(Duration::from_secs(3)).await
}

#[tokio::test]
async fn an_object_that_does_not_fit_is_told_so_and_harms_nobody() -> Result<()> {
    let mut stage = Stage::start(Options { definitions: Vec::new(), ..Options::default() }).await?;
    // Definitions of another time: they let anything in.
    let mut loose = crds::all().to_vec();
    for definition in &mut loose {
        for version in &mut definition.spec.versions {
            let schema = json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
            version.schema = Some(serde_json::from_value(schema)?);
            version.selectable_fields = None;
        }
    }
    stage.control_plane.install(&loose).await?;
    stage.operator("operator-1", None)?;
    let strange = json!({
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "ChatSession", "metadata": { "name": "strange" },
        "spec": { "user": 7 }, "status": {},
    });
    let applied =
        stage.control_plane.try_kubectl(["-n", NAMESPACE, "create", "-f", "-"], &strange.to_string()).await?;
    ensure!(applied.success, "{}", applied.stderr);
    stage.session("one", json!({})).await?;
    stage.reaches("one", "Ready").await?;
    eventually("a condition that says so", || async {
        let told =
            stage.control_plane.kubectl(["-n", NAMESPACE, "get", "chat", "strange", "-o", "json"]).await?;
        Ok(told.contains("Malformed").then_some(()))
    })
    .await?;
    let described = stage.control_plane.kubectl(["-n", NAMESPACE, "describe", "chat", "strange"]).await?;
    assert!(described.contains("upgrade the operator"), "{described}");
    // One that was well is edited past the schema: its pod stays.
    let before = stage.pod_uid("one").await?;
    let edit = json!({ "spec": { "operatingMode": "Sleeping" } }).to_string();
    stage
        .control_plane
        .kubectl(["-n", NAMESPACE, "patch", "chat", "one", "--type=merge", "-p", &edit])
        .await?;
    eventually("a condition that says so", || async {
        let told = stage.control_plane.kubectl(["-n", NAMESPACE, "get", "chat", "one", "-o", "json"]).await?;
        Ok(told.contains("Malformed").then_some(()))
    })
    .await?;
    stage.stays_quiet(Duration::from_secs(3)).await?;
    assert_eq!(stage.pod_uid("one").await?, before);
    Ok(())
}

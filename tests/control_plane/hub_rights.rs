//! The hub may do what it does and does what it may, by the API server's own audit log.

use anyhow::{Context as _, Result, ensure};
use crds::{ChatSession, DroneRegistration};
use kube::api::PostParams;
use nix::sys::signal::Signal;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tests::control_plane::proxy::{Fault, Rule};
use tests::control_plane::rbac::Difference;
use tests::deadline::eventually;

use crate::hub_sessions::{says_something, stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hub_uses_each_right_that_the_chart_grants_and_asks_for_no_other() -> Result<()> {
    let mut stage = stage().await?;
    let ada = stage.person("ada").await?;
    // An API server that cannot begin a watch with what there is: it lists.
    stage.stop_hub(Signal::SIGTERM).await?;
    for resource in ["chatsessions", "droneregistrations"] {
        stage.proxy.inject(Rule::on("watch", resource, Fault::cannot_stream_lists()).times(1));
    }
    stage.start_hub().await?;
    eventually("the lists", || async { Ok(stage.ready().await.filter(|words| words == "ok")) }).await?;
    stage.proxy.clear();

    // Made, adopted with a word, written about, slept, woken, ended.
    let (ide, session) = stage.open(&ada, "Shop").await?;
    says_something(&stage, &ada, &ide, &session).await?;
    stage.make("made-elsewhere", json!({ "user": "nobody", "project": { "slug": "shop" } })).await?;
    stage
        .shows::<ChatSession>("made-elsewhere", "has a word of the hub", |session| {
            session.status.as_ref().is_some_and(|status| status.adoption.is_some())
        })
        .await?;
    stage
        .shows::<DroneRegistration>(session.id.as_str(), "says what it does", |drone| {
            drone.status.as_ref().is_some_and(|status| status.activity.is_some())
        })
        .await?;
    let drone: Value = ada.call(Method::POST, "/drones", Some(&json!({}))).await?;
    let drone = drone["_id"].as_str().context("a drone has an id")?;
    for what in ["suspend", "resume", "terminate"] {
        let path = format!("/drone/registration/{drone}/{what}");
        let _drone: Value = ada.call(Method::POST, &path, None).await?;
    }
    ide.close().await?;
    let path = format!("/drone/registration/{}/suspend", session.id);
    let _drone: Value = ada.call(Method::POST, &path, None).await?;
    let path = format!("/chat-sessions/{}", session.id);
    let (status, text) = ada.send(Method::DELETE, &path, None).await?;
    ensure!(status.is_success(), "{status} {text}");

    // What it wants to make is there already and it has not heard of it: it reads what is there.
    let late = || Fault::Late(Duration::from_secs(20));
    for resource in ["chatsessions", "droneregistrations"] {
        stage.proxy.inject(Rule::on("watch", resource, late()));
    }
    stage.proxy.close_watches();
    let project = ada.create_project("Other", None).await?;
    let session = ada.create_session(&project).await?;
    let object: ChatSession = serde_json::from_value(json!({
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "ChatSession",
        "metadata": { "name": session.id, "labels": { "app.kubernetes.io/managed-by": "gadget-hub" } },
        "spec": { "user": "ada", "project": { "slug": project.slug } },
    }))?;
    stage.api::<ChatSession>().create(&PostParams::default(), &object).await?;
    stage.proxy.inject(Rule::on("create", "droneregistrations", Fault::AnswerReset).times(1));
    let (status, text) = ada.send(Method::POST, "/drones", Some(&json!({}))).await?;
    ensure!(status != StatusCode::CREATED, "the answer was lost: {status} {text}");
    let lost = ada.drones().await?.into_iter().next().context("there is a record of it")?;
    let path = format!("/drone/registration/{}/resume", lost.id);
    let _drone: Value = ada.call(Method::POST, &path, None).await?;
    let tab = async { stage.tab(&ada, &project, &session).await };
    let free = async {
        eventually("both to be read", || async {
            let read = ["chatsessions", "droneregistrations"]
                .iter()
                .all(|resource| stage.proxy.count(|request| request.is("get", resource)) > 0);
            Ok(read.then(|| stage.proxy.clear()))
        })
        .await
    };
    let (ide, read) = tokio::join!(tab, free);
    read?;
    says_something(&stage, &ada, &ide?, &session).await?;

    let difference = async || stage.rights.difference(&stage.control_plane).await;
    let none = eventually("each right to be used", async || {
        Ok((difference().await? == Difference::default()).then_some(()))
    });
    if none.await.is_err() {
        ensure!(
            difference().await? == Difference::default(),
            "{}\n{}",
            difference().await?,
            stage.complaints()
        );
    }
    Ok(())
}

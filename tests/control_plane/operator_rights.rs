//! The operator does what it may and may do what it does, by the API server's own audit log; and rights that are revoked.

use std::time::Duration;

use anyhow::{Result, ensure};
use crds::{ChatSession, DroneClass, DroneClassSpec, DroneRegistration, names};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{ObjectMeta, PostParams};
use serde_json::json;
use tests::control_plane::Options;
use tests::control_plane::proxy::{Fault, Rule};
use tests::control_plane::rbac::{Difference, service_account};
use tests::deadline::eventually;

use crate::operator_stage::{ACCOUNT, NAMESPACE, Stage};

#[tokio::test]
async fn the_operator_uses_each_right_that_the_chart_grants_and_asks_for_no_other() -> Result<()> {
    let mut stage = Stage::start(Options::default()).await?;
    let (rights, proxy, kubeconfig) = stage.account().await?;
    // An API server that cannot begin a watch with what there is: the operator lists.
    for resource in
        ["chatsessions", "droneregistrations", "droneclasses", "pods", "persistentvolumeclaims", "events"]
    {
        proxy.inject(Rule::on("watch", resource, Fault::cannot_stream_lists()).times(1));
    }
    // The class is of earlier settings and follows those of today; and it is made when it is missing.
    let before = DroneClassSpec { image: "drone:0".into(), ..DroneClassSpec::default() };
    let settings = [(names::SETTINGS.to_owned(), before.fingerprint())];
    let mut class = DroneClass::new("default", before);
    class.metadata.annotations = Some(settings.into());
    stage.api::<DroneClass>().create(&PostParams::default(), &class).await?;
    stage.operator("operator-1", Some(kubeconfig.clone()))?;
    stage.shows::<DroneClass>("default", "follows", |class| class.spec.image == "drone:1").await?;
    stage.delete::<DroneClass>("default").await?;

    // A session is made, its volume grows, it rests; a drone that is free is bound.
    stage.session("one", json!({ "workspace": { "size": "1Gi" } })).await?;
    stage.reaches("one", "Ready").await?;
    stage.patch::<ChatSession>("one", json!({ "spec": { "workspace": { "size": "2Gi" } } })).await?;
    stage.patch::<ChatSession>("one", json!({ "spec": { "operatingMode": "Suspended" } })).await?;
    stage.reaches("one", "Suspended").await?;
    ensure!(stage.find::<Pod>("one").await?.is_none());
    let free = json!({
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "DroneRegistration", "metadata": { "name": "free" },
        "spec": { "user": "ada", "className": "default" },
    });
    stage.api::<DroneRegistration>().create(&PostParams::default(), &serde_json::from_value(free)?).await?;
    stage.session("two", json!({ "drone": "free" })).await?;
    stage.reaches("two", "Ready").await?;
    // Another stands by and watches the lease.
    stage.operator("operator-2", Some(kubeconfig))?;

    let difference = async || rights.difference(&stage.control_plane).await;
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

#[tokio::test]
async fn revoked_rights_are_told_and_heal() -> Result<()> {
    let mut stage = Stage::start(Options::default()).await?;
    let (_rights, _proxy, kubeconfig) = stage.account().await?;
    stage.operator("operator-1", Some(kubeconfig.clone()))?;
    stage.session("first", json!({})).await?;
    stage.reaches("first", "Ready").await?;
    let rules = stage.api::<Role>().get(ACCOUNT).await?.rules.unwrap_or_default();
    let mut less = rules.clone();
    for rule in less.iter_mut().filter(|rule| rule.resources.iter().flatten().any(|one| one == "pods")) {
        rule.verbs.retain(|verb| verb != "create");
    }
    stage.patch::<Role>(ACCOUNT, json!({ "rules": less })).await?;
    eventually("the right to be revoked", || async {
        let as_who = format!("--as={}", service_account(NAMESPACE, ACCOUNT));
        let answer = stage
            .control_plane
            .try_kubectl(["-n", NAMESPACE, "auth", "can-i", "create", "pods", &as_who], "")
            .await?;
        Ok((!answer.success).then_some(()))
    })
    .await?;
    stage.session("one", json!({})).await?;
    stage
        .shows::<DroneRegistration>("one", "to tell what is forbidden", |drone| {
            let failure = drone.status.as_ref().and_then(|status| status.last_failure.as_ref());
            failure.is_some_and(|failure| failure.reason == "Forbidden" && failure.message.contains("pods"))
        })
        .await?;
    let since = stage.position().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let writes: usize = stage.writes_since(since).await?.values().sum();
    ensure!(writes <= 8, "a hot loop: {writes} writes in five seconds");
    stage.patch::<Role>(ACCOUNT, json!({ "rules": rules })).await?;
    stage.reaches("one", "Ready").await?;
    // Without any right at all it waits, and says for which.
    let binding = stage.api::<RoleBinding>().get(ACCOUNT).await?;
    stage.delete::<RoleBinding>(ACCOUNT).await?;
    stage.operators.clear();
    stage.operator("operator-2", Some(kubeconfig))?;
    eventually("a word about the rights", || async {
        Ok(stage.operators[0]
            .output()?
            .contains("give the operator's role the verbs list and watch")
            .then_some(()))
    })
    .await?;
    let metadata = ObjectMeta { name: Some(ACCOUNT.to_owned()), ..ObjectMeta::default() };
    let binding = RoleBinding { metadata, ..binding };
    stage.api::<RoleBinding>().create(&PostParams::default(), &binding).await?;
    stage.session("two", json!({})).await?;
    stage.reaches("two", "Ready").await?;
    Ok(())
}

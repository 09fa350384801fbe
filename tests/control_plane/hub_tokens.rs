//! Who is let in by a service account's token: the live pod of a drone as that drone, the pod of `helm test` to an account
//! of its own, and nobody else.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use reqwest::{Method, StatusCode};
use scripted_model::script::{Answer, Script, Step};
use serde_json::{Value, json};
use tests::api::Api;
use tests::deadline::eventually;
use tests::knock::knock;

use crate::hub_stage::HubStage;

/// A token as the kubelet would get it. `pod`: name and uid.
async fn token(stage: &HubStage, account: &str, audience: &str, pod: Option<(&str, &str)>) -> Result<String> {
    let bound = pod.map(|(name, uid)| BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: Some(name.into()),
        uid: Some(uid.into()),
    });
    let spec = TokenRequestSpec {
        audiences: vec![audience.into()],
        bound_object_ref: bound,
        expiration_seconds: Some(600),
    };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let accounts = stage.api::<ServiceAccount>();
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
    Ok(answer.status.context("the API server gave no token")?.token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_live_pod_of_a_drone_is_let_in() -> Result<()> {
    let script = Script::new([Answer::new([Step::say("All is well.")])]);
    let stage = HubStage::start([("quick", script)]).await?;
    let (ada, bob) = (stage.person("ada").await?, stage.person("bob").await?);
    let (_ide, session) = stage.open(&ada, "Shop").await?;
    let (_other, others) = stage.open(&bob, "Shop").await?;
    let (mine, theirs) = (session.id.as_str(), others.id.as_str());
    for drone in [mine, theirs] {
        stage.busy(drone).await?;
    }
    let (pod, other_pod) = (stage.pod_uid(mine).await?, stage.pod_uid(theirs).await?);
    let good = token(&stage, "gadget-drone", "gadget-hub", Some((mine, &pod))).await?;
    for (what, bad) in [
        ("another's pod", token(&stage, "gadget-drone", "gadget-hub", Some((theirs, &other_pod))).await?),
        ("another audience", token(&stage, "gadget-drone", "somewhere", Some((mine, &pod))).await?),
        ("no pod", token(&stage, "gadget-drone", "gadget-hub", None).await?),
        ("no token", "e30.e30.e30".to_owned()),
    ] {
        let told = knock(&stage.origin(), mine, &bad).await?;
        ensure!(
            told.as_ref()
                .is_err_and(|words| words.contains("Unauthorized") || words.contains("unauthorized")),
            "{what}: {told:?}"
        );
    }
    ensure!(knock(&stage.origin(), mine, &good).await? == Ok(()), "{}", stage.complaints());

    // The pod is replaced: its token is worth nothing any more.
    stage.delete::<Pod>(mine).await?;
    eventually("the next pod", || async {
        let found = stage.api::<Pod>().get_opt(mine).await?;
        Ok(found.filter(|found| found.metadata.uid.as_deref() != Some(&*pod)).map(drop))
    })
    .await
    .with_context(|| stage.complaints())?;
    stage.busy(mine).await?;
    eventually("the old pod's token to be refused", || async {
        Ok(knock(&stage.origin(), mine, &good).await?.is_err().then_some(()))
    })
    .await
    .with_context(|| stage.complaints())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pod_that_tries_the_installation_is_a_member_with_nothing_of_anybody_else_s_and_no_other_pod_is()
-> Result<()> {
    let stage = HubStage::start(None).await?;
    let ada = stage.person("ada").await?;
    let others = ada.create_project("Shop", None).await?;
    let (tester, uid) = pod(&stage, "tester", "gadget-test").await?;
    let (drone, drone_uid) = pod(&stage, "drone", "gadget-drone").await?;
    let good = token(&stage, "gadget-test", "gadget-hub", Some((&tester, &uid))).await?;
    for (what, bad) in [
        ("a drone", token(&stage, "gadget-drone", "gadget-hub", Some((&drone, &drone_uid))).await?),
        ("another audience", token(&stage, "gadget-test", "somewhere", Some((&tester, &uid))).await?),
        ("no pod", token(&stage, "gadget-test", "gadget-hub", None).await?),
        ("no token", "e30.e30.e30".to_owned()),
        ("nothing", String::new()),
    ] {
        let (status, told) = sign_in(&stage, &bad).await?;
        ensure!(status == StatusCode::UNAUTHORIZED, "{what}: {status} {told}");
    }
    let (status, told) = sign_in(&stage, &good).await?;
    ensure!(status == StatusCode::OK, "{status} {told}");
    ensure!(told["user"]["roles"] == json!(["member"]), "{told}");
    // As a drone it is nobody.
    let knocked = knock(&stage.origin(), &tester, &good).await?;
    ensure!(knocked.is_err(), "{knocked:?}");

    let signed_in = Api::at(&stage.origin(), told["token"].as_str().context("no token")?)?;
    let (status, _) = signed_in.send(Method::GET, &format!("/projects/{}", others.id), None).await?;
    ensure!(status == StatusCode::NOT_FOUND, "another's project answers {status}");
    let (status, _) = signed_in.send(Method::GET, "/users", None).await?;
    ensure!(status == StatusCode::FORBIDDEN, "the users answer {status}");
    let mine = signed_in.create_project("Trial", None).await?;
    // The next test is the same person.
    let (_, told) = sign_in(&stage, &good).await?;
    let again = Api::at(&stage.origin(), told["token"].as_str().context("no token")?)?;
    let (status, _) = again.send(Method::GET, &format!("/projects/{}", mine.id), None).await?;
    ensure!(status == StatusCode::OK, "its own project answers {status}");

    stage.delete::<Pod>(&tester).await?;
    eventually("the gone pod's token to be refused", || async {
        let (status, _) = sign_in(&stage, &good).await?;
        Ok((status == StatusCode::UNAUTHORIZED).then_some(()))
    })
    .await
    .with_context(|| stage.complaints())
}

async fn sign_in(stage: &HubStage, token: &str) -> Result<(StatusCode, Value)> {
    let nobody = Api::at(&stage.origin(), "")?;
    let body = json!({ "token": token });
    let (status, told) = nobody.send(Method::POST, "/auth/tester", Some(&body)).await?;
    Ok((status, serde_json::from_str(&told)?))
}

/// A pod of that account, which nobody starts. Its name and uid.
async fn pod(stage: &HubStage, name: &str, account: &str) -> Result<(String, String)> {
    let pod = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "serviceAccountName": account, "nodeSelector": { "disk": "none" },
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "test", "image": "hub:1",
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    }))?;
    let made = stage.api::<Pod>().create(&PostParams::default(), &pod).await?;
    Ok((name.to_owned(), made.metadata.uid.context("a pod has a uid")?))
}

//! Who is let in as a drone: the live pod of that drone, and nobody else.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use scripted_model::script::{Answer, Script, Step};
use tests::deadline::eventually;
use tests::knock::knock;

use crate::hub_stage::HubStage;

/// A token as the kubelet would get it. `pod`: name and uid.
async fn token(stage: &HubStage, audience: &str, pod: Option<(&str, &str)>) -> Result<String> {
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
    let answer = accounts.create_token_request("gadget-drone", &PostParams::default(), &request).await?;
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
    let good = token(&stage, "gadget-hub", Some((mine, &pod))).await?;
    for (what, bad) in [
        ("another's pod", token(&stage, "gadget-hub", Some((theirs, &other_pod))).await?),
        ("another audience", token(&stage, "somewhere", Some((mine, &pod))).await?),
        ("no pod", token(&stage, "gadget-hub", None).await?),
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

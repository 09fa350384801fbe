//! What happens to pods, as a tab sees it; and that a pod which was replaced has no say any more, running or not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use protocol::value::DronePhase;
use tests::control_plane::node::{Behaviour, Node, Obstacle, Selector};
use tests::control_plane::programs;
use tests::ide::Ide;

use crate::hub_sessions::{SLOW, says_something, slow, stage, told_whole};
use crate::hub_stage::NAMESPACE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_a_pod_from_working_is_told_to_the_tab_in_words() -> Result<()> {
    let stage = stage().await?;
    let ada = stage.person("ada").await?;
    let project = ada.create_project("Shop", None).await?;
    let session = ada.create_session(&project).await?;
    let pod = || Selector::pod(session.id.as_str());
    let node = stage.node.name();
    stage.control_plane.kubectl(["cordon", node]).await?;
    let image = Obstacle::Image("pull access denied".into());
    stage.node.set_behaviour(pod(), Behaviour::waits(image)).await;
    let ide = Ide::connect_to(&stage.origin(), ada.token(), "tab").await?;
    let drone = Behaviour {
        restart_delay: Duration::from_secs(3),
        ..Behaviour::process(programs::built("gadget-drone")?)
    };
    let (opened, told) = tokio::join!(ide.open(&project, &session), async {
        let is = |reason: &'static str, phase, words: [&'static str; 2]| {
            stage.hears(&ide, reason, move |told| {
                let said = told.message.as_deref().unwrap_or_default();
                told.phase == phase
                    && told.reason.as_deref() == Some(reason)
                    && words.iter().all(|words| said.contains(words))
            })
        };
        is("Unschedulable", DronePhase::Starting, ["unschedulable", "kubectl uncordon"]).await?;
        stage.control_plane.kubectl(["uncordon", node]).await?;
        is("ImagePullFailed", DronePhase::Starting, ["pull access denied", "imagePullSecrets"]).await?;
        let missing = Obstacle::Configuration("secret \"x\" not found".into());
        stage.node.set_behaviour(pod(), Behaviour::waits(missing)).await;
        let words = ["secret \"x\" not found", "make what is missing"];
        is("CreateContainerConfigError", DronePhase::Starting, words).await?;
        let mount = Obstacle::Mount("timed out waiting for the condition".into());
        stage.node.set_behaviour(pod(), Behaviour::waits(mount)).await;
        is("FailedMount", DronePhase::Starting, ["timed out", "look at the volume"]).await?;
        stage.node.set_behaviour(pod(), drone).await;
        anyhow::Ok(())
    });
    told?;
    opened.with_context(|| stage.complaints())?;
    says_something(&stage, &ada, &ide, &session).await?;

    stage.node.oom(session.id.as_str()).await?;
    let told = stage
        .hears(&ide, "that it was out of memory", |told| told.reason.as_deref() == Some("OOMKilled"))
        .await?;
    let said = told.message.unwrap_or_default();
    ensure!(
        said.contains("more memory than its limit") && said.contains("raise resources.limits.memory"),
        "{said}"
    );
    ensure!(told.phase == DronePhase::Recovering && told.restarts == 1, "{:?} {}", told.phase, told.restarts);
    says_something(&stage, &ada, &ide, &session).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_was_replaced_has_no_say_any_more_while_it_still_runs() -> Result<()> {
    let stage = stage().await?;
    let ada = stage.person("ada").await?;
    let (ide, session) = stage.open(&ada, "Shop").await?;
    let name = session.id.as_str();
    says_something(&stage, &ada, &ide, &session).await?;
    let before = stage.pod_uid(name).await?;
    let other = Node::start(&stage.control_plane, "node-2").await?;
    let image = Obstacle::Image("not yet".into());
    other.set_behaviour(Selector::All, Behaviour::waits(image)).await;

    // Its node is cut off from the API server in the middle of a turn; the drone itself works on, and reaches the hub.
    let turn = ide.prompt(SLOW).await?;
    ide.shown(&turn, 3).await?;
    stage.control_plane.kubectl(["cordon", stage.node.name()]).await?;
    stage.node.lose();
    let force = ["-n", NAMESPACE, "delete", "pod", name, "--force", "--grace-period=0"];
    stage.control_plane.kubectl(force).await?;
    stage.shows::<Pod>(name, "is another one", |pod| pod.uid().as_ref() != Some(&before)).await?;

    // The new one has not started, so it is the watch alone that ends the old one's connection.
    stage.hears(&ide, "the new pod", |told| told.reason.as_deref() == Some("ImagePullFailed")).await?;
    tests::deadline::eventually("the end of the old connection", || async {
        Ok(stage.hub_log()?.contains("ended the connection of a pod that was replaced").then_some(()))
    })
    .await?;
    let seen = ide.names(&turn).len();
    // The old one knocks again with its token, which is worth nothing: what it has to say is never heard.
    tests::deadline::eventually("the old one to be refused", || async {
        Ok(stage.hub_log()?.contains("refused a drone's token").then_some(()))
    })
    .await
    .with_context(|| stage.complaints())?;
    ensure!(ide.status(&turn).is_none() && ide.names(&turn).len() == seen, "the old pod was heard");

    other.set_behaviour(Selector::All, Behaviour::process(programs::built("gadget-drone")?)).await;
    told_whole(&ada, &session, &turn, &slow()).await.with_context(|| stage.complaints())?;
    says_something(&stage, &ada, &ide, &session).await
}

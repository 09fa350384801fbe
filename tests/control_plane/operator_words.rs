//! What people see with the real kubectl of sessions that live: columns, events with the next step, waits.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tests::control_plane::node::{Behaviour, Obstacle, Selector};

use crate::operator_stage::{NAMESPACE, Stage};

async fn kubectl(stage: &Stage, arguments: &[&str]) -> Result<String> {
    let all = ["--namespace", NAMESPACE].into_iter().chain(arguments.iter().copied());
    stage.control_plane.kubectl(all).await
}

/// Two blanks and more stand between two cells.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

/// Kind, reason and words of each event that `kubectl describe` shows, oldest first.
async fn events(stage: &Stage, what: &str) -> Result<Vec<[String; 3]>> {
    let described = kubectl(stage, &["describe", what]).await?;
    let (_, table) = described.split_once("\nEvents:").with_context(|| format!("no events: {described}"))?;
    let told = table.lines().skip(3).map(|line| {
        let cells = cells(line);
        let [kind, reason, _age, _from, words] = &cells[..] else { return Err(line.to_owned()) };
        Ok([kind, reason, words].map(|cell| (*cell).to_owned()))
    });
    told.collect::<Result<_, _>>().map_err(|line| anyhow::anyhow!("strange event {line:?} in {described}"))
}

/// Waits until the newest event is of this kind and reason, and gives its words.
async fn newest(stage: &Stage, what: &str, kind: &str, reason: &str) -> Result<String> {
    tests::deadline::eventually(&format!("an event {reason} of {what}"), || async {
        let last = events(stage, what).await?.pop();
        Ok(last.filter(|[last_kind, last_reason, _]| last_kind == kind && last_reason == reason))
    })
    .await
    .map(|[_, _, words]| words)
}

#[tokio::test]
async fn kubectl_waits_for_a_session_that_starts_and_for_its_end() -> Result<()> {
    let stage = Stage::with_operator().await?;
    stage.session("one", json!({})).await?;
    let ready = ["wait", "--for=condition=Ready", "chat/one", "drone/one", "--timeout=60s"];
    // The drone is made a moment later than its session.
    stage.shows::<crds::DroneRegistration>("one", "to be made", |_| true).await?;
    let expected =
        "chatsession.gadgetcode.dev/one condition met\ndroneregistration.gadgetcode.dev/one condition met\n";
    ensure!(kubectl(&stage, &ready).await? == expected);

    let wide = kubectl(&stage, &["get", "chat", "one", "-o", "wide"]).await?;
    let row = cells(wide.lines().nth(1).context("a row")?);
    ensure!(row[..6] == ["one", "Ready", "True", "ada", "shop", "one"], "{wide}");
    ensure!(row.len() == 10 && row[7..9] == ["node-1", "Ready"] && row[9].parse::<u64>().is_ok(), "{wide}");
    let wide = kubectl(&stage, &["get", "drone", "one", "-o", "wide"]).await?;
    let row = cells(wide.lines().nth(1).context("a row")?);
    ensure!(row[..5] == ["one", "Busy", "True", "ada", "one"], "{wide}");
    ensure!(row[6..] == ["node-1", "Ready", "default"], "{wide}");

    let suspend = r#"{"spec":{"operatingMode":"Suspended"}}"#;
    kubectl(&stage, &["patch", "chat", "one", "--type=merge", "-p", suspend]).await?;
    let rests = ["wait", "--for=condition=Suspended", "chat/one", "--timeout=60s"];
    kubectl(&stage, &rests).await?;
    let run = r#"{"spec":{"operatingMode":"Running"}}"#;
    kubectl(&stage, &["patch", "chat", "one", "--type=merge", "-p", run]).await?;
    kubectl(&stage, &ready).await?;

    let gone = ["wait", "--for=delete", "chat/one", "drone/one", "pod/one", "--timeout=60s"];
    let (waited, deleted) =
        tokio::join!(kubectl(&stage, &gone), kubectl(&stage, &["delete", "chat", "one", "--wait=false"]));
    ensure!(deleted?.contains("\"one\" deleted"));
    waited?;
    ensure!(stage.counts().await? == (0, 0, 1), "the workspace is retained");
    Ok(())
}

#[tokio::test]
async fn kubectl_describes_what_went_wrong_with_the_next_step() -> Result<()> {
    let stage = Stage::with_operator().await?;
    let denied = Obstacle::Image("pull access denied".into());
    stage.node.set_behaviour(Selector::pod("one"), Behaviour::waits(denied)).await;
    stage.session("one", json!({})).await?;
    for what in ["chat/one", "drone/one"] {
        let words = newest(&stage, what, "Warning", "ImagePullFailed").await?;
        let expected = "cannot pull the image: pull access denied; check image and imagePullSecrets in the DroneClass, \
                        and the registry; the node tries again by itself";
        ensure!(words == expected, "{what}: {words}");
    }
    let described = kubectl(&stage, &["describe", "chat", "one"]).await?;
    for part in ["Phase:", "Starting", "Reason:", "ImagePullFailed", "pull access denied"] {
        ensure!(described.contains(part), "{part} is not in\n{described}");
    }
    let narrow = kubectl(&stage, &["get", "chat", "one", "-o", "wide"]).await?;
    ensure!(narrow.contains("Starting") && narrow.contains("ImagePullFailed"), "{narrow}");
    let ready = ["-n", NAMESPACE, "wait", "--for=condition=Ready", "chat/one", "--timeout=1s"];
    let waited = stage.control_plane.try_kubectl(ready, "").await?;
    ensure!(!waited.success && waited.stderr.contains("timed out"), "{waited:?}");
    stage.node.heal("one").await;
    stage.reaches("one", "Ready").await?;
    for (what, words) in
        [("chat/one", "the session is ready on node-1"), ("drone/one", "the drone is ready on node-1")]
    {
        let told = newest(&stage, what, "Normal", "Ready").await?;
        ensure!(told.starts_with(words), "{told}");
    }

    // Later it is out of memory, and its pod is deleted.
    stage.node.oom("one").await?;
    let words = tests::deadline::eventually("the drone's event", || async {
        let told = events(&stage, "drone/one").await?;
        Ok(told.into_iter().find(|[_, reason, _]| reason == "OOMKilled").map(|[_, _, words]| words))
    })
    .await?;
    ensure!(
        words.contains("more memory than its limit") && words.contains("raise resources.limits.memory"),
        "{words}"
    );
    stage.reaches("one", "Ready").await?;
    let before = stage.pod_uid("one").await?;
    stage.delete::<Pod>("one").await?;
    stage.shows::<Pod>("one", "to be replaced", |pod| pod.metadata.uid.as_ref() != Some(&before)).await?;
    let words = tests::deadline::eventually("the drone's event", || async {
        let told = events(&stage, "drone/one").await?;
        Ok(told
            .into_iter()
            .find(|[_, reason, _]| reason == "PodDeleted")
            .map(|[kind, _, words]| (kind, words)))
    })
    .await?;
    let expected = "the pod was deleted; nothing to do: it is replaced. To stop a drone, set its operatingMode to Suspended";
    ensure!(words == ("Normal".to_owned(), expected.to_owned()), "{words:?}");
    Ok(())
}

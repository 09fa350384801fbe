//! The simulated node does what a kubelet does, seen through the real API server.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, Node as NodeObject, PersistentVolumeClaim, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;
use tests::control_plane::node::{Behaviour, Container, Eviction, Node, Obstacle, Program, Selector, Start};
use tests::control_plane::storage::{self, Storage};
use tests::control_plane::{ControlPlane, Options, shared};
use tests::deadline::eventually;
use tokio::time::Duration;

use crate::pods::{Seen, create, create_claim, pod, wait_for, wait_until_gone};

/// A namespace and a node of its own, both of this name.
async fn place(name: &str) -> Result<(Client, Node)> {
    let control_plane = shared().await?;
    control_plane.create_namespace(name).await?;
    Ok((control_plane.client().await?, Node::start(control_plane, name).await?))
}

#[tokio::test]
async fn a_pod_is_ready_at_once_and_gone_at_once() -> Result<()> {
    let (client, node) = place("at-once").await?;
    let made = create(&client, "at-once", pod("one", node.name())).await?;
    let seen = wait_for(&client, "at-once", "one", "a ready pod", Seen::is_ready).await?;
    assert_eq!((seen.phase(), seen.restarts()), ("Running", 0));
    Api::<Pod>::namespaced(client.clone(), "at-once").delete("one", &DeleteParams::default()).await?;
    wait_until_gone(&client, "at-once", &made).await?;
    assert_eq!(node.complaints(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_container_that_fails_is_restarted_in_place_and_one_that_is_done_is_not() -> Result<()> {
    let (client, node) = place("exits").await?;
    create(&client, "exits", pod("one", node.name())).await?;
    wait_for(&client, "exits", "one", "a ready pod", Seen::is_ready).await?;
    node.exit("one", 3).await?;
    let again = |restarts| move |pod: &Seen| pod.is_ready() && pod.restarts() == restarts;
    let seen = wait_for(&client, "exits", "one", "a restart", again(1)).await?;
    assert_eq!(seen.ended(), Some((3, "Error")));
    node.oom("one").await?;
    let seen = wait_for(&client, "exits", "one", "a second restart", again(2)).await?;
    assert_eq!(seen.ended(), Some((137, "OOMKilled")));
    node.exit("one", 0).await?;
    let seen = wait_for(&client, "exits", "one", "the end", |pod| pod.phase() == "Succeeded").await?;
    assert_eq!((seen.ended(), seen.restarts(), seen.is_ready()), (Some((0, "Completed")), 2, false));
    Ok(())
}

#[tokio::test]
async fn a_container_that_ends_again_and_again_is_backed_off() -> Result<()> {
    let (client, node) = place("crashes").await?;
    let crashing = Behaviour {
        start: Start::Exits(1),
        restart_delay: Duration::from_millis(50),
        ..Behaviour::default()
    };
    node.set_behaviour(Selector::All, crashing).await;
    create(&client, "crashes", pod("one", node.name())).await?;
    let seen = wait_for(&client, "crashes", "one", "three restarts", |pod| pod.restarts() >= 3).await?;
    assert_eq!((seen.phase(), seen.ended()), ("Running", Some((1, "Error"))));
    node.set_behaviour(Selector::All, Behaviour::default()).await;
    wait_for(&client, "crashes", "one", "a ready pod", Seen::is_ready).await?;
    Ok(())
}

#[tokio::test]
async fn a_pod_is_evicted_in_the_kubelet_s_words() -> Result<()> {
    let (client, node) = place("evicts").await?;
    for (name, eviction, reason) in
        [("full", Eviction::Memory, "Evicted"), ("down", Eviction::Shutdown, "Terminated")]
    {
        create(&client, "evicts", pod(name, node.name())).await?;
        wait_for(&client, "evicts", name, "a ready pod", Seen::is_ready).await?;
        node.evict(name, eviction).await?;
        let seen = wait_for(&client, "evicts", name, "an eviction", |pod| pod.phase() == "Failed").await?;
        assert_eq!(seen.reason(), reason);
        assert_eq!(seen.condition("DisruptionTarget"), ("True", "TerminationByKubelet"));
    }
    Ok(())
}

#[tokio::test]
async fn what_keeps_a_pod_from_starting_is_seen_and_heals() -> Result<()> {
    let (client, node) = place("obstacles").await?;
    for (name, obstacle, seen_as) in [
        ("pull", Obstacle::Image("not found".into()), "ImagePullBackOff"),
        ("name", Obstacle::ImageName("couldn't parse image name".into()), "InvalidImageName"),
        ("secret", Obstacle::Configuration("secret \"x\" not found".into()), "CreateContainerConfigError"),
        ("mount", Obstacle::Mount("timed out waiting for the condition".into()), "ContainerCreating"),
    ] {
        node.set_behaviour(Selector::pod(name), Behaviour::waits(obstacle)).await;
        create(&client, "obstacles", pod(name, node.name())).await?;
        let seen = wait_for(&client, "obstacles", name, seen_as, |pod| pod.waits_for() == seen_as).await?;
        assert_eq!(seen.phase(), "Pending");
        let about = ListParams::default().fields(&format!("involvedObject.name={name},type=Warning"));
        let events: Api<Event> = Api::namespaced(client.clone(), "obstacles");
        eventually("an event that says why", || async {
            Ok((!events.list(&about).await?.items.is_empty()).then_some(()))
        })
        .await?;
        node.heal(name).await;
        wait_for(&client, "obstacles", name, "a ready pod", Seen::is_ready).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_real_controllers_notice_a_lost_node_and_its_pod_ends_when_it_comes_back() -> Result<()> {
    let options = Options { node_grace: Duration::from_secs(4), ..Options::default() };
    let control_plane = ControlPlane::start(options).await?;
    control_plane.create_namespace("lost").await?;
    let client = control_plane.client().await?;
    let node = Node::start(&control_plane, "lost").await?;
    let _well = Node::start(&control_plane, "well").await?;
    let made = create(&client, "lost", pod("one", "lost")).await?;
    wait_for(&client, "lost", "one", "a ready pod", Seen::is_ready).await?;
    node.lose();
    let deleted = |pod: &Seen| pod.0.metadata.deletion_timestamp.is_some();
    let seen = wait_for(&client, "lost", "one", "the taint's eviction", deleted).await?;
    assert!(!seen.is_ready());
    assert_eq!(seen.condition("DisruptionTarget"), ("True", "DeletionByTaintManager"));
    let nodes: Api<NodeObject> = Api::all(client.clone());
    let status = nodes.get("lost").await?.status.context("a node has a status")?;
    let ready = status.conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    assert_eq!(ready.map(|ready| ready.status), Some("Unknown".to_owned()));
    node.come_back().await?;
    wait_until_gone(&client, "lost", &made).await?;
    Ok(())
}

#[tokio::test]
async fn claims_get_volumes_grow_and_are_lost() -> Result<()> {
    let control_plane = ControlPlane::start(Options::default()).await?;
    control_plane.create_namespace("claims").await?;
    let client = control_plane.client().await?;
    let node = Node::start(&control_plane, "claims").await?;
    let storage = Storage::start(&control_plane).await?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), "claims");
    let phase = async |name: &str| -> Result<String> {
        let status = claims.get(name).await?.status;
        Ok(status.and_then(|status| status.phase).unwrap_or_default())
    };
    let becomes = async |name: &str, wanted: &str| {
        eventually(wanted, || async { Ok((phase(name).await? == wanted).then_some(())) }).await
    };

    create_claim(&client, "claims", "lazy", storage::STANDARD).await?;
    create_claim(&client, "claims", "eager", storage::IMMEDIATE).await?;
    becomes("eager", "Bound").await?;
    assert_eq!(phase("lazy").await?, "Pending");

    let mut user = pod("user", node.name());
    user["spec"]["volumes"] =
        json!([{ "name": "workspace", "persistentVolumeClaim": { "claimName": "lazy" } }]);
    user["spec"]["containers"][0]["volumeMounts"] =
        json!([{ "name": "workspace", "mountPath": "/workspace" }]);
    create(&client, "claims", user).await?;
    wait_for(&client, "claims", "user", "a ready pod", Seen::is_ready).await?;
    becomes("lazy", "Bound").await?;
    assert!(storage.directory("claims", "lazy").await?.is_dir());

    let bigger = r#"{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}"#;
    control_plane.kubectl(["-n", "claims", "patch", "pvc", "lazy", "-p", bigger]).await?;
    eventually("a grown claim", || async {
        let capacity = claims.get("lazy").await?.status.and_then(|status| status.capacity);
        Ok(capacity.and_then(|capacity| capacity.get("storage").cloned()).filter(|size| size.0 == "2Gi"))
    })
    .await?;

    storage.refuse("out of disks");
    create_claim(&client, "claims", "refused", storage::IMMEDIATE).await?;
    let events: Api<Event> = Api::namespaced(client.clone(), "claims");
    eventually("the refusal", || async {
        let told = events
            .list(&ListParams::default())
            .await?
            .items
            .into_iter()
            .any(|event| event.message.is_some_and(|message| message.contains("out of disks")));
        Ok(told.then_some(()))
    })
    .await?;
    storage.serve().await?;
    becomes("refused", "Bound").await?;

    storage.lose("claims", "eager").await?;
    becomes("eager", "Lost").await
}

#[tokio::test]
async fn a_real_process_has_its_volumes_and_a_token_that_is_bound_to_its_pod() -> Result<()> {
    let control_plane = ControlPlane::start(Options::default()).await?;
    control_plane.create_namespace("real").await?;
    let client = control_plane.client().await?;
    let node = Node::start(&control_plane, "real").await?;
    let storage = Storage::start(&control_plane).await?;
    let shell = Program { path: PathBuf::from("/bin/sh"), ..Program::default() };
    let behaviour = Behaviour { container: Container::Process(shell), ..Behaviour::default() };
    node.set_behaviour(Selector::All, behaviour).await;
    create_claim(&client, "real", "ws-one", storage::STANDARD).await?;

    let script = "cp \"$0\" \"$1/token\"; echo \"$NAME\" >> \"$1/name\"; \
                  trap 'echo stopped >> \"$1/name\"; exit 7' TERM; while :; do sleep 0.05; done";
    let mut one = pod("one", node.name());
    one["spec"]["volumes"] = json!([
        { "name": "workspace", "persistentVolumeClaim": { "claimName": "ws-one" } },
        { "name": "token", "projected": { "sources": [{ "serviceAccountToken":
            { "audience": "gadget-hub", "expirationSeconds": 600, "path": "token" } }] } },
    ]);
    let container = &mut one["spec"]["containers"][0];
    container["args"] = json!(["-c", script, "/var/run/secrets/gadgetcode.dev/token", "/workspace"]);
    container["env"] =
        json!([{ "name": "NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }]);
    container["volumeMounts"] = json!([
        { "name": "workspace", "mountPath": "/workspace" },
        { "name": "token", "mountPath": "/var/run/secrets/gadgetcode.dev" },
    ]);
    let made = create(&client, "real", one).await?;
    wait_for(&client, "real", "one", "a ready pod", Seen::is_ready).await?;
    let workspace = storage.directory("real", "ws-one").await?;
    let token = eventually("the token in the workspace", || async {
        let name = std::fs::read_to_string(workspace.join("name")).unwrap_or_default();
        Ok(name.starts_with("one\n").then(|| std::fs::read_to_string(workspace.join("token"))))
    })
    .await??;
    ensure!(review(&client, &token).await?["authenticated"] == true, "the token is not good");
    let status = review(&client, &token).await?;
    assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["one"]));

    node.exit("one", 9).await?;
    let seen =
        wait_for(&client, "real", "one", "a restart", |pod| pod.is_ready() && pod.restarts() == 1).await?;
    assert_eq!(seen.ended(), Some((9, "Error")));
    eventually("the second process", || async {
        let name = std::fs::read_to_string(workspace.join("name")).unwrap_or_default();
        Ok((name == "one\none\n").then_some(()))
    })
    .await?;
    Api::<Pod>::namespaced(client.clone(), "real").delete("one", &DeleteParams::default()).await?;
    wait_until_gone(&client, "real", &made).await?;
    assert_eq!(std::fs::read_to_string(workspace.join("name"))?, "one\none\nstopped\n");
    // The API server itself keeps an answer for ten seconds.
    eventually("a token that ends with its pod", || async {
        Ok(review(&client, &token).await?.get("authenticated").is_none().then_some(()))
    })
    .await?;
    assert_eq!(node.complaints(), Vec::<String>::new());
    Ok(())
}

/// What the API server says of a drone's token.
async fn review(client: &Client, token: &str) -> Result<serde_json::Value> {
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": { "token": token, "audiences": ["gadget-hub"] },
    });
    let request = http::Request::post("/apis/authentication.k8s.io/v1/tokenreviews")
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&review)?)?;
    let answer: serde_json::Value = client.request(request).await?;
    Ok(answer["status"].clone())
}

//! A release's life on the real API server: installed, upgraded, rolled back, uninstalled, with sessions that live on.
//! The operator is the real one, started as the chart says; nodes are played.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::control_plane::process::Process;
use tests::deadline::eventually;

use crate::cluster::Cluster;
use crate::rendered::{NAMESPACE, RELEASE, described, directory, root};

/// The chart as it was released before, to upgrade from.
fn previous() -> Result<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests/chart/previous"))?;
    let mut packages = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    packages.retain(|path| path.extension().is_some_and(|extension| extension == "tgz"));
    packages.pop().context("no package of the previous chart")
}

/// As a person makes one: five lines.
pub(crate) fn session(name: &str) -> String {
    format!(
        "apiVersion: gadgetcode.dev/v1alpha1\nkind: ChatSession\nmetadata: {{ name: {name} }}\n\
         spec:\n  user: ada\n  project: {{ slug: shop }}\n"
    )
}

/// What must not change under a session: its own objects, its pod, its workspace.
async fn sessions(cluster: &Cluster) -> Result<BTreeMap<String, Value>> {
    let mut found = cluster.items(&["chatsessions,droneregistrations"]).await?;
    let ours = "app.kubernetes.io/managed-by=gadget-operator";
    found.extend(cluster.items(&["pods,persistentvolumeclaims", "--selector", ours]).await?);
    let lasting = |object: &Value| {
        let (metadata, status) = (&object["metadata"], &object["status"]);
        json!({
            "uid": metadata["uid"],
            "generation": metadata["generation"],
            "deleted": metadata["deletionTimestamp"],
            "spec": object["spec"],
            "phase": status["phase"],
            "started": status["startTime"],
            "restarts": status["containerStatuses"][0]["restartCount"],
        })
    };
    Ok(found.iter().map(|object| (described(object), lasting(object))).collect())
}

/// As the pod of the Deployment is when its successor comes.
async fn replaced(cluster: &Cluster, mut old: Process, name: &str) -> Result<Process> {
    old.signal(Signal::SIGTERM)?;
    old.wait().await?;
    let new = cluster.run("operator", name).await?;
    leads(cluster, name).await?;
    Ok(new)
}

async fn leads(cluster: &Cluster, name: &str) -> Result<()> {
    eventually(&format!("{name} to lead"), || async {
        let leases = cluster.items(&["leases", "--field-selector=metadata.name=gadget-operator"]).await?;
        Ok(leases.iter().any(|lease| lease["spec"]["holderIdentity"] == name).then_some(()))
    })
    .await
}

const DEFINITION: [&str; 2] = ["crd", "chatsessions.gadgetcode.dev"];
const STORE: [&str; 2] = ["pvc", "gadget-hub"];

#[tokio::test]
async fn sessions_live_through_upgrade_rollback_and_uninstall() -> Result<()> {
    let cluster = Cluster::start().await?;
    let (previous, chart) = (previous()?, directory("gadget"));
    let (previous, chart) = (previous.to_str().unwrap(), chart.to_str().unwrap());

    let notes = cluster.helm(&["install", RELEASE, previous]).await?;
    assert!(notes.contains("STATUS: deployed"), "{notes}");
    cluster.rolled_out("hub", 1, "gadget-hub:0.0.9").await?;
    cluster.rolled_out("operator", 1, "gadget-operator:0.0.9").await?;
    let operator = cluster.run("operator", "operator-1").await?;
    for name in ["one", "two", "three"] {
        cluster.create(&session(name)).await?;
    }
    let wait = ["wait", "--for=condition=Ready", "chat", "--all", "--timeout=50s", "--namespace", NAMESPACE];
    let ready = cluster.control_plane.kubectl(wait).await;
    ready.with_context(|| operator.complaints())?;
    let before = sessions(&cluster).await?;
    assert_eq!(before.len(), 12, "three of each: {before:?}");
    let (definition, store) = (cluster.uid(&DEFINITION).await?, cluster.uid(&STORE).await?);
    let image = cluster.get(&["pod", "one"]).await?["spec"]["containers"][0]["image"].clone();
    assert_eq!(image, "gadget-drone:0.0.9");

    let changes = "--set=operator.replicas=2,drones.class.idleTimeout=1h,networkPolicy.drones.internet=false";
    let upgraded = cluster.helm(&["upgrade", RELEASE, chart, changes]).await?;
    assert!(upgraded.contains("REVISION: 2"), "{upgraded}");
    cluster.rolled_out("hub", 1, "gadget-hub:0.1.0").await?;
    cluster.rolled_out("operator", 2, "gadget-operator:0.1.0").await?;
    let operator = replaced(&cluster, operator, "operator-2").await?;
    // What starts from now on is of the new release; what runs is not touched.
    eventually("the class to follow the chart", || async {
        let class = cluster.get(&["droneclass", "default"]).await?;
        let followed = class["spec"]["image"] == "gadget-drone:0.1.0" && class["spec"]["idleTimeout"] == "1h";
        Ok(followed.then_some(()))
    })
    .await?;
    assert_eq!(sessions(&cluster).await?, before);

    cluster.helm(&["rollback", RELEASE, "1"]).await?;
    cluster.rolled_out("hub", 1, "gadget-hub:0.0.9").await?;
    cluster.rolled_out("operator", 1, "gadget-operator:0.0.9").await?;
    let operator = replaced(&cluster, operator, "operator-3").await?;
    assert_eq!(sessions(&cluster).await?, before);
    assert_eq!(cluster.uid(&DEFINITION).await?, definition);
    assert_eq!(cluster.uid(&STORE).await?, store);
    drop(operator);

    let said = cluster.helm(&["uninstall", RELEASE]).await?;
    for kept in [
        "These resources were kept due to the resource policy:",
        "[CustomResourceDefinition] chatsessions.gadgetcode.dev",
        "[CustomResourceDefinition] droneregistrations.gadgetcode.dev",
        "[CustomResourceDefinition] droneclasses.gadgetcode.dev",
        "[PersistentVolumeClaim] gadget-hub",
    ] {
        assert!(said.contains(kept), "{said}");
    }
    assert_eq!(said.matches("\n[").count(), 4, "more stays than is wanted: {said}");
    let ended = "deployments,services,roles,rolebindings,networkpolicies";
    assert_eq!(cluster.items(&[ended]).await?, Vec::<Value>::new());
    assert_eq!(sessions(&cluster).await?, before);
    assert_eq!(cluster.uid(&DEFINITION).await?, definition);
    assert_eq!(cluster.uid(&STORE).await?, store);

    // What stayed is taken over by a release of the same name.
    cluster.helm(&["install", RELEASE, chart]).await?;
    cluster.rolled_out("hub", 1, "gadget-hub:0.1.0").await?;
    let _operator = cluster.run("operator", "operator-4").await?;
    leads(&cluster, "operator-4").await?;
    assert_eq!(sessions(&cluster).await?, before);
    assert_eq!(cluster.uid(&STORE).await?, store);
    Ok(())
}

#[tokio::test]
async fn the_notes_say_the_next_two_commands_and_what_uninstall_keeps() -> Result<()> {
    let cluster = Cluster::start().await?;
    let chart = directory("gadget");
    let install = ["install", RELEASE, chart.to_str().unwrap(), "--dry-run=server"];
    let notes = async |more: &[&str]| -> Result<String> {
        let told = cluster.helm(&[&install[..], more].concat()).await?;
        Ok(told.split_once("\nNOTES:\n").context("no notes")?.1.to_owned())
    };
    let told = notes(&[]).await?;
    for line in [
        "kubectl -n tools port-forward svc/gadget-hub 8420:8420",
        "kubectl -n tools exec deploy/gadget-hub -- gadget-hub invite admin",
        "helm test gadget -n tools --logs",
        "kubectl -n tools get chat",
        "No model is configured: the demo tour answers, which is scripted.",
        "`helm uninstall gadget -n tools` keeps:",
        "  the definitions of the resources, and with them every session",
        "  the hub's store: claim gadget-hub in tools",
        "  the sessions' workspaces: claims ws-* in tools",
        "  kubectl -n tools delete chat --all",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let told = notes(&[
        "--set=ingress.enabled=true,ingress.host=gadget.example,ingress.tlsSecret=tls",
        "--set=hub.admin.email=ada@example.org,hub.admin.existingSecret=admin",
        "--set=store.keep=false,crds.keep=false,providers.ollama.url=http://ollama:11434",
    ])
    .await?;
    assert!(told.contains("1. Sign in at https://gadget.example as ada@example.org."), "{told}");
    for absent in ["port-forward", "invite", "the hub's store", "the definitions", "No model"] {
        assert!(!told.contains(absent), "{absent}: {told}");
    }
    Ok(())
}

#[tokio::test]
async fn two_releases_share_a_cluster() -> Result<()> {
    let cluster = Cluster::start().await?;
    let control_plane = &cluster.control_plane;
    control_plane.create_namespace("second").await?;
    let chart = directory("gadget");
    let chart = chart.to_str().unwrap();
    cluster.helm(&["install", "gadget", chart]).await?;
    let second = ["install", "gadget", chart, "--namespace", "second"];
    let refused = control_plane.try_helm(second).await?;
    assert!(!refused.success && refused.stderr.contains("chatsessions.gadgetcode.dev"), "{}", refused.stderr);
    control_plane.helm([&second[..], &["--set=crds.install=false"]].concat()).await?;
    control_plane.helm(["uninstall", "gadget", "--namespace", "second"]).await?;
    let reviews = ["get", "clusterrole", "tools-gadget-token-review", "-o", "name"];
    let reviews = control_plane.kubectl(reviews).await?;
    assert_eq!(reviews, "clusterrole.rbac.authorization.k8s.io/tools-gadget-token-review\n");
    Ok(())
}

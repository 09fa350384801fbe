//! Sessions that worked, and what became of them; and nodes that take no pods.

use anyhow::{Result, ensure};
use crds::DroneRegistration;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::DeleteParams;
use serde_json::Value;
use tests::release::{Release, kubectl};

use super::faults::Make;
use super::{in_namespace, make, says};
use crate::node::not_here;
use crate::person::Person;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_says_what_became_of_a_session_that_worked() -> Result<()> {
    let release = Release::install().await?;
    let person = Person::signed_in().await?;
    let make_with = Make { image: release.drone_image().await?, user: "admin" };
    let names = ["filled", "moved", "stopped", "lost", "sleepy", "ended"];
    let all: Vec<Value> = names.iter().flat_map(|name| make_with.small(name)).collect();
    make(&all).await?;
    for name in names {
        release.ready(name).await?;
    }

    // More in /tmp than it may hold: the node looks now and then.
    release.in_pod("filled", "head -c 1100M /dev/zero >/tmp/much").await?;

    in_namespace(&["delete", "pod", "moved", "--wait=false"]).await?;
    says(&person, "moved", &["moved is ready\n", "PodDeleted"]).await?;

    person.said(&["suspend", "stopped", "--wait"]).await?;
    says(&person, "stopped", &["stopped is suspended", "a person suspended it", "gadget resume stopped"])
        .await?;

    release.sleeps_after("sleepy", "3s").await?;
    says(&person, "sleepy", &["is suspended", "nobody worked there", "the next prompt wakes it"]).await?;

    person.said(&["terminate", "ended", "--wait"]).await?;
    says(&person, "ended", &["ended is suspended", "gadget resume ended"]).await?;
    release.gone::<DroneRegistration>("ended").await?;

    person.said(&["suspend", "lost", "--wait"]).await?;
    release.api::<PersistentVolumeClaim>().delete("ws-lost", &DeleteParams::default()).await?;
    release.gone::<PersistentVolumeClaim>("ws-lost").await?;
    person.said(&["resume", "lost"]).await?;
    says(&person, "lost", &["has failed: WorkspaceGone", "'ws-lost'", "from a backup"]).await?;

    says(&person, "filled", &["filled is ready\n", "Evicted", "EmptyDir", "1Gi"]).await?;
    release.remove().await
}

/// A cluster that is another's keeps its nodes as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_says_that_nodes_take_no_pods_and_how_they_would() -> Result<()> {
    if std::env::var_os("GADGET_CLUSTER_NODE").is_none() {
        return not_here("nodes are cordoned in one of `cargo xtask cluster` alone");
    }
    let release = Release::install().await?;
    let nodes = kubectl(&["get", "nodes", "--output=name"]).await?;
    let node = nodes.trim();
    ensure!(node.lines().count() == 1, "{nodes}");
    let told = closed(&release, node).await;
    // An error if it was taken off, as it should be.
    let _taken_off_already = taint(&format!("{TAINT}-")).await;
    kubectl(&["uncordon", node]).await?;
    told?;
    release.remove().await
}

const TAINT: &str = "gadget-test";

async fn taint(how: &str) -> Result<()> {
    kubectl(&["taint", "nodes", "--all", how]).await.map(drop)
}

async fn closed(release: &Release, node: &str) -> Result<()> {
    let person = Person::signed_in().await?;
    let make_with = Make { image: release.drone_image().await?, user: "admin" };
    kubectl(&["cordon", node]).await?;
    make(&make_with.small("cordoned")).await?;
    says(&person, "cordoned", &["Unschedulable", "were unschedulable", "kubectl uncordon"]).await?;
    kubectl(&["uncordon", node]).await?;
    says(&person, "cordoned", &["cordoned is ready\n"]).await?;

    taint(&format!("{TAINT}=others:NoSchedule")).await?;
    make(&make_with.small("tainted")).await?;
    says(&person, "tainted", &["Unschedulable", "untolerated taint", "tolerations in the DroneClass"])
        .await?;
    taint(&format!("{TAINT}-")).await?;
    says(&person, "tainted", &["tainted is ready\n"]).await
}

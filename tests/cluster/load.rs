//! Many sessions on one node: they start together, work, lose the node and have it again, and leave nothing behind.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::ListParams;
use protocol::value::ChatTurnStatus;
use tests::release::{NAMESPACE, Release, fed, kubectl, program, until};
use tests::screen::Order;

use crate::node::OwnNode;

/// `GADGET_LOAD_SESSIONS` asks for more.
const SESSIONS: usize = 20;

const AT_ONCE: usize = 10;

/// A node holds 110 pods, whatever little they ask for.
const LITTLE: [&str; 2] = ["requests.memory=16Mi", "requests.cpu=1m"];

fn sessions() -> Result<usize> {
    let Ok(wanted) = std::env::var("GADGET_LOAD_SESSIONS") else { return Ok(SESSIONS) };
    wanted.parse().context("GADGET_LOAD_SESSIONS is no number")
}

/// The drones' pods: names and uids.
async fn drones(release: &Release) -> Result<BTreeMap<String, String>> {
    let of_drones = ListParams::default().labels("app.kubernetes.io/component=drone");
    let pods = release.api::<Pod>().list(&of_drones).await?.items;
    Ok(pods.iter().map(|pod| (pod.name_any(), pod.uid().unwrap_or_default())).collect())
}

async fn all_ready() -> Result<()> {
    let ready = ["wait", "--for=condition=Ready", "chat", "--all", "--timeout=150s"];
    kubectl(&[&["--namespace", NAMESPACE][..], &ready].concat()).await.map(drop)
}

/// One turn in each session, so many at the same time as two processors do within a test's patience.
async fn work(release: &Release, wanted: usize, prompt: &str) -> Result<()> {
    let turns = (0..wanted).map(async |number| {
        let (ide, _document) = release.open(&format!("many-{number}")).await?;
        let turn = ide.prompt(prompt).await?;
        let status = ide.finished(&turn).await;
        let status =
            status.with_context(|| format!("many-{number}: {:?}, {:?}", ide.names(&turn), ide.heard()))?;
        ensure!(status == ChatTurnStatus::Finished, "a turn ended as {status:?}");
        ensure!(ide.order() == Order::default(), "{:?}", ide.order());
        ide.close().await
    });
    stream::iter(turns).buffer_unordered(AT_ONCE).try_collect().await
}

/// Control groups and mounts of these pods.
fn left_on(node: &OwnNode, uids: &[String]) -> Result<Vec<String>> {
    let mut found = control_groups(Path::new("/sys/fs/cgroup"))?;
    found.extend(node.mounts()?.lines().map(str::to_owned));
    found.retain(|place| uids.iter().any(|uid| place.contains(uid.as_str())));
    Ok(found)
}

fn control_groups(directory: &Path) -> Result<Vec<String>> {
    let mut groups = Vec::new();
    // One that goes while it is looked at is gone.
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(groups) };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            groups.push(entry.path().to_string_lossy().into_owned());
            groups.extend(control_groups(&entry.path())?);
        }
    }
    Ok(groups)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_start_work_outlive_a_drain_and_leave_nothing_on_the_node() -> Result<()> {
    let wanted = sessions()?;
    let little = LITTLE.map(|of| format!("drones.class.resources.{of}"));
    let release = Release::install_with(&["--set", &little[0], "--set", &little[1]]).await?;
    let mut manifests = String::new();
    for number in 0..wanted {
        writeln!(
            manifests,
            "---\napiVersion: gadgetcode.dev/v1alpha1\nkind: ChatSession\nmetadata: {{ name: many-{number} }}\n\
             spec: {{ user: admin, project: {{ slug: many-{number} }}, workspace: {{ retention: Delete }} }}"
        )?;
    }
    let apply = ["--namespace", NAMESPACE, "apply", "--filename", "-"];
    fed(program("kubectl")?.args(apply), manifests.as_bytes()).await?;
    all_ready().await?;
    work(&release, wanted, "Start the tour.").await?;

    // The hub and the operator go with them.
    let before = drones(&release).await?;
    ensure!(before.len() == wanted, "{} pods for {wanted} sessions", before.len());
    let nodes = kubectl(&["get", "nodes", "--output=name"]).await?;
    let node = nodes.trim().trim_start_matches("node/");
    let drained = kubectl(&["drain", node, "--force", "--delete-emptydir-data", "--timeout=150s"]).await;
    kubectl(&["uncordon", node]).await?;
    drained?;
    let after = until("every session to have another pod", async || {
        let now = drones(&release).await?;
        let is_new = |(name, uid): (&String, &String)| before.get(name).is_some_and(|old| old != uid);
        Ok((now.len() == wanted && now.iter().all(is_new)).then_some(now))
    })
    .await?;
    all_ready().await?;
    // What the tour has changed is there.
    work(&release, wanted, "show the diff").await?;
    for number in 0..wanted {
        let changed =
            release.in_pod(&format!("many-{number}"), "git -C /workspace/* diff --shortstat").await?;
        ensure!(changed.contains("1 file changed"), "many-{number}: {changed:?}");
    }

    kubectl(&["--namespace", NAMESPACE, "delete", "chat", "--all"]).await?;
    until("pods and claims to be gone", async || {
        let claims = release.api::<PersistentVolumeClaim>().list(&ListParams::default()).await?;
        let of_sessions = claims.items.iter().any(|claim| claim.name_any().starts_with("ws-"));
        Ok((drones(&release).await?.is_empty() && !of_sessions).then_some(()))
    })
    .await?;
    if let Some(own) = OwnNode::find() {
        let uids: Vec<String> = before.into_values().chain(after.into_values()).collect();
        until("control groups and mounts to be gone", async || {
            Ok(left_on(&own, &uids)?.is_empty().then_some(()))
        })
        .await?;
    }
    release.remove().await
}

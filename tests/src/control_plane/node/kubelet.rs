//! What a node does besides its pods: it registers, sends heartbeats, and hands each pod that is bound to it to a worker.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::control_plane::node::NodeOptions;
use crate::control_plane::node::shared::Shared;
use crate::control_plane::node::worker::{Message, Worker, now};
use crate::deadline::eventually;

const HEARTBEAT: Duration = Duration::from_secs(1);
/// More than a worker can have before it reads: it is told of each change of one pod.
const INBOX: usize = 256;

/// Of each pod by its uid. A lock because tests look pods up while the kubelet adds them; held for one look.
pub(super) type Workers = Arc<Mutex<HashMap<String, WorkerHandle>>>;

#[derive(Clone, Debug)]
pub(super) struct WorkerHandle {
    pub pod: Pod,
    pub inbox: mpsc::Sender<Message>,
}

pub(super) async fn register(shared: &Shared, options: &NodeOptions) -> Result<()> {
    let NodeOptions { name, cpu, memory, pods, labels } = options;
    let nodes: Api<Node> = Api::all(shared.client());
    let mut all = labels.clone();
    all.insert("kubernetes.io/hostname".to_owned(), name.clone());
    all.insert("kubernetes.io/os".to_owned(), "linux".to_owned());
    all.insert("kubernetes.io/arch".to_owned(), "amd64".to_owned());
    let node = Node {
        metadata: ObjectMeta { name: Some(name.clone()), labels: Some(all), ..ObjectMeta::default() },
        ..Node::default()
    };
    nodes.create(&PostParams::default(), &node).await.context("failed to register a node")?;
    let room =
        json!({ "cpu": cpu, "memory": memory, "pods": pods.to_string(), "ephemeral-storage": "1000Gi" });
    let status = json!({
        "capacity": room,
        "allocatable": room,
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }, { "type": "Hostname", "address": name }],
        "nodeInfo": {
            "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "simulated://1",
            "kernelVersion": "6", "kubeProxyVersion": "v1.34.4", "kubeletVersion": "v1.34.4", "machineID": "",
            "operatingSystem": "linux", "osImage": "simulated", "systemUUID": "",
        },
    });
    let patch = Patch::Merge(json!({ "status": status }));
    nodes.patch_status(name, &PatchParams::default(), &patch).await?;
    beat(shared).await?;
    set_condition(shared, true).await?;
    eventually("a node without taints", || async {
        let taints = nodes.get(name).await?.spec.and_then(|spec| spec.taints).unwrap_or_default();
        Ok(taints.is_empty().then_some(()))
    })
    .await
}

/// What the kubelet says of itself.
pub(super) async fn set_condition(shared: &Shared, ready: bool) -> Result<()> {
    let nodes: Api<Node> = Api::all(shared.client());
    let condition = |kind: &str, is: bool, reason: &str| {
        let status = if is { "True" } else { "False" };
        json!({ "type": kind, "status": status, "reason": reason, "message": reason,
            "lastHeartbeatTime": now(), "lastTransitionTime": now() })
    };
    let reason = if ready { "KubeletReady" } else { "KubeletNotReady" };
    let conditions = [
        condition("Ready", ready, reason),
        condition("MemoryPressure", false, "KubeletHasSufficientMemory"),
        condition("DiskPressure", false, "KubeletHasNoDiskPressure"),
        condition("PIDPressure", false, "KubeletHasSufficientPID"),
    ];
    let patch = Patch::Strategic(json!({ "status": { "conditions": conditions } }));
    shared
        .insist(async || nodes.patch_status(shared.node(), &PatchParams::default(), &patch).await.map(drop))
        .await
}

async fn beat(shared: &Shared) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(shared.client(), "kube-node-lease");
    let lease = Lease {
        metadata: ObjectMeta { name: Some(shared.node().to_owned()), ..ObjectMeta::default() },
        spec: Some(LeaseSpec {
            holder_identity: Some(shared.node().to_owned()),
            lease_duration_seconds: Some(40),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    };
    let apply = PatchParams::apply("kubelet").force();
    // The namespace is made by the API server, which may take a moment.
    eventually("the heartbeat of a node", || async {
        match leases.patch(shared.node(), &apply, &Patch::Apply(&lease)).await {
            Ok(_) => Ok(Some(())),
            Err(kube::Error::Api(status)) if status.code != 404 => Err(kube::Error::Api(status).into()),
            Err(_) => Ok(None),
        }
    })
    .await
}

/// Until the node is dropped.
pub(super) async fn heartbeats(shared: Shared) {
    let mut interval = tokio::time::interval(HEARTBEAT);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        shared.reachable().await;
        if let Err(error) = beat(&shared).await {
            shared.complain(format!("{error:#}"));
        }
    }
}

/// Until the node is dropped. Workers end with it.
pub(super) async fn run(shared: Shared, workers: Workers) {
    let mut tasks = JoinSet::new();
    let mut lost = shared.lost();
    loop {
        shared.reachable().await;
        let pods: Api<Pod> = Api::all(shared.client());
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", shared.node()));
        let mut events = std::pin::pin!(watcher::watcher(pods, config));
        let mut listed = HashSet::new();
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                _ = lost.wait_for(|lost| *lost) => break,
                Some(_) = tasks.join_next() => continue,
            };
            match event {
                Some(Ok(Event::Init)) => listed.clear(),
                Some(Ok(Event::InitApply(pod))) => {
                    listed.insert(pod.uid().unwrap_or_default());
                    tell(&shared, &workers, &mut tasks, pod).await;
                }
                Some(Ok(Event::InitDone)) => {
                    let known = entries(&workers, |workers| workers.keys().cloned().collect::<Vec<_>>());
                    for uid in known.into_iter().filter(|uid| !listed.contains(uid)) {
                        forget(&workers, &uid).await;
                    }
                }
                Some(Ok(Event::Apply(pod))) => tell(&shared, &workers, &mut tasks, pod).await,
                Some(Ok(Event::Delete(pod))) => forget(&workers, &pod.uid().unwrap_or_default()).await,
                Some(Err(_away)) => tokio::time::sleep(Duration::from_millis(50)).await,
                None => break,
            }
        }
    }
}

async fn tell(shared: &Shared, workers: &Workers, tasks: &mut JoinSet<()>, pod: Pod) {
    let uid = pod.uid().unwrap_or_default();
    let known = entries(workers, |workers| {
        let known = workers.get_mut(&uid)?;
        known.pod = pod.clone();
        Some(known.inbox.clone())
    });
    if let Some(inbox) = known {
        let _ended = inbox.send(Message::Is(Box::new(pod))).await;
        return;
    }
    let (sender, inbox) = mpsc::channel(INBOX);
    let handle = WorkerHandle { pod: pod.clone(), inbox: sender };
    entries(workers, |workers| workers.insert(uid, handle));
    tasks.spawn(Worker::new(shared.clone(), inbox, pod).run());
}

async fn forget(workers: &Workers, uid: &str) {
    if let Some(handle) = entries(workers, |workers| workers.remove(uid)) {
        let _ended = handle.inbox.send(Message::Gone).await;
    }
}

pub(super) fn entries<R>(workers: &Workers, look: impl FnOnce(&mut HashMap<String, WorkerHandle>) -> R) -> R {
    look(&mut workers.lock().unwrap_or_else(PoisonError::into_inner))
}

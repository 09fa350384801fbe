//! Scheduler, volumes and kubelet, played as cheaply as can be and the same for all columns: three writes bring a pod
//! to ready (its binding beside its claim's, then its status), one ends it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::core::ApiResource;
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::task::JoinSet;

use super::watch::{self, Slim};
use super::write::{Kind, Writer};

const NODE: &str = "node-1";

#[derive(Clone)]
struct Nodes {
    writer: Writer,
    /// Claims that have their volume. A lock because pods start side by side; held for one look.
    bound: Arc<Mutex<HashSet<String>>>,
}

/// Until it is dropped.
pub(super) fn start(client: Client) -> JoinSet<()> {
    let nodes = Nodes { writer: Writer::new(client.clone()), bound: Arc::default() };
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut pods = JoinSet::new();
        let mut known = HashSet::new();
        let mut ending = HashSet::new();
        let each = watch::each(client, ApiResource::erase::<Pod>(&()), |_, pod| {
            while pods.try_join_next().is_some() {}
            let Some(pod) = pod else { return };
            let uid = pod.uid().unwrap_or_default();
            if pod.metadata.deletion_timestamp.is_some() {
                if ending.insert(uid) {
                    pods.spawn(nodes.clone().end(pod));
                }
            } else if pod.spec.node_name.is_none() && known.insert(uid) {
                pods.spawn(nodes.clone().run(pod));
            }
        });
        each.await;
    });
    tasks
}

impl Nodes {
    async fn run(self, pod: Slim) {
        if let Err(error) = self.make_ready(&pod).await {
            // Such as for a pod that is deleted meanwhile.
            tracing::debug!("the played node failed with {}: {error:#}", pod.name_any());
        }
    }

    async fn end(self, pod: Slim) {
        if let Err(error) = self.writer.delete(Kind::Pod, &pod.name_any()).await {
            tracing::debug!("the played node failed to end {}: {error:#}", pod.name_any());
        }
    }

    async fn make_ready(&self, pod: &Slim) -> Result<()> {
        let name = pod.name_any();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
            "target": { "apiVersion": "v1", "kind": "Node", "name": NODE },
        });
        let (bound, claimed) = tokio::join!(self.writer.bind(&name, &binding), self.bind_claims(pod));
        bound?;
        claimed?;
        self.writer.patch_status(Kind::Pod, &name, &ready(pod)).await
    }

    async fn bind_claims(&self, pod: &Slim) -> Result<()> {
        for volume in &pod.spec.volumes {
            let Some(claim) = &volume.persistent_volume_claim else { continue };
            let is_new =
                self.bound.lock().unwrap_or_else(PoisonError::into_inner).insert(claim.claim_name.clone());
            if is_new {
                let status = json!({ "phase": "Bound", "capacity": { "storage": "10Gi" } });
                let patch = json!({ "status": status });
                self.writer.patch_status(Kind::Claim, &claim.claim_name, &patch).await?;
            }
        }
        Ok(())
    }
}

fn ready(pod: &Slim) -> serde_json::Value {
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": now });
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    let containers = pod.spec.containers.iter().map(|container| {
        json!({
            "name": container.name, "image": "drone:1", "imageID": "drone:1", "ready": true, "started": true,
            "restartCount": 0, "state": { "running": { "startedAt": now } },
        })
    });
    json!({ "status": {
        "phase": "Running", "hostIP": "127.0.0.1", "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }],
        "startTime": now, "conditions": conditions, "containerStatuses": containers.collect::<Vec<_>>(),
    }})
}

//! Pods as a controller would make them, and looks at them.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tests::deadline::eventually;

/// For one node, as the standard `restricted` wants it.
pub(crate) fn pod(name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": {
            "restartPolicy": "OnFailure",
            "nodeSelector": { "kubernetes.io/hostname": node },
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "drone",
                "image": "drone:1",
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    })
}

pub(crate) async fn create(client: &Client, namespace: &str, pod: Value) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    Ok(pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?)
}

pub(crate) async fn create_claim(client: &Client, namespace: &str, name: &str, class: &str) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let claim = json!({
        "metadata": { "name": name },
        "spec": {
            "accessModes": ["ReadWriteOncePod"],
            "storageClassName": class,
            "resources": { "requests": { "storage": "1Gi" } },
        },
    });
    claims.create(&PostParams::default(), &serde_json::from_value(claim)?).await?;
    Ok(())
}

/// Waits until the pod looks as it should.
pub(crate) async fn wait_for(
    client: &Client,
    namespace: &str,
    name: &str,
    what: &str,
    is: impl Fn(&Seen) -> bool,
) -> Result<Seen> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let found =
        eventually(what, || async { Ok(pods.get_opt(name).await?.map(Seen).filter(|seen| is(seen))) }).await;
    let last = pods.get_opt(name).await?.and_then(|pod| pod.status);
    found.with_context(|| format!("the pod {name} is {last:#?}"))
}

pub(crate) async fn wait_until_gone(client: &Client, namespace: &str, pod: &Pod) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let (name, uid) = (pod.name_any(), pod.uid());
    eventually(&format!("the end of the pod {name}"), || async {
        let found = pods.get_opt(&name).await?;
        Ok(found.is_none_or(|found| found.uid() != uid).then_some(()))
    })
    .await
}

/// A pod, with what tests ask of it.
pub(crate) struct Seen(pub(crate) Pod);

impl Seen {
    pub(crate) fn phase(&self) -> &str {
        self.0.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
    }

    pub(crate) fn condition(&self, kind: &str) -> (&str, &str) {
        let conditions = self.0.status.as_ref().and_then(|status| status.conditions.as_deref());
        let found = conditions.unwrap_or_default().iter().find(|condition| condition.type_ == kind);
        found
            .map(|found| (found.status.as_str(), found.reason.as_deref().unwrap_or_default()))
            .unwrap_or_default()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.condition("Ready").0 == "True"
    }

    pub(crate) fn reason(&self) -> &str {
        self.0.status.as_ref().and_then(|status| status.reason.as_deref()).unwrap_or_default()
    }

    pub(crate) fn waits_for(&self) -> &str {
        let state = self.container().and_then(|container| container.state.as_ref());
        let waiting = state.and_then(|state| state.waiting.as_ref());
        waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default()
    }

    pub(crate) fn restarts(&self) -> i32 {
        self.container().map(|container| container.restart_count).unwrap_or_default()
    }

    /// How its container ended before the last restart, or for good.
    pub(crate) fn ended(&self) -> Option<(i32, &str)> {
        let container = self.container()?;
        let state = container.state.as_ref().and_then(|state| state.terminated.as_ref());
        let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let ended = state.or(last)?;
        Some((ended.exit_code, ended.reason.as_deref().unwrap_or_default()))
    }

    fn container(&self) -> Option<&k8s_openapi::api::core::v1::ContainerStatus> {
        self.0.status.as_ref()?.container_statuses.as_ref()?.first()
    }
}

//! Requests to the API server as text: what is measured should not be what a bench spends on types.

use anyhow::{Context as _, Result};
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use serde::Deserialize;
use serde_json::Value;

/// Where all columns have their sessions.
pub(super) const NAMESPACE: &str = "drones";

/// A namespaced kind by the path under which the API server has it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Session,
    Drone,
    Sandbox,
    Claim,
    Pod,
}

impl Kind {
    fn path(self) -> String {
        let (group, plural) = match self {
            Self::Session => ("apis/gadgetcode.dev/v1alpha1", "chatsessions"),
            Self::Drone => ("apis/gadgetcode.dev/v1alpha1", "droneregistrations"),
            Self::Sandbox => ("apis/agents.x-k8s.io/v1beta1", "sandboxes"),
            Self::Claim => ("api/v1", "persistentvolumeclaims"),
            Self::Pod => ("api/v1", "pods"),
        };
        format!("/{group}/namespaces/{NAMESPACE}/{plural}")
    }
}

#[derive(Clone)]
pub(super) struct Writer {
    client: Client,
}

#[derive(Deserialize)]
struct Answer {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    uid: String,
}

impl Writer {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) async fn get(&self, kind: Kind, name: &str) -> Result<Value> {
        let request = Request::new(kind.path()).get(name, &kube::api::GetParams::default())?;
        self.client.request(request).await.with_context(|| format!("failed to get {kind:?} {name}"))
    }

    /// Answers with the uid.
    pub(super) async fn create(&self, kind: Kind, body: String) -> Result<String> {
        let request = Request::new(kind.path()).create(&PostParams::default(), body.into_bytes())?;
        let answer: Answer =
            self.client.request(request).await.with_context(|| format!("failed to make a {kind:?}"))?;
        Ok(answer.metadata.uid)
    }

    pub(super) async fn patch(&self, kind: Kind, name: &str, patch: &Value) -> Result<()> {
        let patch = Patch::Merge(patch);
        let request = Request::new(kind.path()).patch(name, &PatchParams::default(), &patch)?;
        self.send(request, kind, name).await
    }

    pub(super) async fn patch_status(&self, kind: Kind, name: &str, patch: &Value) -> Result<()> {
        let patch = Patch::Merge(patch);
        let params = PatchParams::default();
        let request = Request::new(kind.path()).patch_subresource("status", name, &params, &patch)?;
        self.send(request, kind, name).await
    }

    pub(super) async fn bind(&self, pod: &str, binding: &Value) -> Result<()> {
        let params = PostParams::default();
        let body = serde_json::to_vec(binding)?;
        let request = Request::new(Kind::Pod.path()).create_subresource("binding", pod, &params, body)?;
        self.send(request, Kind::Pod, pod).await
    }

    /// Without a time for its end, where it is a pod.
    pub(super) async fn delete(&self, kind: Kind, name: &str) -> Result<()> {
        let params = match kind {
            Kind::Pod => DeleteParams::default().grace_period(0),
            Kind::Session | Kind::Drone | Kind::Sandbox | Kind::Claim => DeleteParams::default(),
        };
        let request = Request::new(kind.path()).delete(name, &params)?;
        self.send(request, kind, name).await
    }

    async fn send(&self, request: http::Request<Vec<u8>>, kind: Kind, name: &str) -> Result<()> {
        let answer = self.client.request_text(request).await;
        answer.map(drop).with_context(|| format!("failed to write {kind:?} {name}"))
    }
}

//! Watches that read no more of an object than a bench looks at.

use futures_util::StreamExt as _;
use kube::api::Api;
use kube::core::{ApiResource, Object};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use serde::{Deserialize, Serialize};

use super::write::NAMESPACE;

pub(super) type Slim = Object<Spec, Status>;

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    /// Of a pod.
    pub(super) node_name: Option<String>,
    pub(super) containers: Vec<Container>,
    pub(super) volumes: Vec<Volume>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Container {
    pub(super) name: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Volume {
    pub(super) persistent_volume_claim: Option<ClaimSource>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClaimSource {
    pub(super) claim_name: String,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Status {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Condition {
    r#type: String,
    status: String,
}

/// Sessions, sandboxes and pods say it in the same way.
pub(super) fn is_ready(object: &Slim) -> bool {
    let conditions = object.status.as_ref().map(|status| &status.conditions[..]).unwrap_or_default();
    conditions.iter().any(|condition| condition.r#type == "Ready" && condition.status == "True")
}

/// Tells every change of the objects of a kind, and `None` for the end of one. Never ends.
pub(super) async fn each(client: Client, resource: ApiResource, mut tell: impl FnMut(&str, Option<Slim>)) {
    let api: Api<Slim> = Api::namespaced_with(client, NAMESPACE, &resource);
    let mut events = std::pin::pin!(watcher::watcher(api, watcher::Config::default()));
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => tell(&object.name_any(), Some(object)),
            Ok(Event::Delete(object)) => tell(&object.name_any(), None),
            Ok(Event::Init | Event::InitDone) => {}
            // It begins again by itself.
            Err(error) => tracing::warn!("a watch of the bench broke: {error:#}"),
        }
    }
}

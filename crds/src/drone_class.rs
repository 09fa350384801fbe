//! DroneClass: what a platform team sets once about the pods of drones.

#![expect(clippy::duplicated_attributes, reason = "columns have types in common")]
#![expect(unreachable_pub, reason = "KubeSchema copies each struct into a function to read its schema")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration, TopologySpreadConstraint};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;
use crate::value::{AccessMode, Retention};

/// Everything about a drone's pod that is not for the session's owner to say. A running drone keeps the revision of
/// its class that it started with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "gadgetcode.dev",
    version = "v1alpha1",
    kind = "DroneClass",
    plural = "droneclasses",
    shortname = "droneclass",
    category = "gadget",
    namespaced,
    derive = "PartialEq",
    doc = "What the pods of drones are made from. The class `default` is made by the operator from its settings when it is missing, and follows them until somebody edits it.",
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image"),
    printcolumn(name = "Size", type_ = "string", json_path = ".spec.workspace.size"),
    printcolumn(name = "Idle", type_ = "string", json_path = ".spec.idleTimeout"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Runtime", type_ = "string", json_path = ".spec.runtimeClassName", priority = 1),
    printcolumn(
        name = "Storage",
        type_ = "string",
        json_path = ".spec.workspace.storageClassName",
        priority = 1
    )
)]
pub struct DroneClassSpec {
    /// Image of the drone, such as `registry.example/gadget-drone:1.0`.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::image())]
    pub image: String,

    /// When the node fetches the image. Kubernetes' default: always for `latest`, else when it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,

    /// Names of secrets of this namespace with which the image is fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)))]
    pub image_pull_secrets: Vec<String>,

    /// Processor time and memory of the drone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// RuntimeClass of the pod, such as one for gVisor or Kata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("the name of a RuntimeClass", "gvisor"))]
    pub runtime_class_name: Option<String>,

    /// `false` gives the pod a user namespace of its own, where the nodes can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_users: Option<bool>,

    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,

    /// Taints of nodes that the pod puts up with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,

    /// How pods are spread over nodes and zones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub topology_spread: Vec<TopologySpreadConstraint>,

    /// PriorityClass of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("the name of a PriorityClass", "low"))]
    pub priority_class_name: Option<String>,

    /// What sessions get that do not say.
    #[serde(default)]
    pub workspace: ClassWorkspace,

    /// After how long without work a session is suspended, such as `30m`; `0s` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = rules::duration("30m"))]
    pub idle_timeout: Option<String>,

    /// How long a drone may take to stop, such as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = rules::duration("30s"))]
    pub termination_grace_period: Option<String>,

    /// Variables of the drone's environment. Never secrets: everybody who may read pods can read these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<Variable>,

    /// When the operator gives up on a drone that ends again and again.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
}

/// When the node fetches an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImagePullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl ImagePullPolicy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// Defaults for workspaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClassWorkspace {
    /// Size of the volume, such as `10Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::size())]
    pub size: Option<String>,

    /// Storage class of the volume. Absent: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("the name of a storage class", "standard"))]
    pub storage_class_name: Option<String>,

    /// How the volume may be mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<AccessMode>,

    /// `Retain` keeps the claim when the session is deleted, `Delete` removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// A variable of the environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Such as `HTTPS_PROXY`.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::variable())]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// How patient the operator is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailurePolicy {
    /// So many failures within `window`, and the drone is given up until somebody changes or deletes it. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_restarts: Option<i32>,

    /// The time within which failures count. Default `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = rules::duration("10m"))]
    pub window: Option<String>,
}

impl DroneClassSpec {
    /// A short name of what pods are made from. It changes with everything that makes a difference to a pod.
    pub fn revision(&self) -> String {
        // What only sessions and the hub look at does not make a pod outdated.
        let of_pods = Self {
            idle_timeout: None,
            workspace: ClassWorkspace::default(),
            failure_policy: FailurePolicy::default(),
            ..self.clone()
        };
        let text = serde_json::to_string(&of_pods).unwrap_or_default();
        crate::names::hash(&text)[..10].to_owned()
    }

    /// A short name of all that it says.
    pub fn fingerprint(&self) -> String {
        crate::names::hash(&serde_json::to_string(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_changes_with_what_pods_are_made_from_alone() {
        let class = DroneClassSpec { image: "drone:1".into(), ..DroneClassSpec::default() };
        let idle = DroneClassSpec { idle_timeout: Some("1h".into()), ..class.clone() };
        let image = DroneClassSpec { image: "drone:2".into(), ..class.clone() };
        assert_eq!(class.revision(), idle.revision());
        assert_ne!(class.revision(), image.revision());
        assert_ne!(class.fingerprint(), idle.fingerprint());
    }
}

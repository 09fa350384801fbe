//! DroneRegistration: one agent's pod and workspace, bound to a session or free.

#![expect(unreachable_pub, reason = "KubeSchema copies each struct into a function to read its schema")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;
use crate::value::{AccessMode, FailureClass, OperatingMode, Retention};

/// What a drone should be. Made by the operator for a session, or by the hub for a user who starts one by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "gadgetcode.dev",
    version = "v1alpha1",
    kind = "DroneRegistration",
    plural = "droneregistrations",
    shortname = "drone",
    shortname = "drones",
    category = "gadget",
    namespaced,
    status = "DroneRegistrationStatus",
    derive = "PartialEq",
    doc = "A drone: the pod that runs an agent, and its workspace. Deleting one stops it gracefully; its session gets a new one.",
    validation = rules::own_name(),
    selectable = ".spec.user",
    selectable = ".spec.chatSession",
    selectable = ".status.phase",
    selectable = ".status.nodeName",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "User", type_ = "string", json_path = ".spec.user"),
    printcolumn(name = "Session", type_ = "string", json_path = ".spec.chatSession"),
    printcolumn(name = "Restarts", type_ = "integer", json_path = ".status.restarts"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.nodeName", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.className", priority = 1),
    printcolumn(name = "Activity", type_ = "string", json_path = ".status.activity.state", priority = 1)
)]
#[x_kube(
    validation = rules::immutable("spec.user", "user", "make a drone of its own for another user"),
    validation = rules::rule(
        "!has(oldSelf.chatSession) || has(self.chatSession) && self.chatSession == oldSelf.chatSession",
        "\"spec.chatSession stays '\" + oldSelf.chatSession + \"' once a session has the drone; delete the drone instead\""
    )
)]
pub struct DroneRegistrationSpec {
    /// Who owns the drone: the handle of a user of the hub, such as `ada`. Cannot be changed.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("a user's handle", "ada"))]
    pub user: String,

    /// Name of the ChatSession that it works for. Absent: none yet. Set once, by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60))]
    #[x_kube(validation = rules::label("the name of a ChatSession", "fix-login"))]
    pub chat_session: Option<String>,

    /// Name of the DroneClass that the pod is made from.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("the name of a DroneClass", "default"))]
    pub class_name: String,

    /// Where the agent's files are kept.
    #[serde(default)]
    pub workspace: DroneWorkspace,

    /// `Running`, or `Suspended` to stop the pod and keep the workspace, also against a session that is Running.
    #[serde(default)]
    pub operating_mode: OperatingMode,
}

/// The workspace of a drone. What is absent comes from the class.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::only_grows("spec.workspace.size", "size"),
    validation = rules::immutable("spec.workspace.storageClassName", "storageClassName", "make a new drone"),
    validation = rules::immutable("spec.workspace.claimName", "claimName", "make a new drone")
)]
pub struct DroneWorkspace {
    /// Size of the volume, such as `10Gi`. May grow, never shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::size())]
    pub size: Option<String>,

    /// Storage class of the volume. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("the name of a storage class", "standard"))]
    pub storage_class_name: Option<String>,

    /// A claim to use that is there: a workspace of the same user. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("the name of a PersistentVolumeClaim", "ws-fix-login"))]
    pub claim_name: Option<String>,

    /// How the volume may be mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<AccessMode>,

    /// `Retain` keeps the claim when the session is deleted, `Delete` removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// Where a drone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DronePhase {
    Starting,
    /// Ready, and bound to no session.
    Available,
    /// Ready, and bound to a session.
    Busy,
    Recovering,
    Suspended,
    Offline,
    Failed,
}

/// What became of a DroneRegistration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DroneRegistrationStatus {
    /// The generation of `spec` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<DronePhase>,
    /// Name of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// The pod's uid: the hub lets in this one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Node that the pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Name of the PersistentVolumeClaim that holds the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_claim: Option<String>,
    /// How many pods were made since the drone last worked well; back-off grows with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_attempt: Option<i32>,
    /// How often the pod was replaced or its container restarted, other than by wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i32>,
    /// When the drone became ready last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Milliseconds from the wish to run to ready, at the last start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_milliseconds: Option<i64>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
    /// When the next pod is made, while the operator waits with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry_at: Option<Time>,
    /// When it failed lately, the oldest first: so many within the window of its class, and it is given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent_failures: Vec<Time>,
    /// What of the pod `podUid` is in `restarts` and `recentFailures` already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
    /// `Ready` sums up; `WorkspaceBound`, `PodScheduled`, `Suspended` and `ClassOutdated` say more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What the drone does. Written by the hub, which alone knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
}

/// Why a drone ended or cannot start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// Whose matter it is.
    pub class: FailureClass,
    /// One word, such as `OOMKilled`.
    pub reason: String,
    /// What happened, in the words of whoever saw it.
    pub message: String,
    /// Exit code of the container, where it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// When it was seen.
    pub at: Time,
    /// Whether the operator tries again by itself.
    pub retryable: bool,
    /// What a person can do.
    pub advice: String,
}

/// What of one pod has been counted, so that an operator that starts anew counts nothing twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// How often its container has ended.
    #[serde(default)]
    pub container_exits: i32,
    /// How often the drone's own supervisor has restarted its process.
    #[serde(default)]
    pub process_restarts: i32,
    /// Whether the end of the pod is among them.
    #[serde(default)]
    pub ended: bool,
}

/// What a drone does, as the hub sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// `Working` while a turn runs.
    pub state: ActivityState,
    /// Since when.
    pub since: Time,
    /// When a person or the agent last did something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_activity_at: Option<Time>,
    /// How often the drone's own supervisor has restarted its process in this pod.
    #[serde(default)]
    pub process_restarts: i32,
    /// The workspace's own id, from its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ActivityState {
    Idle,
    Working,
}

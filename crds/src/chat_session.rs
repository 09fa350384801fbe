//! ChatSession: a person's conversation with an agent, and the workspace that it works in.

#![expect(unreachable_pub, reason = "KubeSchema copies each struct into a function to read its schema")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules;
use crate::value::{OperatingMode, ReasoningEffort, Retention, SessionMode};

/// What somebody wants: an agent for a user, on a project.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "gadgetcode.dev",
    version = "v1alpha1",
    kind = "ChatSession",
    plural = "chatsessions",
    shortname = "chat",
    category = "gadget",
    namespaced,
    status = "ChatSessionStatus",
    derive = "PartialEq",
    doc = "A chat session: a coding agent for one user, in a pod of its own, with a workspace that outlives the pod.",
    validation = rules::own_name(),
    selectable = ".spec.user",
    selectable = ".spec.project.slug",
    selectable = ".status.phase",
    selectable = ".status.droneName",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "User", type_ = "string", json_path = ".spec.user"),
    printcolumn(name = "Project", type_ = "string", json_path = ".spec.project.slug"),
    printcolumn(name = "Drone", type_ = "string", json_path = ".status.droneName"),
    printcolumn(name = "Restarts", type_ = "integer", json_path = ".status.restarts"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.nodeName", priority = 1),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "Start",
        type_ = "integer",
        json_path = ".status.startMilliseconds",
        description = "Milliseconds from the wish to run to ready, at the last start",
        priority = 1
    )
)]
#[x_kube(
    validation = rules::immutable("spec.user", "user", "make a session of its own for another user"),
    validation = rules::immutable("spec.drone", "drone", "make a new session to use another drone"),
    validation = rules::rule(
        "has(self.workspace) && has(self.workspace.claimName) == (has(oldSelf.workspace) && has(oldSelf.workspace.claimName)) \
         && (!has(self.workspace.claimName) || self.workspace.claimName == oldSelf.workspace.claimName) \
         || !has(self.workspace) && !(has(oldSelf.workspace) && has(oldSelf.workspace.claimName))",
        "'spec.workspace.claimName stays what it was made with; make a new session to use another claim'"
    ),
    validation = rules::rule(
        "has(self.workspace) && has(self.workspace.storageClassName) == (has(oldSelf.workspace) && has(oldSelf.workspace.storageClassName)) \
         && (!has(self.workspace.storageClassName) || self.workspace.storageClassName == oldSelf.workspace.storageClassName) \
         || !has(self.workspace) && !(has(oldSelf.workspace) && has(oldSelf.workspace.storageClassName))",
        "'spec.workspace.storageClassName stays what it was made with; make a new session to use another storage class'"
    ),
    validation = rules::rule(
        "!(has(oldSelf.workspace) && has(oldSelf.workspace.size)) || has(self.workspace) && has(self.workspace.size) \
         && isQuantity(self.workspace.size) \
         && quantity(self.workspace.size).compareTo(quantity(oldSelf.workspace.size)) >= 0",
        "\"spec.workspace.size may grow, never shrink: give '\" + oldSelf.workspace.size + \"' or more\""
    )
)]
pub struct ChatSessionSpec {
    /// Who owns the session: the handle of a user of the hub, such as `ada`. Cannot be changed.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("a user's handle", "ada"))]
    pub user: String,

    /// What is worked on.
    pub project: ProjectRef,

    /// First title of the session. The hub's own title leads afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = rules::not_blank("a title", "Fix the login"))]
    pub title: Option<String>,

    /// What the agent may do at first; the hub's own value leads afterwards. The hub's default is `build`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<SessionMode>,

    /// First model of the session; the hub's own value leads afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelChoice>,

    /// `Running`, or `Suspended` to stop the pod and keep the workspace.
    #[serde(default)]
    pub operating_mode: OperatingMode,

    /// After how long without work the hub suspends the session, such as `30m`; `0s` for never. The class has a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = rules::duration("30m"))]
    pub idle_timeout: Option<String>,

    /// Name of the DroneClass that the pod is made from. The installation has a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("the name of a DroneClass", "default"))]
    pub class_name: Option<String>,

    /// Where the agent's files are kept. What is absent comes from the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<SessionWorkspace>,

    /// Name of a DroneRegistration to use that is there and unbound, instead of a new one. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 60))]
    #[x_kube(validation = rules::label("the name of a DroneRegistration", "my-drone"))]
    pub drone: Option<String>,
}

/// The project of a session. The hub finds it by user and slug, or makes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::immutable("spec.project.slug", "slug", "make a session of its own for another project"))]
pub struct ProjectRef {
    /// Short name of the project, and of its directory in the workspace, such as `shop`. Cannot be changed.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("a project's slug", "shop"))]
    pub slug: String,

    /// Git repository that is cloned, without credentials: the hub keeps those. Absent: an empty repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = rules::git_url())]
    pub git_url: Option<String>,

    /// Branch, tag or commit to begin with. Absent: the repository's own default.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = rules::git_ref())]
    pub git_ref: Option<String>,
}

/// A model that the hub knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelChoice {
    /// Name of the provider at the hub, such as `openai`.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::label("a provider's name", "openai"))]
    pub provider: String,

    /// The model's name at that provider, such as `gpt-5`.
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = rules::not_blank("a model's name", "gpt-5"))]
    pub name: String,

    /// How hard the model thinks, where it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<ReasoningEffort>,
}

/// A session's wishes for its workspace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::rule(
        "!(has(self.claimName) && has(self.storageClassName))",
        "'spec.workspace.storageClassName cannot be given with claimName: the claim has a class already; leave it out'"
    )
)]
pub struct SessionWorkspace {
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

    /// `Retain` keeps the claim when the session is deleted, `Delete` removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SessionPhase {
    Pending,
    Starting,
    Ready,
    Suspending,
    Suspended,
    Recovering,
    Failed,
    Terminating,
}

/// What became of a ChatSession.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatSessionStatus {
    /// The generation of `spec` that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<SessionPhase>,
    /// Name of the DroneRegistration that works for the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drone_name: Option<String>,
    /// Name of the PersistentVolumeClaim that holds the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_claim: Option<String>,
    /// Node that the pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// When the session became ready last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Milliseconds from the wish to run to ready, at the last start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_milliseconds: Option<i64>,
    /// How often the pod was replaced or its container restarted, other than by wish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i32>,
    /// `Ready` sums up; `WorkspaceBound`, `DroneReady` and `Suspended` say which part is how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What the hub made of a session that did not come from it. Written by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Adoption>,
}

/// How the hub took a session in that was made by kubectl.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Adoption {
    /// `Adopted`, or why not.
    pub state: AdoptionState,
    /// What that means, and what to do.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AdoptionState {
    /// The hub has a chat session for it.
    Adopted,
    /// The hub has no user of that handle.
    UserUnknown,
    /// The user's project of that slug has another git address.
    ProjectDiffers,
    /// The hub could not; it tries again.
    Failed,
}

//! What only hub and drone say to each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{Block, Capabilities, Project, Prompts, SessionStats, ToolCall, TurnStats, User};
use crate::ids::{ChatSessionId, DroneId, ProjectId, TurnId, UserId, WorkOrderId, WorkspaceId};
use crate::value::{
    ChatSessionMode, ChatTurnStatus, Dialect, ReasoningEffort, RecoveryAction, WorkspaceMode,
};
use jiff::Timestamp;

/// The CONNECT payload of a drone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DroneAuth {
    pub registration_id: DroneId,
    pub token: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workspace_id: Option<WorkspaceId>,
}

/// `hello`: what is true at the drone right after CONNECT, and again whenever it wants a new session token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    pub workspace_id: WorkspaceId,
    pub lock: Option<HelloLock>,
    pub mode: WorkspaceMode,
    /// The turn that runs in this process now. A work order found on disk after a crash is not told here but by
    /// `requestCrashRecovery`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub turn: Option<HelloTurn>,
    /// The work order of an earlier process that was found on disk. Null when there is none: what the hub has sent and
    /// does not find here or in `turn` was lost on the way.
    #[serde(skip_serializing_if = "HelloPending::is_untold", default)]
    pub pending: HelloPending,
    pub process_restarts: u32,
    /// How the process before this one ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_exit: Option<ProcessExit>,
    pub hostname: String,
    pub version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloLock {
    pub chat_session_id: ChatSessionId,
    pub project_id: ProjectId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloTurn {
    pub turn_id: TurnId,
    pub attempt: u32,
    /// The number of the last event that the drone has made for it.
    pub last_seq: u64,
}

/// What a drone says of the work order on its disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<PendingTurn>", into = "Option<PendingTurn>")]
pub enum HelloPending {
    /// An older drone, which does not say: whether there is one shows when it asks for recovery.
    #[default]
    Untold,
    Nothing,
    Turn(PendingTurn),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingTurn {
    pub turn_id: TurnId,
    pub attempt: u32,
}

impl HelloPending {
    fn is_untold(&self) -> bool {
        *self == Self::Untold
    }
}

impl From<Option<PendingTurn>> for HelloPending {
    fn from(pending: Option<PendingTurn>) -> Self {
        pending.map_or(Self::Nothing, Self::Turn)
    }
}

impl From<HelloPending> for Option<PendingTurn> {
    fn from(pending: HelloPending) -> Self {
        match pending {
            HelloPending::Turn(turn) => Some(turn),
            HelloPending::Nothing | HelloPending::Untold => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessExit {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
}

/// The first argument of the ack of `hello`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloAck {
    /// Counts up with each accepted connect of this registration. Older ones are shut out.
    pub generation: u64,
    /// For model proxy and git; absent while no session is locked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub session_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at: Option<Timestamp>,
    /// For the turn in [`Hello::turn`]: the last event that the hub has stored, so that the drone replays from the
    /// next one. Absent when the hub does not want that turn any more: the drone drops it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stored_seq: Option<u64>,
}

/// The second argument of `processWorkOrder`: a turn with its session, user and project filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkOrderTurn {
    #[serde(rename = "_id")]
    pub id: TurnId,
    pub created_at: Timestamp,
    pub user: UserId,
    pub project: ProjectId,
    pub session: WorkOrderSession,
    pub provider: String,
    pub llm: String,
    pub mode: ChatSessionMode,
    pub reasoning_effort: ReasoningEffort,
    pub status: ChatTurnStatus,
    pub prompts: Prompts,
    /// Always empty: what the turn has made so far is in the drone's own journal.
    #[serde(default)]
    pub blocks: Vec<Block>,
    #[serde(default)]
    pub tool_calls: Vec<ToolCall>,
    pub stats: TurnStats,
    pub last_seq: u64,
    pub attempts: u32,
    pub work_order: WorkOrder,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkOrderSession {
    #[serde(rename = "_id")]
    pub id: ChatSessionId,
    pub created_at: Timestamp,
    pub user: User,
    pub project: Project,
    pub name: String,
    pub mode: ChatSessionMode,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub selected_model: Option<String>,
    pub reasoning_effort: ReasoningEffort,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workspace_id: Option<WorkspaceId>,
    pub stats: SessionStats,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkOrder {
    pub work_order_id: WorkOrderId,
    /// Counts from 1.
    pub attempt: u32,
    pub generation: u64,
    /// The number of the first event of this attempt. All before it are stored.
    pub first_seq: u64,
    pub context: Context,
    pub model: ModelTarget,
}

/// The conversation before this turn, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Context {
    pub turns: Vec<ContextTurn>,
    /// How many older turns were left out to keep the work order small.
    pub omitted: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContextTurn {
    pub turn_id: TurnId,
    pub status: ChatTurnStatus,
    pub prompt: String,
    pub blocks: Vec<Block>,
}

/// Which model the drone asks, through the hub: `POST <hub>/internal/model/<provider>/<path of the dialect>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelTarget {
    pub provider: String,
    pub dialect: Dialect,
    pub model: String,
    pub capabilities: Capabilities,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub context_window: Option<u64>,
    /// The most tokens to ask for in one answer; absent: the dialect's default.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_output_tokens: Option<u64>,
    /// Scripted, no AI.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub simulated: bool,
}

/// `requestCrashRecovery`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CrashRecoveryRequest {
    pub workspace_id: WorkspaceId,
    pub turn_id: TurnId,
    pub chat_session_id: ChatSessionId,
    /// The journal is whole: the turn can go on where it stopped.
    #[serde(default)]
    pub resumable: bool,
    /// The number of the last event in the journal.
    #[serde(default)]
    pub last_seq: u64,
    /// Journal records of the attempt that crashed: none of them means that the attempt added nothing.
    #[serde(default)]
    pub progress: u64,
}

/// `crashRecoveryResponse`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CrashRecoveryResponse {
    pub turn_id: TurnId,
    pub action: RecoveryAction,
    /// Milliseconds until the hub sends the work order again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_delay: Option<u64>,
}

/// Names of the events that only hub and drone use, or use towards each other.
pub mod name {
    pub const HELLO: &str = "hello";
    pub const PROCESS_WORK_ORDER: &str = "processWorkOrder";
    pub const REQUEST_CRASH_RECOVERY: &str = "requestCrashRecovery";
    pub const CRASH_RECOVERY_RESPONSE: &str = "crashRecoveryResponse";
    pub const REQUEST_TERMINATION: &str = "requestTermination";
    pub const WORKSPACE_STATE: &str = "workspaceState";
}

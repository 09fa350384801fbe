//! Documents as clients see them, over REST and inside events.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{CallId, ChatSessionId, DroneId, ProjectId, TurnId, UserId, WorkspaceId};
use crate::value::{ChatSessionMode, ChatTurnStatus, DronePhase, DroneStatus, ReasoningEffort, SubagentKind};

/// The name of a chat session until its first prompt gives it a better one.
pub const NEW_SESSION_NAME: &str = "New Chat Session";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    #[serde(rename = "_id")]
    pub id: UserId,
    /// Unique; a DNS label, so that a resource in a cluster can name the user.
    pub handle: String,
    pub email: String,
    pub display_name: String,
    /// `admin`, `member`.
    pub roles: Vec<String>,
    /// Text of the user's own for the agent's system prompt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub persona: Option<String>,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    #[serde(rename = "_id")]
    pub id: ProjectId,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    pub user: UserId,
    pub name: String,
    /// Unique per user; the directory of the checkout inside the workspace.
    pub slug: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub git_url: Option<String>,
    /// The project's own rules and acceptance criteria for the agent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub instructions: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatSession {
    #[serde(rename = "_id")]
    pub id: ChatSessionId,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    pub user: UserId,
    pub project: ProjectId,
    pub name: String,
    pub mode: ChatSessionMode,
    /// The name of the provider; absent until one is chosen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub selected_model: Option<String>,
    pub reasoning_effort: ReasoningEffort,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workspace_id: Option<WorkspaceId>,
    pub stats: SessionStats,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>")]
    pub archived_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionStats {
    pub turn_count: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub tool_call_count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatTurn {
    #[serde(rename = "_id")]
    pub id: TurnId,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    pub user: UserId,
    pub project: ProjectId,
    pub session: ChatSessionId,
    /// The name of the provider.
    pub provider: String,
    /// The model's id at the provider.
    pub llm: String,
    pub mode: ChatSessionMode,
    pub reasoning_effort: ReasoningEffort,
    pub status: ChatTurnStatus,
    pub prompts: Prompts,
    pub blocks: Vec<Block>,
    pub tool_calls: Vec<ToolCall>,
    pub stats: TurnStats,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_message: Option<String>,
    /// The number of the session's last event that belongs to this turn; the number before its first while it has none.
    pub last_seq: u64,
    /// How often the turn was sent to a drone.
    pub attempts: u32,
    /// True for a turn of the scripted demo provider: no model was asked.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub simulated: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Prompts {
    pub user: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub system: Option<String>,
}

/// A piece of a turn, in order. Consecutive text of one mode is one block.
#[expect(
    clippy::large_enum_variant,
    reason = "blocks are read one by one from a list, and tool calls are the common case"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "mode")]
pub enum Block {
    #[serde(rename_all = "camelCase")]
    Thinking {
        #[schemars(with = "String")]
        created_at: Timestamp,
        content: String,
    },
    #[serde(rename_all = "camelCase")]
    Responding {
        #[schemars(with = "String")]
        created_at: Timestamp,
        content: String,
    },
    #[serde(rename_all = "camelCase")]
    Tool {
        #[schemars(with = "String")]
        created_at: Timestamp,
        content: ToolCall,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ToolCallStatus {
    Running,
    Finished,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolCall {
    pub call_id: CallId,
    pub name: String,
    /// JSON text of the arguments.
    pub parameters: String,
    /// JSON text of the result; empty while the call runs.
    pub response: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subagent: Option<Subagent>,
    pub status: ToolCallStatus,
    pub is_error: bool,
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<Timestamp>,
    /// The drone died while the call ran, and nobody can know whether its effect happened.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub unknown_outcome: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subagent {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<SubagentKind>,
    pub prompt: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub thinking: Option<String>,
    pub response: String,
    pub tool_calls: Vec<ToolCall>,
    pub stats: TurnStats,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TurnStats {
    pub tool_call_count: u64,
    /// Fresh input: neither read from nor written to a cache.
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub thinking_token_count: u64,
    pub response_tokens: u64,
    pub duration_ms: u64,
    /// `hh:mm:ss`.
    pub duration_label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_ms: Option<u64>,
    /// Model calls that had to be made again.
    pub retries: u32,
}

impl TurnStats {
    /// Sets the duration and its label `hh:mm:ss`.
    pub fn set_duration(&mut self, milliseconds: u64) {
        let seconds = milliseconds / 1000;
        self.duration_ms = milliseconds;
        self.duration_label = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    }
}

/// A drone as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DroneRegistration {
    #[serde(rename = "_id")]
    pub id: DroneId,
    pub user: UserId,
    pub status: DroneStatus,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workspace_id: Option<WorkspaceId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chat_session_id: Option<ChatSessionId>,
    pub hostname: String,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    pub phase: DronePhase,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pod_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node_name: Option<String>,
    pub restarts: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>")]
    pub last_seen_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// A model that a user may choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// The name of the provider.
    pub provider: String,
    pub id: String,
    pub name: String,
    pub capabilities: Capabilities,
    /// Tokens; absent when the provider does not say.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub context_window: Option<u64>,
    /// True for the demo provider: scripted, no AI.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub simulated: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    pub thinking: bool,
    pub tools: bool,
    pub vision: bool,
}

/// Chooses provider and model for prompts of sessions that name none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoutingRule {
    #[serde(rename = "_id")]
    pub id: String,
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    pub name: String,
    /// The lowest is looked at first; among equals the oldest.
    pub priority: i32,
    pub enabled: bool,
    /// All must hold; none: it fits always.
    pub conditions: Vec<RoutingCondition>,
    pub action: RoutingAction,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoutingCondition {
    pub field: RoutingField,
    pub operator: RoutingOperator,
    pub value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RoutingField {
    /// Of the user, who may have several.
    Role,
    /// The project's id.
    Project,
    /// The session's.
    Mode,
    /// The text of the prompt.
    Prompt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RoutingOperator {
    Eq,
    Ne,
    /// Has it somewhere, upper and lower case alike.
    Includes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoutingAction {
    pub provider: String,
    /// Absent: the provider's first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
}

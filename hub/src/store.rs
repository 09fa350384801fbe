//! What must survive the hub: users, projects, chat sessions, turns, events, providers.
//!
//! One trait, so that the embedded store and a shared database behave alike; `suite` is the set of tests that each
//! implementation passes. An answered write has survived `kill -9` and loss of power. Events are records of their own:
//! appending one never rewrites a turn and costs the same at the end of a long turn as at its start.

pub mod lock;
mod refusal;
mod session_patch;
pub mod sqlite;
#[cfg(test)]
pub(crate) mod suite;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use protocol::document::{
    ChatSession, ChatTurn, DroneRegistration, Project, Prompts, RoutingRule, TurnStats, User,
};
use protocol::drone::ModelTarget;
use protocol::event::RawEvent;
use protocol::ids::{ChatSessionId, DroneId, ProjectId, TurnId, UserId, WorkOrderId};
use protocol::value::{ChatSessionMode, ChatTurnStatus, DronePhase, ReasoningEffort};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::store::refusal::refuse;
pub use crate::store::session_patch::{Archive, Rename, SessionModel, SessionPatch};

/// Why a store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("no such document")]
    NotFound,
    /// A unique value is taken: the text names it (`email`, `handle`, `slug`, `name`).
    #[error("{0} is taken")]
    Taken(&'static str),
    /// A turn of this chat session is processing already.
    #[error("a turn is processing")]
    TurnRunning,
    /// The document is in use and cannot go.
    #[error("{0}")]
    InUse(String),
    /// The store is closed, locked by another process, out of space, or broken. Nothing was written.
    #[error("failed to {action}")]
    Unavailable {
        action: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Part of a list, in the order of ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Hand it in to get what follows; absent at the end.
    pub next_cursor: Option<String>,
}

/// Which part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    pub cursor: Option<String>,
    /// At most 200.
    pub limit: u32,
    /// Newest first.
    pub newest_first: bool,
}

/// A user with what no client may see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserRecord {
    pub user: User,
    /// PHC string of argon2id; absent: cannot sign in by password.
    pub password_hash: Option<String>,
    /// Tokens issued before this time are refused.
    pub tokens_valid_from: Timestamp,
    pub disabled: bool,
}

/// The head of a turn: everything but what its events tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnRecord {
    pub id: TurnId,
    pub created_at: Timestamp,
    pub user: UserId,
    pub project: ProjectId,
    pub session: ChatSessionId,
    pub model: ModelTarget,
    pub mode: ChatSessionMode,
    pub reasoning_effort: ReasoningEffort,
    pub status: ChatTurnStatus,
    pub prompts: Prompts,
    pub error_message: Option<String>,
    /// The number before the turn's first event.
    pub seq_before: u64,
    /// The number of its last stored event; `seq_before` while it has none. Not kept up to date while the turn runs:
    /// [`Store::last_seq`] is the truth then.
    pub last_seq: u64,
    /// Attempts so far; 0: not yet sent to a drone.
    pub attempts: u32,
    /// Attempts in a row that added nothing to the drone's journal.
    pub barren_attempts: u32,
    /// Of the newest attempt.
    pub work_order: Option<WorkOrderId>,
    /// The number before the newest attempt's first event.
    pub attempt_seq_before: u64,
    pub drone: Option<DroneId>,
    /// The user asked to stop it.
    pub abort_requested: bool,
    /// Final once the turn is over.
    pub stats: TurnStats,
}

impl TurnRecord {
    pub fn simulated(&self) -> bool {
        self.model.simulated
    }
}

/// One stored turn event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    pub seq: u64,
    pub turn: TurnId,
    pub attempt: u32,
    pub at: Timestamp,
    pub event: RawEvent,
}

/// How a turn ends; stored in the same transaction as its last events.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnEnd {
    pub turn: TurnId,
    pub status: ChatTurnStatus,
    pub error_message: Option<String>,
    pub stats: TurnStats,
    pub ended_at: Timestamp,
}

/// Events of one chat session to be made durable together.
#[derive(Clone, Debug)]
pub struct Append {
    pub session: ChatSessionId,
    /// Consecutive numbers. One that is stored already (a retried write that had landed) is passed over.
    pub events: Vec<EventRecord>,
    pub end: Option<TurnEnd>,
}

/// Changes of a turn's head while it runs. `None`: as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TurnPatch {
    pub attempts: Option<u32>,
    pub barren_attempts: Option<u32>,
    pub work_order: Option<WorkOrderId>,
    pub attempt_seq_before: Option<u64>,
    pub drone: Option<DroneId>,
    pub abort_requested: Option<bool>,
}

/// A drone as the store keeps it. Phase and the like are the last that was known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DroneRecord {
    pub registration: DroneRegistration,
    /// Counts up with each accepted connect.
    pub generation: u64,
    /// Stopped by a person: stays stopped until resumed by a person.
    pub held: bool,
    /// Hash of the token that the fleet gave to the drone, where the hub itself mints it.
    pub token_sha256: Option<String>,
}

/// A model provider with its sealed key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProviderRecord {
    pub name: String,
    pub sdk: protocol::value::Sdk,
    pub base_url: Option<String>,
    pub key: ProviderKey,
    pub enabled: bool,
    pub models: Vec<ProviderModel>,
    pub created_at: Timestamp,
    pub probed_at: Option<Timestamp>,
    /// What the last probe said when it failed.
    pub probe_error: Option<String>,
}

/// Where a provider's key comes from. Never sent to a client or a drone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum ProviderKey {
    None,
    /// Name of an environment variable of the hub.
    Environment {
        name: String,
    },
    /// Path of a file that holds the key.
    File {
        path: String,
    },
    /// Sealed by the hub's own key.
    Sealed {
        sealed: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderModel {
    pub id: String,
    pub name: String,
    pub capabilities: protocol::document::Capabilities,
    pub context_window: Option<u64>,
    pub max_output_tokens: Option<u64>,
    /// Gone from the provider since the last probe; kept so that old turns still name it.
    pub removed: bool,
}

/// A git credential of a project, sealed by the hub's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRecord {
    pub project: ProjectId,
    /// The only host (with port, if not the scheme's own) that it is given to.
    pub host: String,
    pub sealed: String,
    pub created_at: Timestamp,
}

/// Something that an administrator may want to look up later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    pub id: String,
    pub at: Timestamp,
    pub user: Option<UserId>,
    pub action: String,
    pub subject: String,
    pub detail: Value,
}

/// Filters of a list of chat sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    pub project: Option<ProjectId>,
    pub archived: Option<bool>,
}

#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Whether writes would be accepted now.
    async fn check(&self) -> Result<(), StoreError>;

    // Users and tokens
    async fn insert_user(&self, record: UserRecord) -> Result<(), StoreError>;
    async fn update_user(&self, record: UserRecord) -> Result<(), StoreError>;
    async fn user(&self, id: &UserId) -> Result<Option<UserRecord>, StoreError>;
    async fn user_by_email(&self, email: &str) -> Result<Option<UserRecord>, StoreError>;
    async fn user_by_handle(&self, handle: &str) -> Result<Option<UserRecord>, StoreError>;
    async fn users(&self, page: PageRequest) -> Result<Page<UserRecord>, StoreError>;
    /// Remembers a signed-out token until it would have expired anyway.
    async fn revoke_token(&self, token_id: &str, expires_at: Timestamp) -> Result<(), StoreError>;
    async fn token_revoked(&self, token_id: &str) -> Result<bool, StoreError>;

    // Projects. Each call is for one owner; a document of another user is not there.
    async fn insert_project(&self, project: Project) -> Result<(), StoreError>;
    async fn update_project(&self, project: Project) -> Result<(), StoreError>;
    async fn project(&self, id: &ProjectId) -> Result<Option<Project>, StoreError>;
    async fn project_by_slug(&self, user: &UserId, slug: &str) -> Result<Option<Project>, StoreError>;
    async fn projects(&self, user: &UserId, page: PageRequest) -> Result<Page<Project>, StoreError>;
    /// Refuses while the project has chat sessions.
    async fn delete_project(&self, id: &ProjectId) -> Result<(), StoreError>;
    async fn put_credential(&self, credential: CredentialRecord) -> Result<(), StoreError>;
    async fn credential(&self, project: &ProjectId) -> Result<Option<CredentialRecord>, StoreError>;
    async fn delete_credential(&self, project: &ProjectId) -> Result<(), StoreError>;

    // Chat sessions
    async fn insert_session(&self, session: ChatSession) -> Result<(), StoreError>;
    /// Changes what the patch names and hands back the whole.
    async fn patch_session(&self, id: &ChatSessionId, patch: SessionPatch)
    -> Result<ChatSession, StoreError>;
    async fn session(&self, id: &ChatSessionId) -> Result<Option<ChatSession>, StoreError>;
    async fn sessions(
        &self,
        user: &UserId,
        filter: SessionFilter,
        page: PageRequest,
    ) -> Result<Page<ChatSession>, StoreError>;
    /// With its turns and events. Refuses while a turn is processing.
    async fn delete_session(&self, id: &ChatSessionId) -> Result<(), StoreError>;

    // Turns and events
    /// Stores the turn and counts it in its session, both or neither. [`StoreError::TurnRunning`] when the session has
    /// a processing turn, [`StoreError::NotFound`] when the session is gone.
    async fn insert_turn(&self, turn: TurnRecord) -> Result<(), StoreError>;
    async fn patch_turn(&self, id: &TurnId, patch: TurnPatch) -> Result<(), StoreError>;
    async fn turn(&self, id: &TurnId) -> Result<Option<TurnRecord>, StoreError>;
    async fn turns(&self, session: &ChatSessionId, page: PageRequest)
    -> Result<Page<TurnRecord>, StoreError>;
    async fn processing_turn(&self, session: &ChatSessionId) -> Result<Option<TurnRecord>, StoreError>;
    /// All turns that are not over, of one user or of all, oldest first.
    async fn processing_turns(&self, user: Option<&UserId>) -> Result<Vec<TurnRecord>, StoreError>;
    /// Answers when the events are durable. Calls at the same time share a commit.
    async fn append(&self, append: Append) -> Result<(), StoreError>;
    /// The number of the session's last stored event; 0 when there is none.
    async fn last_seq(&self, session: &ChatSessionId) -> Result<u64, StoreError>;
    /// Events numbered above `after`, in order, at most `limit`.
    async fn events_after(
        &self,
        session: &ChatSessionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError>;
    /// The turn as clients read it: its events assembled.
    async fn full_turn(&self, id: &TurnId) -> Result<Option<ChatTurn>, StoreError>;
    async fn full_turns(
        &self,
        session: &ChatSessionId,
        page: PageRequest,
    ) -> Result<Page<ChatTurn>, StoreError>;

    // Drones
    async fn put_drone(&self, record: DroneRecord) -> Result<(), StoreError>;
    async fn drone(&self, id: &DroneId) -> Result<Option<DroneRecord>, StoreError>;
    async fn drones(&self, user: &UserId, page: PageRequest) -> Result<Page<DroneRecord>, StoreError>;
    async fn all_drones(&self) -> Result<Vec<DroneRecord>, StoreError>;
    async fn drone_of_session(&self, session: &ChatSessionId) -> Result<Option<DroneRecord>, StoreError>;
    /// Counts up and answers the new generation.
    async fn next_generation(&self, id: &DroneId) -> Result<u64, StoreError>;
    async fn delete_drone(&self, id: &DroneId) -> Result<(), StoreError>;

    // Settings
    async fn put_provider(&self, provider: ProviderRecord) -> Result<(), StoreError>;
    async fn provider(&self, name: &str) -> Result<Option<ProviderRecord>, StoreError>;
    async fn providers(&self) -> Result<Vec<ProviderRecord>, StoreError>;
    async fn delete_provider(&self, name: &str) -> Result<(), StoreError>;
    async fn put_routing_rule(&self, rule: RoutingRule) -> Result<(), StoreError>;
    /// In the order in which they are looked at.
    async fn routing_rules(&self) -> Result<Vec<RoutingRule>, StoreError>;
    async fn delete_routing_rule(&self, id: &str) -> Result<(), StoreError>;
    async fn preferences(&self, user: &UserId) -> Result<Value, StoreError>;
    async fn put_preferences(&self, user: &UserId, preferences: Value) -> Result<(), StoreError>;
    async fn audit(&self, record: AuditRecord) -> Result<(), StoreError>;
    async fn audit_log(&self, page: PageRequest) -> Result<Page<AuditRecord>, StoreError>;

    /// Waits for writes that were accepted and closes the store.
    async fn close(&self);
}

/// Shared handle of a store.
pub type SharedStore = Arc<dyn Store>;

impl DroneRecord {
    pub fn phase(&self) -> DronePhase {
        self.registration.phase
    }
}

//! What an IDE asks of the hub, the answers' shapes, and what the hub tells an IDE besides turn events.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::document::ChatTurn;
use crate::error::{Code, Refusal};
use crate::ids::{ChatSessionId, DroneId, ProjectId};
use crate::value::{DronePhase, Encoding, FileKind, WorkspaceMode};

/// Names of events that an IDE sends, and of the hub's own events to it.
pub mod name {
    pub const REQUEST_SESSION_LOCK: &str = "requestSessionLock";
    pub const RELEASE_SESSION_LOCK: &str = "releaseSessionLock";
    pub const SESSION_HEARTBEAT: &str = "sessionHeartbeat";
    pub const REQUEST_WORKSPACE_MODE: &str = "requestWorkspaceMode";
    pub const SUBMIT_PROMPT: &str = "submitPrompt";
    pub const ABORT_WORK_ORDER: &str = "abortWorkOrder";
    pub const FILE_TREE_REQUEST: &str = "fileTreeRequest";
    pub const FILE_READ_REQUEST: &str = "fileReadRequest";
    pub const FILE_WRITE_REQUEST: &str = "fileWriteRequest";
    pub const RESUME: &str = "resume";
    pub const FOLLOW_SESSION: &str = "followSession";
    pub const UNFOLLOW_SESSION: &str = "unfollowSession";
    pub const AUTH_REFRESH: &str = "authRefresh";

    /// Every event that an IDE may send.
    pub const REQUESTS: &[&str] = &[
        REQUEST_SESSION_LOCK,
        RELEASE_SESSION_LOCK,
        SESSION_HEARTBEAT,
        REQUEST_WORKSPACE_MODE,
        SUBMIT_PROMPT,
        ABORT_WORK_ORDER,
        FILE_TREE_REQUEST,
        FILE_READ_REQUEST,
        FILE_WRITE_REQUEST,
        RESUME,
        FOLLOW_SESSION,
        UNFOLLOW_SESSION,
        AUTH_REFRESH,
    ];

    pub const STATUS: &str = "status";
    pub const WORKSPACE_MODE_CHANGED: &str = "workspaceModeChanged";
    pub const LOG: &str = "log";
    pub const SESSION_UPDATED: &str = "sessionUpdated";
    pub const FILE_TREE_RESPONSE: &str = "fileTreeResponse";
    pub const TAB_LOCK_DENIED: &str = "tabLockDenied";
    pub const DRONE_STATUS: &str = "droneStatus";
    pub const AUTH_EXPIRING: &str = "authExpiring";
    pub const GOING_AWAY: &str = "goingAway";
}

/// The CONNECT payload of an IDE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdeAuth {
    pub token: String,
    /// The same tab coming back takes its own tab lock at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tab_id: Option<String>,
    /// The number of the last event that the client has seen, per session.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_seq: Option<HashMap<ChatSessionId, u64>>,
}

/// An IDE's event, its arguments checked for type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdeRequest {
    RequestSessionLock {
        /// Absent: the hub finds or starts a drone.
        registration: Option<DroneId>,
        project: Option<ProjectId>,
        chat_session: ChatSessionId,
        take_over: bool,
    },
    ReleaseSessionLock {
        chat_session: Option<ChatSessionId>,
    },
    SessionHeartbeat,
    RequestWorkspaceMode {
        chat_session: Option<ChatSessionId>,
        mode: WorkspaceMode,
    },
    SubmitPrompt {
        content: String,
    },
    AbortWorkOrder,
    FileTree(FileTreeRequest),
    FileRead(FileReadRequest),
    FileWrite(FileWriteRequest),
    Resume(FollowRequest),
    FollowSession(FollowRequest),
    UnfollowSession {
        chat_session: ChatSessionId,
    },
    AuthRefresh {
        token: String,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileTreeRequest {
    /// Relative to the project root; absent or empty: the root.
    pub path: Option<String>,
    /// Levels below `path`; 1 when absent.
    pub depth: Option<u32>,
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileReadRequest {
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileWriteRequest {
    pub path: String,
    pub content: String,
    #[serde(default)]
    pub encoding: Option<Encoding>,
    /// The hash of what the editor had read; absent: the file must not be there yet.
    #[serde(default)]
    pub expected_sha256: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FollowRequest {
    pub chat_session_id: ChatSessionId,
    #[serde(default)]
    pub last_seq: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileTreeEntry {
    pub name: String,
    pub path: String,
    #[serde(rename = "type")]
    pub kind: FileKind,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub modified_at: Option<Timestamp>,
}

/// The data of a `fileTreeRequest` ack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileTreeAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<FileTreeEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// The data of a `fileReadRequest` ack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileReadAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

/// The data of a `fileWriteRequest` ack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileWriteAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

/// The data of a successful `resume` or `followSession` ack: events `from_seq ..= to_seq` follow with `meta.replay`.
/// Where they can no longer be replayed one by one, or the client is ahead, `turn` is the stored turn instead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FollowAnswer {
    pub from_seq: u64,
    pub to_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<ChatTurn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `droneStatus`: where the drone is in its life, as it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DroneStatusEvent {
    pub registration_id: DroneId,
    pub phase: DronePhase,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    pub restarts: u32,
    pub since: Timestamp,
}

impl IdeRequest {
    /// Reads an event's arguments. Documents that a client made are read for their `_id` alone.
    pub fn parse(event: &str, args: &[Value]) -> Result<Self, Refusal> {
        let arg = |index: usize| args.get(index).unwrap_or(&Value::Null);
        Ok(match event {
            name::REQUEST_SESSION_LOCK => Self::RequestSessionLock {
                registration: document_id(event, "registration", arg(0))?.map(DroneId::from),
                project: document_id(event, "project", arg(1))?.map(ProjectId::from),
                chat_session: required(event, "chatSession", document_id(event, "chatSession", arg(2))?)?
                    .into(),
                take_over: arg(3).get("takeOver").and_then(Value::as_bool).unwrap_or(false),
            },
            name::RELEASE_SESSION_LOCK => Self::ReleaseSessionLock {
                chat_session: document_id(event, "chatSession", arg(2))?.map(ChatSessionId::from),
            },
            name::SESSION_HEARTBEAT => Self::SessionHeartbeat,
            name::REQUEST_WORKSPACE_MODE => Self::RequestWorkspaceMode {
                chat_session: document_id(event, "chatSession", arg(2))?.map(ChatSessionId::from),
                mode: arg(3)
                    .as_str()
                    .and_then(WorkspaceMode::parse)
                    .ok_or_else(|| invalid(event, "the mode must be one of idle, user, agent"))?,
            },
            name::SUBMIT_PROMPT => Self::SubmitPrompt {
                content: arg(0)
                    .as_str()
                    .filter(|text| !text.trim().is_empty())
                    .ok_or_else(|| invalid(event, "the prompt must be a text that is not empty"))?
                    .to_owned(),
            },
            name::ABORT_WORK_ORDER => Self::AbortWorkOrder,
            name::FILE_TREE_REQUEST if arg(0).is_null() => Self::FileTree(FileTreeRequest::default()),
            name::FILE_TREE_REQUEST => Self::FileTree(object(event, arg(0))?),
            name::FILE_READ_REQUEST => Self::FileRead(object(event, arg(0))?),
            name::FILE_WRITE_REQUEST => Self::FileWrite(object(event, arg(0))?),
            name::RESUME => Self::Resume(object(event, arg(0))?),
            name::FOLLOW_SESSION => Self::FollowSession(object(event, arg(0))?),
            name::UNFOLLOW_SESSION => {
                let FollowRequest { chat_session_id, last_seq: _ } = object(event, arg(0))?;
                Self::UnfollowSession { chat_session: chat_session_id }
            }
            name::AUTH_REFRESH => Self::AuthRefresh {
                token: arg(0)
                    .get("token")
                    .and_then(Value::as_str)
                    .ok_or_else(|| invalid(event, "the token is missing"))?
                    .to_owned(),
            },
            other => return Err(Refusal::new(Code::UnknownEvent, format!("no event is called {other:?}"))),
        })
    }
}

/// The ack arguments that refuse an event, in the shape that the event's ack has.
pub fn refusal_ack(event: &str, refusal: &Refusal, chat_session: &str, mode: WorkspaceMode) -> Vec<Value> {
    let Refusal { code, message } = refusal;
    match event {
        name::REQUEST_SESSION_LOCK => vec![false.into(), chat_session.into(), json!(refusal)],
        name::REQUEST_WORKSPACE_MODE => vec![false.into(), mode.as_str().into(), message.as_str().into()],
        name::ABORT_WORK_ORDER => vec![false.into(), message.as_str().into()],
        name::SESSION_HEARTBEAT => vec![false.into()],
        name::FILE_TREE_REQUEST | name::FILE_READ_REQUEST | name::FILE_WRITE_REQUEST => {
            vec![false.into(), json!({ "error": message, "code": code })]
        }
        _ => vec![false.into(), json!(refusal)],
    }
}

fn invalid(event: &str, what: &str) -> Refusal {
    Refusal::new(Code::Invalid, format!("{event}: {what}"))
}

fn required<T>(event: &str, what: &str, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or_else(|| invalid(event, &format!("{what} is missing")))
}

fn document_id<'a>(event: &str, what: &str, value: &'a Value) -> Result<Option<&'a str>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(id) => Ok(Some(id)),
        other => match other.get("_id") {
            Some(Value::String(id)) => Ok(Some(id)),
            _ => Err(invalid(event, &format!("{what} must be a document with an _id, or an id"))),
        },
    }
}

fn object<T: serde::de::DeserializeOwned>(event: &str, value: &Value) -> Result<T, Refusal> {
    T::deserialize(value).map_err(|error| invalid(event, &error.to_string()))
}

#[cfg(test)]
mod tests;

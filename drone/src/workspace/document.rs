//! The two documents that a workspace keeps about itself. Names and fields are a contract.

use jiff::Timestamp;
use protocol::ids::{ChatSessionId, DroneId, ProjectId, TurnId, WorkOrderId, WorkspaceId};
use protocol::value::DroneStatus;
use serde::{Deserialize, Serialize};

/// `.gadget/workspace.json`: identity and state. Never deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceDocument {
    /// A UUID v4 that never changes, whatever host the directory is mounted on.
    pub workspace_id: WorkspaceId,
    pub created_at: Timestamp,
    pub hostname: String,
    pub workspace_dir: String,
    pub chat_session: Option<LockedSession>,
    pub locked_project: Option<LockedProject>,
    pub projects: Vec<Checkout>,
    pub registration: Option<Registration>,
}

/// The chat session that this drone is locked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockedSession {
    #[serde(rename = "_id")]
    pub id: ChatSessionId,
    pub name: String,
    pub locked_at: Timestamp,
}

/// The project whose checkout is the active one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockedProject {
    #[serde(rename = "_id")]
    pub id: ProjectId,
    pub slug: String,
    pub git_url: Option<String>,
    pub locked_at: Timestamp,
}

/// A project that lies in this workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkout {
    #[serde(rename = "_id")]
    pub id: ProjectId,
    pub slug: String,
    pub git_url: Option<String>,
    pub cloned_at: Timestamp,
    pub last_sync_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    #[serde(rename = "_id")]
    pub id: DroneId,
    pub status: DroneStatus,
    pub registered_at: Timestamp,
}

/// `.gadget/work-order.json`: there while a turn runs, and after a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkOrderDocument {
    pub turn_id: TurnId,
    pub chat_session_id: ChatSessionId,
    pub project_id: ProjectId,
    pub work_order_id: WorkOrderId,
    pub received_at: Timestamp,
    pub prompt: String,
    pub status: WorkOrderStatus,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    pub attempt: u32,
    pub generation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkOrderStatus {
    Processing,
    Completed,
    Error,
}

impl WorkspaceDocument {
    /// What a workspace without any history says.
    pub fn new(hostname: String, workspace_dir: String, now: Timestamp) -> Self {
        Self {
            workspace_id: uuid::Uuid::new_v4().to_string().into(),
            created_at: now,
            hostname,
            workspace_dir,
            chat_session: None,
            locked_project: None,
            projects: Vec::new(),
            registration: None,
        }
    }

    /// Notes that a project was cloned or fetched just now.
    pub fn synced(&mut self, project: &LockedProject, now: Timestamp) {
        match self.projects.iter_mut().find(|checkout| checkout.id == project.id) {
            Some(checkout) => {
                checkout.slug.clone_from(&project.slug);
                checkout.git_url.clone_from(&project.git_url);
                checkout.last_sync_at = now;
            }
            None => self.projects.push(Checkout {
                id: project.id.clone(),
                slug: project.slug.clone(),
                git_url: project.git_url.clone(),
                cloned_at: now,
                last_sync_at: now,
            }),
        }
    }

    pub fn has_checkout(&self, project: &ProjectId) -> bool {
        self.projects.iter().any(|checkout| checkout.id == *project)
    }
}

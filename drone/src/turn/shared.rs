//! What all agents of a turn have in common.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use protocol::drone::WorkOrderTurn;
use protocol::value::ChatSessionMode;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::memory::Memory;
use super::stop::Stop;
use crate::job::JobSettings;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::model::retry::Policy;
use crate::outbox::Outbox;
use crate::tool::{Audience, Tool};
use crate::workspace::Paths;

/// Which tools an agent gets.
pub type ToolsFor = Arc<dyn Fn(ChatSessionMode, Audience) -> Vec<Arc<dyn Tool>> + Send + Sync>;

/// Everything that a turn needs from the process around it.
#[derive(Clone)]
pub struct TurnSetup {
    pub order: WorkOrderTurn,
    pub paths: Paths,
    pub outbox: Outbox,
    pub model: Arc<dyn Model>,
    pub retries: Policy,
    pub tools: ToolsFor,
    pub jobs: Arc<JobSettings>,
    pub job_env: Arc<BTreeMap<String, String>>,
    /// Whether the hub is connected.
    pub online: watch::Receiver<bool>,
    /// The generation of the newest connection.
    pub generation: Arc<AtomicU64>,
    /// Lines for the user that are not part of the turn. A full channel drops.
    pub status: mpsc::Sender<String>,
    pub stop: Stop,
    /// The conversation so far.
    pub memory: Memory,
    pub metrics: Arc<Metrics>,
}

/// The setup, and what the turn's agents leave to it.
pub(super) struct Shared {
    pub setup: TurnSetup,
    /// The text of the project's `AGENTS.md`.
    pub agents_md: Option<String>,
    /// Calls that were still being stopped when the turn ended. Short lock, never over an await.
    pub stragglers: Mutex<Vec<JoinSet<()>>>,
}

impl Shared {
    pub(super) fn generation(&self) -> u64 {
        self.setup.generation.load(Ordering::Relaxed)
    }

    /// Tells the user something that is not part of the turn.
    pub(super) fn status(&self, line: String) {
        if self.setup.status.try_send(line).is_err() {
            tracing::debug!("a status line was dropped: there are too many");
        }
    }
}

//! A hub, a workspace and a drone in it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::document::Block;
use protocol::drone::WorkOrderTurn;
use protocol::ids::TurnId;
use scripted_model::ScriptedModel;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::hub::{DEADLINE, Hub, TOKEN};
use crate::process::DroneProcess;

pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) drone: DroneProcess,
    dir: TempDir,
}

impl World {
    /// A drone that has said hello.
    pub(crate) async fn start(model: ScriptedModel) -> Self {
        let hub = Hub::start(model);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let drone =
            DroneProcess::start(&dir.path().join("workspace"), &hub.url(), &dir.path().join("token"), &[]);
        let world = Self { hub, drone, dir };
        world.hub.hellos(1).await;
        world
    }

    /// A drone that is locked to a session and has its project.
    pub(crate) async fn locked(model: ScriptedModel) -> Self {
        let world = Self::start(model).await;
        assert_eq!(world.lock("session-1").await[0], true);
        world
            .hub
            .until("the project", |store| {
                let is_idle = store.modes.last().is_some_and(|mode| mode == "idle");
                let has_lock = store.hellos.last().is_some_and(|hello| hello.lock.is_some());
                (is_idle && has_lock).then_some(())
            })
            .await;
        world
    }

    pub(crate) async fn lock(&self, session: &str) -> Vec<Value> {
        let session = json!({ "_id": session, "name": "A session" });
        self.hub.ask("requestSessionLock", &(json!({ "_id": "drone-1" }), project(), session)).await
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.dir.path().join("workspace")
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.workspace().join("boats")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    /// Another process on the same workspace.
    pub(crate) fn start_drone(&mut self, more: &[&str]) {
        self.drone = self.another_drone(more);
    }

    /// The same, but that no file of it can grow beyond so many bytes.
    pub(crate) fn start_drone_on_full_disk(&mut self, bytes: usize) {
        let file = self.token_file();
        self.drone = DroneProcess::start_on_full_disk(&self.workspace(), &self.hub.url(), &file, bytes);
    }

    pub(crate) fn another_drone(&self, more: &[&str]) -> DroneProcess {
        DroneProcess::start(&self.workspace(), &self.hub.url(), &self.token_file(), more)
    }

    pub(crate) fn document(&self, name: &str) -> Option<Value> {
        let text = std::fs::read(self.workspace().join(".gadget").join(name)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Waits until nothing of the turn is needed any more.
    pub(crate) async fn forgotten(&self) {
        eventually("the work order stays", || self.document("work-order.json").is_none()).await;
    }

    /// Waits until the work order says so.
    pub(crate) async fn noted(&self, otherwise: &str, is_so: impl Fn(&Value) -> bool) {
        eventually(otherwise, || self.document("work-order.json").is_some_and(|order| is_so(&order))).await;
    }

    /// Waits until a command of the turn has made this file in the project.
    pub(crate) async fn made(&self, file: &str) {
        eventually("the file is not made", || self.project().join(file).exists()).await;
    }

    /// The stored transcript, in short: texts, and names of tools.
    pub(crate) fn story(&self) -> Vec<String> {
        let text = |block: &Block| match block {
            Block::Thinking { content, .. } => format!("thinks: {content}"),
            Block::Responding { content, .. } => format!("says: {content}"),
            Block::Tool { content, .. } => format!("calls: {}", content.name),
        };
        self.hub.transcript().blocks.iter().map(text).collect()
    }
}

impl Drop for World {
    /// Shows what the drone had to say where a test fails.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.workspace().join(".gadget/logs/drone.log"));
            let log = log.unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("the drone's last words: {:?}", self.drone.words());
            println!("the drone's log:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// Looks at a condition that tells nobody when it changes.
async fn eventually(otherwise: &str, condition: impl Fn() -> bool) {
    let looking = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.expect(otherwise);
}

pub(crate) fn project() -> Value {
    json!({
        "_id": "project-1", "createdAt": "2026-01-02T03:04:05Z", "user": "user-1", "name": "Boats", "slug": "boats",
    })
}

pub(crate) fn new_turn_id() -> TurnId {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("turn-{:04}", COUNT.fetch_add(1, Ordering::Relaxed)).into()
}

/// A work order of the session that the world locks.
pub(crate) fn order(prompt: &str) -> WorkOrderTurn {
    let at = "2026-01-02T03:04:05Z";
    let stats = json!({ "turnCount": 0, "inputTokens": 0, "outputTokens": 0, "toolCallCount": 0 });
    let user = json!({
        "_id": "user-1", "handle": "ann", "email": "ann@example.com", "displayName": "Ann", "roles": ["member"],
        "createdAt": at,
    });
    let session = json!({
        "_id": "session-1", "createdAt": at, "user": user, "project": project(), "name": "A session",
        "mode": "build", "reasoningEffort": "off", "stats": stats,
    });
    let model = json!({
        "provider": "scripted", "dialect": "openai", "model": "scripted",
        "capabilities": { "thinking": true, "tools": true, "vision": false }, "contextWindow": 100_000,
    });
    let work_order = json!({
        "workOrderId": "work-order-1", "attempt": 1, "generation": 1, "firstSeq": 1,
        "context": { "turns": [], "omitted": 0 }, "model": model,
    });
    serde_json::from_value(json!({
        "_id": new_turn_id(), "createdAt": at, "user": "user-1", "project": "project-1", "session": session,
        "provider": "scripted", "llm": "scripted", "mode": "build", "reasoningEffort": "off",
        "status": "processing", "prompts": { "user": prompt }, "stats": {}, "lastSeq": 0, "attempts": 1,
        "workOrder": work_order,
    }))
    .unwrap()
}

//! A workspace with a project, and what is needed to call tools in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use drone::job::JobSettings;
use drone::job::directory::JobDirectory;
use drone::tool::registry::tools_for;
use drone::tool::seen::SeenFiles;
use drone::tool::{Audience, Intent, Outcome, Tool, ToolContext, ToolError};
use protocol::ids::{CallId, ChatSessionId};
use protocol::value::ChatSessionMode;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub(crate) struct World {
    _temporary: Option<tempfile::TempDir>,
    pub(crate) context: ToolContext,
    pub(crate) progress: mpsc::Receiver<String>,
}

/// The program under test.
pub(crate) const DRONE: &str = env!("CARGO_BIN_EXE_gadget-drone");

/// The last two arguments when this program plays a role for a test.
pub(crate) fn role_arguments() -> Option<[String; 2]> {
    let arguments: Vec<String> = std::env::args().collect();
    let plays = arguments.iter().any(|argument| argument == "--exact");
    match arguments.as_slice() {
        [.., mode, directory] if plays && Path::new(directory).is_dir() => {
            Some([mode.clone(), directory.clone()])
        }
        _ => None,
    }
}

/// How this program is started in a role.
pub(crate) fn role(name: &str) -> Vec<OsString> {
    ["--exact", name, "--nocapture"].into_iter().map(OsString::from).collect()
}

pub(crate) fn settings() -> JobSettings {
    JobSettings::new(DRONE, Vec::new())
}

impl World {
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temporary.path().join("project")).unwrap();
        std::fs::create_dir_all(temporary.path().join(".gadget/tmp")).unwrap();
        let workspace = temporary.path().to_owned();
        Self { _temporary: Some(temporary), ..Self::at(&workspace) }
    }

    /// In a workspace that is there already.
    pub(crate) fn at(workspace: &Path) -> Self {
        let (sender, progress) = mpsc::channel(1024);
        let context = ToolContext {
            workspace: workspace.to_owned(),
            project_root: workspace.join("project"),
            chat_session: ChatSessionId::from("session"),
            mode: ChatSessionMode::Build,
            cancel: CancellationToken::new(),
            progress: sender,
            job_env: Arc::new(BTreeMap::new()),
            seen: Arc::new(SeenFiles::default()),
            jobs: Arc::new(settings()),
        };
        Self { _temporary: None, context, progress }
    }

    pub(crate) fn with_settings(mut self, change: impl FnOnce(&mut JobSettings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        self.context.jobs = Arc::new(settings);
        self
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.context.project_root.join(path)
    }

    pub(crate) fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn content(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    pub(crate) async fn plan(&self, name: &str, arguments: Value) -> Result<Intent, ToolError> {
        tool(name).plan(&CallId::generate(), &arguments, &self.context).await
    }

    pub(crate) async fn apply(&self, intent: &Intent) -> Outcome {
        tool(&intent.tool).apply(intent, &self.context).await
    }

    pub(crate) async fn call(&self, name: &str, arguments: Value) -> Outcome {
        match self.plan(name, arguments).await {
            Ok(intent) => self.apply(&intent).await,
            Err(error) => error.into(),
        }
    }

    /// The text of a call that must succeed.
    pub(crate) async fn text(&self, name: &str, arguments: Value) -> String {
        let outcome = self.call(name, arguments).await;
        assert!(!outcome.is_error, "{}", outcome.text);
        outcome.text
    }

    /// The code of a call that must fail.
    pub(crate) async fn refusal(&self, name: &str, arguments: Value) -> ToolError {
        let outcome = self.call(name, arguments).await;
        assert!(outcome.is_error, "{}", outcome.text);
        serde_json::from_str(&outcome.text).unwrap()
    }

    pub(crate) fn job(&self, intent: &Intent) -> JobDirectory {
        JobDirectory::of(&self.context.workspace, intent.plan["job"].as_str().unwrap())
    }
}

pub(crate) fn tool(name: &str) -> Arc<dyn Tool> {
    tools_for(ChatSessionMode::Build, Audience::Main)
        .into_iter()
        .find(|tool| tool.spec().name == name)
        .unwrap()
}

/// Processes that carry a job's mark.
pub(crate) fn processes_of(job: &JobDirectory) -> Vec<i32> {
    let Ok(spec) = job.spec() else { return Vec::new() };
    let wanted = format!("GADGET_JOB={}", spec.marker);
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
        })
        .collect()
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen that {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

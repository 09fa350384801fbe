//! What the tests share: starting `gadget`, reading what it says, looking at its processes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout};

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A home of its own for each test: nothing of the real user is read or written.
pub(crate) struct Home {
    pub dir: TempDir,
}

/// `gadget local --json` that has said where it is.
pub(crate) struct Local {
    pub ready: Value,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn gadget(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gadget"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.dir.path())
            .env("GADGET_DATA", self.data())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// To its end.
    pub(crate) async fn run(&self, args: &[&str]) -> Output {
        timeout(PATIENCE, self.gadget(args).output()).await.unwrap().unwrap()
    }

    /// On a free port, until it is ready.
    pub(crate) async fn local(&self, args: &[&str]) -> Local {
        let mut all = vec!["local", "--json", "--listen", "127.0.0.1:0"];
        all.extend(args);
        Local::start(self.gadget(all)).await
    }
}

impl Local {
    pub(crate) async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = timeout(PATIENCE, lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .expect("it ended before it was ready");
        Self { ready: serde_json::from_str(&first).unwrap(), child, lines }
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    /// The first session, after which its workspace is named.
    pub(crate) fn session(&self) -> &str {
        Path::new(self.text("workspace")).file_name().unwrap().to_str().unwrap()
    }

    /// What the hub answers to its owner.
    pub(crate) async fn get(&self, path: &str) -> Value {
        // The first one in a process is taken by all.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let url = format!("{}/api/v1{path}", self.text("url"));
        let request = reqwest::Client::new().get(url).bearer_auth(self.text("token"));
        timeout(PATIENCE, request.send()).await.unwrap().unwrap().json().await.unwrap()
    }

    pub(crate) async fn next_json(&mut self) -> Option<Value> {
        let line = timeout(PATIENCE, self.lines.next_line()).await.unwrap().unwrap()?;
        Some(serde_json::from_str(&line).unwrap())
    }

    /// The arguments of the next event with this name.
    pub(crate) async fn event(&mut self, name: &str) -> Vec<Value> {
        loop {
            let line = self.next_json().await.unwrap_or_else(|| panic!("it ended without an event {name}"));
            if line["event"] == name {
                return line["args"].as_array().unwrap().clone();
            }
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().unwrap().try_into().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap()
    }

    pub(crate) async fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.ended().await.code(), Some(0));
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Pids of running processes that belong to the drones of this data directory.
pub(crate) fn drone_processes(data: &Path) -> Vec<i32> {
    let ids: Vec<String> = std::fs::read_dir(data.join("drones"))
        .into_iter()
        .flatten()
        .map(|entry| format!("GADGET_DRONE_ID={}", entry.unwrap().file_name().to_string_lossy()))
        .collect();
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let Ok(pid) = entry.unwrap().file_name().to_string_lossy().parse::<i32>() else { continue };
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let zombie = stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'));
        let marked = environment
            .split(|byte| *byte == 0)
            .any(|variable| ids.iter().any(|id| id.as_bytes() == variable));
        if marked && !zombie {
            pids.push(pid);
        }
    }
    pids
}

pub(crate) async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

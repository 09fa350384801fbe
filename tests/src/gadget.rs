//! `gadget local` as a real process, on a data directory of its own, that can be killed and started again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::ids::ChatSessionId;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::OnceCell;
use url::Url;

use crate::deadline::{eventually, within};
use crate::processes::{self, Process, Role};

/// What `gadget local` is started with, besides address and data directory.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
}

impl Options {
    /// With a provider that speaks OpenAI at `url`; its key must be seen by nobody but that server.
    pub fn openai(url: &str, key: &str) -> Self {
        Self::default()
            .argument("--openai")
            .argument(url)
            .argument("--key-env")
            .argument("TEST_MODEL_KEY")
            .variable("TEST_MODEL_KEY", key)
    }

    pub fn ollama(url: &str) -> Self {
        Self::default().argument("--ollama").argument(url)
    }

    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// The first line that `gadget local --json` writes, once it is ready.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    pub url: Url,
    pub token: String,
    pub data_dir: PathBuf,
    pub workspace: PathBuf,
    pub pid: i32,
}

/// A running `gadget local`. Killed with all its drones when dropped.
#[derive(Debug)]
pub struct Gadget {
    options: Options,
    directory: TempDir,
    ready: Ready,
    process: Child,
    /// After the ready line. Kept open, because a closed pipe is not what is tested.
    output: Lines<BufReader<ChildStdout>>,
}

impl Gadget {
    /// On a free port and an empty data directory.
    pub async fn start(options: Options) -> Result<Self> {
        let directory = tempfile::tempdir().context("failed to make a temporary directory")?;
        let free: SocketAddr = ([127, 0, 0, 1], 0).into();
        let (process, ready, output) = launch(&options, directory.path(), free).await?;
        Ok(Self { options, directory, ready, process, output })
    }

    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    pub fn data(&self) -> PathBuf {
        data(self.directory.path())
    }

    /// The root of the hub, without a fragment.
    pub fn origin(&self) -> String {
        let mut url = self.ready.url.clone();
        url.set_fragment(None);
        url.to_string().trim_end_matches('/').to_owned()
    }

    /// Where the drone of a session works.
    pub fn workspace(&self, session: &ChatSessionId) -> PathBuf {
        self.data().join("workspaces").join(session.as_str())
    }

    pub fn token(&self) -> &str {
        &self.ready.token
    }

    /// SIGKILL to the hub alone; its drones live on.
    pub async fn kill_hub(&mut self) -> Result<()> {
        self.process.start_kill().context("failed to kill the hub")?;
        within("the hub's end", self.process.wait()).await?.context("failed to wait for the hub")?;
        Ok(())
    }

    /// Again, on the same data directory and port.
    pub async fn start_hub(&mut self) -> Result<()> {
        let host = self.ready.url.host_str().context("the URL names no host")?;
        let port = self.ready.url.port_or_known_default().context("the URL names no port")?;
        let address: SocketAddr = format!("{host}:{port}").parse().context("the URL names no address")?;
        let (process, ready, output) = launch(&self.options, self.directory.path(), address).await?;
        self.process = process;
        self.ready = ready;
        self.output = output;
        Ok(())
    }

    /// SIGKILL to the drone process of a session; its supervisor lives on. Says whether there was one.
    pub fn kill_drone(&self, session: &ChatSessionId) -> Result<bool> {
        let mut killed = false;
        for process in processes::of(&self.workspace(session))? {
            if process.role == Role::Drone {
                processes::kill_hard(process.pid)?;
                killed = true;
            }
        }
        Ok(killed)
    }

    pub fn processes(&self, role: Role) -> Result<Vec<Process>> {
        Ok(processes::of(&self.data())?.into_iter().filter(|process| process.role == role).collect())
    }

    /// Asks the hub to stop and waits for its end.
    pub async fn stop(&mut self, signal: Signal) -> Result<Stopped> {
        let pid = self.process.id().context("the hub has ended already")?;
        let began = tokio::time::Instant::now();
        kill(Pid::from_raw(i32::try_from(pid)?), signal).context("failed to signal the hub")?;
        let status = within("the hub's end", self.process.wait()).await??;
        let took = began.elapsed();
        Ok(Stopped { status, took, left: processes::of(&self.data())? })
    }

    /// What the hub has written to stderr, for the message of a test that fails.
    pub fn complaints(&self) -> String {
        tail(&log_file(self.directory.path()))
    }
}

impl Drop for Gadget {
    fn drop(&mut self) {
        // More than once: a supervisor may be just about to restart its drone.
        let _ended = self.process.start_kill();
        for _ in 0..3 {
            let _unlisted = processes::kill_all(&self.data());
        }
    }
}

/// How a hub ended that was asked to.
#[derive(Debug)]
pub struct Stopped {
    pub status: ExitStatus,
    pub took: Duration,
    /// Processes of its data directory that still run.
    pub left: Vec<Process>,
}

/// Runs `gadget` to its end, as in a terminal: for `--prompt`, `--help` and refusals.
pub async fn run(options: &Options, data: Option<&Path>) -> Result<std::process::Output> {
    let mut command = Command::new(program().await?);
    if let Some(data) = data {
        command.arg("local").args(["--listen", "127.0.0.1:0", "--data"]).arg(data);
    }
    command.args(&options.arguments).envs(&options.environment);
    command.stdin(Stdio::null()).kill_on_drop(true);
    within("the end of gadget", command.output()).await?.context("failed to run gadget")
}

async fn launch(
    options: &Options,
    directory: &Path,
    listen: SocketAddr,
) -> Result<(Child, Ready, Lines<BufReader<ChildStdout>>)> {
    let Options { arguments, environment } = options;
    let log = std::fs::File::options().create(true).append(true).open(log_file(directory))?;
    // Building it is no part of its start.
    let program = program().await?;
    // A port that was just left may still be taken for a moment.
    let started = eventually("the start of gadget local", || async {
        let mut process = Command::new(program)
            .args(["local", "--json", "--listen", &listen.to_string(), "--data"])
            .arg(data(directory))
            .args(arguments)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .kill_on_drop(true)
            .spawn()
            .context("failed to start gadget")?;
        let stdout = process.stdout.take().context("stdout is not piped")?;
        let mut lines = BufReader::new(stdout).lines();
        if let Some(line) = within("the ready line", lines.next_line()).await?? {
            let ready = serde_json::from_str::<Ready>(&line)
                .with_context(|| format!("the ready line is strange: {line}"))?;
            return Ok(Some((process, ready, lines)));
        }
        let status = process.wait().await?;
        let complaints = tail(&log_file(directory));
        if complaints.contains("taken by another program") {
            return Ok(None);
        }
        bail!("gadget local ended before it was ready ({status}): {complaints}")
    });
    started.await
}

fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("gadget.log")
}

fn tail(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// The `gadget` of this build, built first: a test must never run yesterday's. `GADGET_BIN` names another one.
async fn program() -> Result<&'static PathBuf> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    PROGRAM
        .get_or_try_init(|| async {
            if let Some(program) = std::env::var_os("GADGET_BIN") {
                return Ok(PathBuf::from(program));
            }
            let own = std::env::current_exe().context("failed to find this program")?;
            // Tests are in `deps` below it, benches are not.
            let target = own.ancestors().skip(1).find(|directory| !directory.ends_with("deps"));
            let target = target.context("this program is in no target directory")?;
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--package", "cli"]).current_dir(env!("CARGO_MANIFEST_DIR"));
            if target.ends_with("release") {
                build.arg("--release");
            }
            if !build.status().await.context("failed to start cargo")?.success() {
                bail!("failed to build gadget");
            }
            Ok(target.join("gadget"))
        })
        .await
}

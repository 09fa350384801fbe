//! A container that is a process of this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::control_plane::components::free_port;
use crate::control_plane::node::behaviour::Program;
use crate::control_plane::node::shared::Shared;
use crate::control_plane::node::volumes::{Mounts, Token, directory_of, field_of};
use crate::processes::kill_hard;

/// By which all processes of a pod are known, as a container's process namespace would know them.
const MARK: &str = "GADGET_TEST_POD";
/// How often readiness is looked at before it is there for the first time.
const EAGER: Duration = Duration::from_millis(20);
/// The end of its output that becomes the message of a container that failed.
const LAST_WORDS: usize = 2048;

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    pub code: i32,
    pub reason: &'static str,
}

#[derive(Debug)]
pub(super) enum Sign {
    Ready(bool),
    Unhealthy(String),
    /// And what it said last, where the pod wants that to be kept.
    Ended(Exit, Option<String>),
}

#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    pid: Pid,
    pod: String,
    log: PathBuf,
    keeps_last_words: bool,
    /// What a test wants its end to look like.
    forced: Option<Exit>,
    probes: mpsc::Receiver<Sign>,
    /// Probes and the refresh of tokens: they end with it.
    _tasks: JoinSet<()>,
}

impl Running {
    pub(super) async fn start(shared: &Shared, pod: &Pod, program: &Program) -> Result<Self> {
        let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        let container = container.context("a pod has a container")?.clone();
        let mounts = Mounts::prepare(shared, pod, &container).await?;
        let ports = ports(&container)?;
        let log = log_of(shared, pod);
        if let Some(directory) = log.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let output = std::fs::File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(&program.path);
        command
            .args(arguments(&container).map(|text| local(&mounts, &ports, text)))
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(environment(pod, &container).map(|(name, text)| (name, local(&mounts, &ports, &text))))
            .envs(&program.environment)
            .env(MARK, pod.uid().unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(shared.group())
            .kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("failed to start {}", program.path.display()))?;
        let pid = Pid::from_raw(i32::try_from(child.id().context("the process has ended already")?)?);
        let (sender, probes) = mpsc::channel(16);
        let mut tasks = JoinSet::new();
        for token in mounts.tokens {
            tasks.spawn(refresh(token, shared.clone(), pod.clone()));
        }
        tasks.spawn(probe(container.clone(), ports, sender));
        Ok(Self {
            child,
            pid,
            pod: pod.uid().unwrap_or_default(),
            log,
            keeps_last_words: container.termination_message_policy.as_deref()
                == Some("FallbackToLogsOnError"),
            forced: None,
            probes,
            _tasks: tasks,
        })
    }

    /// May be dropped at any time: nothing is lost.
    pub(super) async fn sign(&mut self) -> Sign {
        let status = tokio::select! {
            status = self.child.wait() => status,
            Some(sign) = self.probes.recv() => {
                if matches!(sign, Sign::Unhealthy(_)) {
                    let _ended = self.terminate();
                }
                return sign;
            }
        };
        // With the first process all others of a container end.
        kill_marked(&self.pod);
        let exit = self.forced.unwrap_or_else(|| exit_of(status.ok()));
        let words = (self.keeps_last_words && exit.code != 0).then(|| last_words(&self.log));
        Sign::Ended(exit, words)
    }

    pub(super) fn terminate(&self) -> Result<()> {
        match kill(self.pid, Signal::SIGTERM) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).context("failed to signal a container"),
        }
    }

    /// Kills it; the end will be told as this one.
    pub(super) fn end_as(&mut self, exit: Exit) -> Result<()> {
        self.forced = Some(exit);
        kill_hard(self.pid)
    }

    /// Kills all of it and waits for the end.
    pub(super) async fn kill(mut self) -> Result<()> {
        kill_hard(self.pid)?;
        self.child.wait().await.context("failed to wait for a container")?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.child.start_kill();
        kill_marked(&self.pod);
    }
}

pub(super) fn log_of(shared: &Shared, pod: &Pod) -> PathBuf {
    directory_of(shared, pod).join("container.log")
}

/// Without the program's own name, where the container gives one.
fn arguments(container: &Container) -> impl Iterator<Item = &String> {
    let command = container.command.iter().flatten().skip(1);
    command.chain(container.args.iter().flatten())
}

fn environment<'a>(pod: &'a Pod, container: &'a Container) -> impl Iterator<Item = (String, String)> + 'a {
    container.env.iter().flatten().filter_map(|variable| {
        let told = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let value = variable.value.clone().or_else(|| field_of(pod, told?))?;
        Some((variable.name.clone(), value))
    })
}

/// A free port here for each port of the container.
fn ports(container: &Container) -> Result<BTreeMap<i32, u16>> {
    let ports = container.ports.iter().flatten();
    ports.map(|port| Ok((port.container_port, free_port()?))).collect()
}

fn local(mounts: &Mounts, ports: &BTreeMap<i32, u16>, text: &str) -> String {
    let mut text = mounts.translate(text);
    for (port, here) in ports {
        text = text.replace(&format!("0.0.0.0:{port}"), &format!("127.0.0.1:{here}"));
    }
    text
}

async fn refresh(token: Token, shared: Shared, pod: Pod) {
    let lifetime = Duration::from_secs(u64::try_from(token.seconds).unwrap_or_default());
    loop {
        // The kubelet's rule: at 80 % of its life.
        tokio::time::sleep(lifetime.mul_f64(0.8)).await;
        if let Err(error) = token.write(&shared, &pod).await {
            shared.complain(format!("{error:#}"));
        }
    }
}

async fn probe(container: Container, ports: BTreeMap<i32, u16>, signs: mpsc::Sender<Sign>) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap_or_default();
    let ready = container.readiness_probe.as_ref().and_then(|probe| Check::new(probe, &container, &ports));
    let alive = container.liveness_probe.as_ref().and_then(|probe| Check::new(probe, &container, &ports));
    tokio::join!(readiness(ready, &client, &signs), liveness(alive, &client, &signs));
}

async fn readiness(check: Option<Check>, client: &reqwest::Client, signs: &mpsc::Sender<Sign>) {
    let Some(check) = check else {
        let _gone = signs.send(Sign::Ready(true)).await;
        return;
    };
    let (mut was, mut failures) = (false, 0);
    loop {
        let good = check.ask(client).await.is_ok();
        failures = if good { 0 } else { failures + 1 };
        let is = good || was && failures < check.failures;
        if is != was && signs.send(Sign::Ready(is)).await.is_err() {
            return;
        }
        was = is;
        tokio::time::sleep(if was { check.period } else { EAGER }).await;
    }
}

async fn liveness(check: Option<Check>, client: &reqwest::Client, signs: &mpsc::Sender<Sign>) {
    let Some(check) = check else { return };
    let mut failures = 0;
    // As a startup probe does: it counts from the first success on.
    while check.ask(client).await.is_err() {
        tokio::time::sleep(EAGER).await;
    }
    loop {
        tokio::time::sleep(check.period).await;
        match check.ask(client).await {
            Ok(()) => failures = 0,
            Err(why) => {
                failures += 1;
                if failures == check.failures && signs.send(Sign::Unhealthy(why)).await.is_err() {
                    return;
                }
            }
        }
    }
}

struct Check {
    url: String,
    period: Duration,
    timeout: Duration,
    failures: i32,
}

impl Check {
    fn new(probe: &Probe, container: &Container, ports: &BTreeMap<i32, u16>) -> Option<Self> {
        let HTTPGetAction { path, port, .. } = probe.http_get.as_ref()?;
        let port = match port {
            IntOrString::Int(port) => *port,
            IntOrString::String(name) => {
                let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
                named?.container_port
            }
        };
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
        };
        Some(Self {
            url: format!("http://127.0.0.1:{}{}", ports.get(&port)?, path.as_deref().unwrap_or("/")),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            failures: probe.failure_threshold.unwrap_or(3),
        })
    }

    async fn ask(&self, client: &reqwest::Client) -> Result<(), String> {
        let answer = client.get(&self.url).timeout(self.timeout).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("HTTP probe failed with statuscode: {status}")) }
    }
}

fn exit_of(status: Option<ExitStatus>) -> Exit {
    let signal = status.and_then(|status| std::os::unix::process::ExitStatusExt::signal(&status));
    let code = status.and_then(|status| status.code()).or(signal.map(|signal| 128 + signal)).unwrap_or(255);
    Exit { code, reason: if code == 0 { "Completed" } else { "Error" } }
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let from = text.len().saturating_sub(LAST_WORDS);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    text[from..].to_owned()
}

/// SIGKILL to every process that carries the pod's mark.
fn kill_marked(pod: &str) {
    let mark = format!("{MARK}={pod}");
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
            let _ended = kill_hard(Pid::from_raw(pid));
        }
    }
}

//! One pod on a node: what the kubelet does about it, from its arrival to its end.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::control_plane::node::behaviour::{Behaviour, Container, Eviction, Obstacle, Start};
use crate::control_plane::node::container::{Exit, Running, Sign};
use crate::control_plane::node::shared::Shared;
use crate::control_plane::node::status::{Ended, PodState, State};

/// Longest that a pod's end is waited for, where it names no time of its own.
const GRACE: i64 = 30;

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Message {
    /// The pod as the API server has it now.
    Is(Box<Pod>),
    /// The API server has it no more: its end need not be told.
    Gone,
    /// A test has changed the behaviour of some pods.
    Behave,
    Exit {
        code: i32,
        reason: &'static str,
    },
    Evict(Eviction),
    Ready(bool),
}

/// What a worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Start,
    BecomeReady,
    /// The image is looked for again, in vain.
    BackOff,
    Restart,
    /// The grace period is over.
    Kill,
}

pub(super) struct Worker {
    shared: Shared,
    inbox: mpsc::Receiver<Message>,
    pod: Pod,
    state: PodState,
    behaviour: Behaviour,
    /// The one thing that is due, and when.
    next: Option<(Next, Instant)>,
    process: Option<Running>,
    stopping: bool,
}

impl Worker {
    pub(super) fn new(shared: Shared, inbox: mpsc::Receiver<Message>, pod: Pod) -> Self {
        let state = PodState {
            container: State::creating(),
            ready: false,
            restarts: 0,
            last: None,
            arrived: now(),
            evicted: None,
            ip: shared.next_ip(),
            host_ip: "127.0.0.1".to_owned(),
        };
        let behaviour = shared.behaviour_of(&pod);
        Self { shared, inbox, pod, state, behaviour, next: None, process: None, stopping: false }
    }

    /// Until the pod is gone, or the node is dropped.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.live().await {
            let name = self.pod.name_any();
            tracing::warn!("the node simulator failed with pod {name}: {error:#}");
            self.shared.complain(format!("pod {name}: {error:#}"));
        }
    }

    async fn live(&mut self) -> Result<()> {
        let phase = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let over = matches!(phase, Some("Succeeded" | "Failed"));
        if self.pod.metadata.deletion_timestamp.is_some() {
            self.stop().await?;
        } else if !over {
            self.after(Next::Start, self.behaviour.start_delay);
        }
        loop {
            let due = self.next.map(|(_, at)| at);
            let timer = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let sign = async {
                match &mut self.process {
                    Some(process) => process.sign().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = self.inbox.recv() => match message {
                    None | Some(Message::Gone) => return self.kill().await,
                    Some(message) => self.on_message(message).await?,
                },
                sign = sign => self.on_sign(sign).await?,
                () = timer => {
                    if let Some((next, _)) = self.next.take() {
                        self.on_time(next).await?;
                    }
                }
            }
            if self.pod.metadata.deletion_timestamp.is_some() && !self.stopping {
                self.stop().await?;
            }
        }
    }

    async fn on_message(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Is(pod) => self.pod = *pod,
            Message::Gone => {}
            Message::Behave => self.on_behaviour(),
            Message::Exit { code, reason } => match &mut self.process {
                Some(process) => process.end_as(Exit { code, reason })?,
                None => self.on_exit(Exit { code, reason }, None).await?,
            },
            Message::Evict(eviction) => self.evict(eviction).await?,
            Message::Ready(ready) => self.set_ready(ready).await?,
        }
        Ok(())
    }

    /// A pod that waits for something looks again; one that runs goes on.
    fn on_behaviour(&mut self) {
        self.behaviour = self.shared.behaviour_of(&self.pod);
        if self.stopping {
            return;
        }
        match &self.state.container {
            State::Waiting(..) => self.after(Next::Start, Duration::ZERO),
            State::Running(_) if !self.state.ready && self.process.is_none() => {
                self.after(Next::BecomeReady, self.behaviour.ready_delay);
            }
            State::Running(_) | State::Ended(_) => {}
        }
    }

    async fn on_time(&mut self, next: Next) -> Result<()> {
        match next {
            Next::Start => self.start().await,
            Next::BecomeReady if self.behaviour.start == Start::NotReady => Ok(()),
            Next::BecomeReady => self.set_ready(true).await,
            Next::BackOff => {
                if let Start::Waits(obstacle) = self.behaviour.start.clone() {
                    self.state.container = State::obstructed(&obstacle, true);
                    self.write().await?;
                }
                Ok(())
            }
            Next::Restart => {
                self.state.restarts += 1;
                self.start().await
            }
            Next::Kill => match &mut self.process {
                Some(process) => process.end_as(Exit { code: 137, reason: "Error" }),
                None => self.finish(self.played_end()).await,
            },
        }
    }

    async fn on_sign(&mut self, sign: Sign) -> Result<()> {
        match sign {
            Sign::Ready(ready) => self.set_ready(ready).await,
            Sign::Unhealthy(why) => self.event("Unhealthy", &format!("Liveness probe failed: {why}")).await,
            Sign::Ended(exit, message) => {
                self.process = None;
                if self.stopping {
                    return self.finish(exit).await;
                }
                self.on_exit(exit, message).await
            }
        }
    }

    async fn start(&mut self) -> Result<()> {
        match self.behaviour.start.clone() {
            Start::Waits(obstacle) => return self.wait_for(obstacle).await,
            Start::Exits(code) => {
                let exit = Exit { code, reason: if code == 0 { "Completed" } else { "Error" } };
                self.state.container = State::Running(now());
                return self.on_exit(exit, None).await;
            }
            Start::Runs | Start::NotReady => {}
        }
        if let Container::Process(program) = self.behaviour.container.clone() {
            match Running::start(&self.shared, &self.pod, &program).await {
                Ok(process) => self.process = Some(process),
                Err(error) => {
                    let words = format!("{error:#}");
                    self.shared.complain(words.clone());
                    return self.wait_for(Obstacle::Mount(words)).await;
                }
            }
        }
        self.state.container = State::Running(now());
        let at_once = self.process.is_none()
            && self.behaviour.start == Start::Runs
            && self.behaviour.ready_delay.is_zero();
        self.state.ready = at_once;
        self.write().await?;
        if self.process.is_none() && !at_once {
            self.after(Next::BecomeReady, self.behaviour.ready_delay);
        }
        Ok(())
    }

    async fn wait_for(&mut self, obstacle: Obstacle) -> Result<()> {
        self.state.container = State::obstructed(&obstacle, false);
        self.state.ready = false;
        self.write().await?;
        match &obstacle {
            Obstacle::Mount(message) => self.event("FailedMount", message).await?,
            Obstacle::Image(message) => {
                self.event("Failed", &format!("Failed to pull image: {message}")).await?;
                self.after(Next::BackOff, self.behaviour.restart_delay);
            }
            Obstacle::ImageName(message) => self.event("InspectFailed", message).await?,
            Obstacle::Configuration(message) => self.event("Failed", &format!("Error: {message}")).await?,
        }
        Ok(())
    }

    async fn on_exit(&mut self, exit: Exit, message: Option<String>) -> Result<()> {
        let started = match &self.state.container {
            State::Running(since) => Some(since.clone()),
            State::Waiting(..) | State::Ended(_) => None,
        };
        let Exit { code, reason } = exit;
        let ended = Ended { code, reason, started, finished: now(), message };
        self.state.ready = false;
        let policy = self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        let again = match policy {
            Some("Never") => false,
            Some("OnFailure") => code != 0,
            _ => true,
        };
        if !again {
            self.state.container = State::Ended(ended);
            return self.write().await;
        }
        self.state.last = Some(ended);
        self.state.container = State::creating();
        let delay = self.behaviour.restart_delay;
        if delay.is_zero() && !matches!(self.behaviour.start, Start::Exits(_)) {
            self.after(Next::Restart, delay);
            return Ok(());
        }
        let message = format!("back-off restarting failed container in pod {}", self.pod.name_any());
        self.state.container = State::Waiting("CrashLoopBackOff", Some(message));
        self.write().await?;
        self.after(Next::Restart, delay.max(Duration::from_millis(20)));
        Ok(())
    }

    async fn evict(&mut self, eviction: Eviction) -> Result<()> {
        self.kill().await?;
        self.next = None;
        let started = match &self.state.container {
            State::Running(since) => Some(since.clone()),
            State::Waiting(..) | State::Ended(_) => None,
        };
        let ended = Ended { code: 137, reason: "Error", started, finished: now(), message: None };
        self.state.container = State::Ended(ended);
        self.state.evicted = Some(eviction);
        self.state.ready = false;
        self.write().await?;
        self.event(eviction.reason(), eviction.message()).await
    }

    async fn set_ready(&mut self, ready: bool) -> Result<()> {
        if self.state.ready == ready || !matches!(self.state.container, State::Running(_)) {
            return Ok(());
        }
        self.state.ready = ready;
        self.write().await
    }

    /// Somebody wants the pod to end.
    async fn stop(&mut self) -> Result<()> {
        self.stopping = true;
        let grace = self.grace();
        match &mut self.process {
            Some(process) => {
                process.terminate()?;
                self.after(Next::Kill, grace);
                Ok(())
            }
            None if self.behaviour.stop_delay.is_zero()
                || !matches!(self.state.container, State::Running(_)) =>
            {
                self.finish(Exit { code: 0, reason: "Completed" }).await
            }
            None => {
                self.after(Next::Kill, self.behaviour.stop_delay.min(grace));
                Ok(())
            }
        }
    }

    /// Nothing runs any more: say how it ended, and let the object go.
    async fn finish(&mut self, exit: Exit) -> Result<()> {
        self.next = None;
        self.state.ready = false;
        if let State::Running(since) = &self.state.container {
            let Exit { code, reason } = exit;
            let started = Some(since.clone());
            self.state.container =
                State::Ended(Ended { code, reason, started, finished: now(), message: None });
        }
        self.write().await?;
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { resource_version: None, uid: self.pod.uid() }),
            ..DeleteParams::default()
        };
        let (pods, name) = (self.pods()?, self.pod.name_any());
        self.shared.insist(|| async { pods.delete(&name, &parameters).await.map(drop) }).await
    }

    /// How a played container ends that was asked to.
    fn played_end(&self) -> Exit {
        if self.behaviour.stop_delay > self.grace() {
            Exit { code: 137, reason: "Error" }
        } else {
            Exit { code: 0, reason: "Completed" }
        }
    }

    fn grace(&self) -> Duration {
        let grace = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(GRACE);
        Duration::from_secs(u64::try_from(grace).unwrap_or_default())
    }

    async fn kill(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    fn after(&mut self, next: Next, delay: Duration) {
        self.next = Some((next, Instant::now() + delay));
    }

    async fn write(&mut self) -> Result<()> {
        let status = self.state.status(&self.pod, &now());
        let patch = json!({ "metadata": { "uid": self.pod.uid() }, "status": status });
        let name = self.pod.name_any();
        let pods = self.pods()?;
        let (parameters, patch) = (PatchParams::default(), Patch::Strategic(patch));
        self.shared.insist(|| async { pods.patch_status(&name, &parameters, &patch).await.map(drop) }).await
    }

    fn pods(&self) -> Result<Api<Pod>> {
        let namespace = self.pod.namespace().context("a pod has a namespace")?;
        Ok(Api::namespaced(self.shared.client(), &namespace))
    }

    /// As the kubelet tells it.
    async fn event(&self, reason: &str, message: &str) -> Result<()> {
        let namespace = self.pod.namespace().context("a pod has a namespace")?;
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}.", self.pod.name_any())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(self.pod.name_any()),
                namespace: Some(namespace.clone()),
                uid: self.pod.uid(),
                ..ObjectReference::default()
            },
            type_: Some("Warning".to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            source: Some(EventSource {
                component: Some("kubelet".to_owned()),
                host: Some(self.shared.node().to_owned()),
            }),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(self.shared.node().to_owned()),
            first_timestamp: Some(now()),
            last_timestamp: Some(now()),
            count: Some(1),
            ..Event::default()
        };
        let events: Api<Event> = Api::namespaced(self.shared.client(), &namespace);
        self.shared.insist(|| async { events.create(&PostParams::default(), &event).await.map(drop) }).await
    }
}

pub(super) fn now() -> Time {
    Time(Timestamp::now())
}

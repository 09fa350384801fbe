//! What is read of a Pod. Of pods that are not ours it is the same; they are few.

use crds::names;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, PodCondition};
use k8s_openapi::jiff::Timestamp;

use super::seen::{self, Name, Owner, Uid};

#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub name: Name,
    pub uid: Uid,
    pub created: Timestamp,
    pub deleting: bool,
    pub owner: Option<Owner>,
    pub class_revision: Option<Name>,
    pub node: Option<Name>,
    pub phase: PodPhase,
    /// Of the whole pod, such as `Evicted`.
    pub reason: Option<Name>,
    pub message: Option<String>,
    pub ready: bool,
    /// Why it has no node, in the scheduler's words.
    pub unschedulable: Option<String>,
    /// Reason and message of `DisruptionTarget`: who makes it go.
    pub disruption: Option<(Name, String)>,
    pub container: Container,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// The container `drone`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Container {
    pub restarts: i32,
    pub running: bool,
    /// Reason and message while it waits.
    pub waiting: Option<(Name, String)>,
    /// While it is ended.
    pub terminated: Option<Termination>,
    /// How it ended the last time.
    pub last: Option<Termination>,
    /// Its limit of memory, to be named in words.
    pub memory_limit: Option<Name>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Termination {
    pub exit_code: i32,
    pub reason: Name,
    /// The last lines of its log.
    pub message: String,
}

impl Container {
    /// How often it has ended so far.
    pub fn exits(&self) -> i32 {
        let ended = self.terminated.is_some() || self.is_backing_off();
        self.restarts + i32::from(ended)
    }

    pub fn is_backing_off(&self) -> bool {
        self.waiting.as_ref().is_some_and(|(reason, _)| &**reason == "CrashLoopBackOff")
    }

    pub fn last_end(&self) -> Option<&Termination> {
        self.terminated.as_ref().or(self.last.as_ref())
    }
}

const CONTAINER: &str = "drone";

impl From<k8s_openapi::api::core::v1::Pod> for Pod {
    fn from(pod: k8s_openapi::api::core::v1::Pod) -> Self {
        let meta = &pod.metadata;
        let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
        let conditions = status.conditions.unwrap_or_default();
        let condition = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
        let memory_limit =
            spec.containers.iter().find(|container| container.name == CONTAINER).and_then(|found| {
                let limit = found.resources.as_ref()?.limits.as_ref()?.get("memory")?;
                Some(limit.0.as_str().into())
            });
        let statuses = status.container_statuses.unwrap_or_default();
        let container = statuses.into_iter().find(|status| status.name == CONTAINER);
        Self {
            name: seen::name(meta),
            uid: seen::uid(meta),
            created: seen::created(meta),
            deleting: meta.deletion_timestamp.is_some(),
            owner: seen::owner(meta),
            class_revision: meta
                .annotations
                .as_ref()
                .and_then(|annotations| annotations.get(names::CLASS_REVISION))
                .map(|revision| revision.as_str().into()),
            node: spec.node_name.map(Into::into),
            phase: match status.phase.as_deref() {
                Some("Running") => PodPhase::Running,
                Some("Succeeded") => PodPhase::Succeeded,
                Some("Failed") => PodPhase::Failed,
                _ => PodPhase::Pending,
            },
            reason: status.reason.map(Into::into),
            message: status.message.map(|message| crds::conditions::bounded(&message)),
            ready: condition("Ready").is_some_and(is_true),
            unschedulable: condition("PodScheduled")
                .filter(|scheduled| scheduled.status == "False")
                .map(words),
            disruption: condition("DisruptionTarget")
                .filter(|target| is_true(target))
                .map(|target| (target.reason.clone().unwrap_or_default().into(), words(target))),
            container: Container { memory_limit, ..container.map(Container::from).unwrap_or_default() },
        }
    }
}

impl From<k8s_openapi::api::core::v1::ContainerStatus> for Container {
    fn from(status: k8s_openapi::api::core::v1::ContainerStatus) -> Self {
        let ContainerState { running, terminated, waiting } = status.state.unwrap_or_default();
        Self {
            restarts: status.restart_count,
            running: running.is_some(),
            waiting: waiting.map(|waiting| {
                let message = crds::conditions::bounded(&waiting.message.unwrap_or_default());
                (waiting.reason.unwrap_or_default().into(), message)
            }),
            terminated: terminated.map(Termination::from),
            last: status.last_state.and_then(|last| last.terminated).map(Termination::from),
            memory_limit: None,
        }
    }
}

impl From<ContainerStateTerminated> for Termination {
    fn from(ended: ContainerStateTerminated) -> Self {
        Self {
            exit_code: ended.exit_code,
            reason: ended.reason.unwrap_or_default().into(),
            message: crds::conditions::bounded(&last_line(&ended.message.unwrap_or_default())),
        }
    }
}

/// The line that says most: the last one that tells of an error, else the last one. The rest of a log is not for a
/// status.
fn last_line(log: &str) -> String {
    let mut lines = log.lines().rev().map(str::trim).filter(|line| !line.is_empty()).peekable();
    let last = lines.peek().copied().unwrap_or_default();
    lines.find(|line| line.starts_with("error: ")).unwrap_or(last).to_owned()
}

fn is_true(condition: &PodCondition) -> bool {
    condition.status == "True"
}

fn words(condition: &PodCondition) -> String {
    crds::conditions::bounded(condition.message.as_deref().unwrap_or_default())
}

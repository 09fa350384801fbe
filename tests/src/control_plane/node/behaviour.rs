//! What a test wants of pods: how they start, how they stop, and what runs in them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

/// Which pods something is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    All,
    /// By name, or by `namespace/name`.
    Pod(String),
    Label(String, String),
}

impl Selector {
    pub fn pod(name: &str) -> Self {
        Self::Pod(name.to_owned())
    }

    pub fn label(key: &str, value: &str) -> Self {
        Self::Label(key.to_owned(), value.to_owned())
    }

    pub fn matches(&self, pod: &Pod) -> bool {
        match self {
            Self::All => true,
            Self::Pod(name) => is_named(pod, name),
            Self::Label(key, value) => pod.labels().get(key).is_some_and(|has| has == value),
        }
    }
}

/// By name, or by `namespace/name`.
pub(super) fn is_named(pod: &Pod, name: &str) -> bool {
    match name.split_once('/') {
        Some((namespace, name)) => pod.namespace().as_deref() == Some(namespace) && pod.name_any() == name,
        None => pod.name_any() == name,
    }
}

/// By default a pod is ready at once, and gone at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behaviour {
    pub start: Start,
    pub container: Container,
    /// From the pod's arrival at the node to its container's start.
    pub start_delay: Duration,
    /// From the container's start to ready. Not for a process: that says itself when it is.
    pub ready_delay: Duration,
    /// From the wish that the pod ends to its end, at most its grace period. Not for a process.
    pub stop_delay: Duration,
    /// Before a container that ended is started again: `CrashLoopBackOff` for so long.
    pub restart_delay: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    #[default]
    Runs,
    /// Runs and does not become ready before the behaviour changes.
    NotReady,
    /// Ends with this code as soon as it runs, again and again.
    Exits(i32),
    /// Cannot start before the behaviour changes.
    Waits(Obstacle),
}

/// Why a container does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// `ErrImagePull`, then `ImagePullBackOff`, with the registry's words.
    Image(String),
    /// `InvalidImageName`: never pulled at all.
    ImageName(String),
    /// `CreateContainerConfigError`, such as a secret that is not there.
    Configuration(String),
    /// Seen in events of the pod only, with reason `FailedMount`.
    Mount(String),
}

/// What runs in a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Container {
    /// Nothing: its state is played.
    #[default]
    Played,
    /// A process of this machine, called with the arguments of the pod's first container.
    Process(Program),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    /// Besides what the container says.
    pub environment: BTreeMap<String, String>,
}

impl Behaviour {
    pub fn starts(start: Start) -> Self {
        Self { start, ..Self::default() }
    }

    pub fn waits(obstacle: Obstacle) -> Self {
        Self::starts(Start::Waits(obstacle))
    }

    pub fn process(path: PathBuf) -> Self {
        let program = Program { path, environment: BTreeMap::new() };
        Self { container: Container::Process(program), ..Self::default() }
    }
}

/// Why a node puts a pod out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    Memory,
    EphemeralStorage,
    /// The node is being shut down.
    Shutdown,
}

impl Eviction {
    /// In the kubelet's words.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Memory | Self::EphemeralStorage => "Evicted",
            Self::Shutdown => "Terminated",
        }
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Memory => {
                "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi. Container drone was \
                 using 2Gi, request is 1Gi, has larger consumption of memory. "
            }
            Self::EphemeralStorage => {
                "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 512Mi. "
            }
            Self::Shutdown => "Pod was terminated in response to imminent node shutdown.",
        }
    }
}

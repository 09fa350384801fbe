//! A node that is played: it plays the kubelet for the pods that the real scheduler binds to it, by a test's script.
//!
//! By default a pod is ready as soon as it comes, and gone as soon as that is wanted. With [`Container::Process`] its
//! container is a real process of this machine, with the pod's volumes as directories and a real bound token.

mod behaviour;
mod container;
mod kubelet;
mod shared;
mod status;
mod volumes;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use kube::ResourceExt as _;
use tokio::task::JoinSet;

use crate::control_plane::ControlPlane;
use crate::control_plane::node::behaviour::is_named;
pub use crate::control_plane::node::behaviour::{
    Behaviour, Container, Eviction, Obstacle, Program, Selector, Start,
};
use crate::control_plane::node::kubelet::{WorkerHandle, Workers, entries};
use crate::control_plane::node::shared::Shared;
use crate::control_plane::node::worker::Message;
use crate::deadline::eventually;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeOptions {
    pub name: String,
    /// As quantities of Kubernetes.
    pub cpu: String,
    pub memory: String,
    pub pods: u32,
    pub labels: BTreeMap<String, String>,
}

impl NodeOptions {
    /// With room for thousands of pods.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            cpu: "10000".to_owned(),
            memory: "40Ti".to_owned(),
            pods: 20_000,
            labels: BTreeMap::new(),
        }
    }
}

/// Pods are named by their name, or by `namespace/name`. Dropped: its processes are killed and its heartbeats end.
#[derive(Debug)]
pub struct Node {
    shared: Shared,
    workers: Workers,
    _tasks: JoinSet<()>,
}

impl Node {
    /// Ready to take pods when this returns.
    pub async fn start(control_plane: &ControlPlane, name: &str) -> Result<Self> {
        Self::start_with(control_plane, NodeOptions::named(name)).await
    }

    pub async fn start_with(control_plane: &ControlPlane, options: NodeOptions) -> Result<Self> {
        let client = control_plane.client_named("gadget-test-kubelet").await?;
        let directory = control_plane.directory().join("nodes").join(&options.name);
        let shared = Shared::new(&options.name, client, directory, control_plane.guard().group()?);
        kubelet::register(&shared, &options).await?;
        let workers = Workers::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(kubelet::heartbeats(shared.clone()));
        tasks.spawn(kubelet::run(shared.clone(), workers.clone()));
        Ok(Self { shared, workers, _tasks: tasks })
    }

    pub fn name(&self) -> &str {
        self.shared.node()
    }

    /// For pods to come, and at once for pods that wait for something. Of several that match a pod the newest counts.
    pub async fn set_behaviour(&self, selector: Selector, behaviour: Behaviour) {
        self.shared.set_behaviour(selector.clone(), behaviour);
        let concerned = entries(&self.workers, |workers| {
            let concerned = workers.values().filter(|handle| selector.matches(&handle.pod));
            concerned.map(|handle| handle.inbox.clone()).collect::<Vec<_>>()
        });
        for inbox in concerned {
            let _ended = inbox.send(Message::Behave).await;
        }
    }

    /// Its containers end with this code.
    pub async fn exit(&self, pod: &str, code: i32) -> Result<()> {
        let reason = if code == 0 { "Completed" } else { "Error" };
        self.tell(pod, Message::Exit { code, reason }).await
    }

    pub async fn oom(&self, pod: &str) -> Result<()> {
        self.tell(pod, Message::Exit { code: 137, reason: "OOMKilled" }).await
    }

    /// The node puts it out by itself.
    pub async fn evict(&self, pod: &str, eviction: Eviction) -> Result<()> {
        self.tell(pod, Message::Evict(eviction)).await
    }

    pub async fn set_ready(&self, pod: &str, ready: bool) -> Result<()> {
        self.tell(pod, Message::Ready(ready)).await
    }

    /// The image of pods with this name cannot be had from now on; `heal` ends that.
    pub async fn image_error(&self, pod: &str, message: &str) {
        let obstacle = Obstacle::Image(message.to_owned());
        self.set_behaviour(Selector::pod(pod), Behaviour::waits(obstacle)).await;
    }

    /// Pods with this name do as all others do again.
    pub async fn heal(&self, pod: &str) {
        self.set_behaviour(Selector::pod(pod), Behaviour::default()).await;
    }

    /// From now on it reaches nobody and nobody reaches it. Its processes go on. The real controllers evict its pods only
    /// where another node is well: with all of them lost they take themselves for the one who is cut off.
    pub fn lose(&self) {
        self.shared.set_lost(true);
    }

    pub async fn come_back(&self) -> Result<()> {
        self.shared.set_lost(false);
        kubelet::set_condition(&self.shared, true).await
    }

    /// What the kubelet says of itself, heartbeats going on.
    pub async fn set_node_ready(&self, ready: bool) -> Result<()> {
        kubelet::set_condition(&self.shared, ready).await
    }

    /// What a pod's process has written. The file stays when the pod is gone.
    pub async fn log_file(&self, pod: &str) -> Result<PathBuf> {
        Ok(container::log_of(&self.shared, &self.find(pod).await?.pod))
    }

    /// What went wrong in the simulator itself, for the message of a test that fails.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.complaints()
    }

    /// Names of the pods that it has now.
    pub fn pods(&self) -> Vec<String> {
        entries(&self.workers, |workers| workers.values().map(|handle| handle.pod.name_any()).collect())
    }

    async fn tell(&self, pod: &str, message: Message) -> Result<()> {
        let handle = self.find(pod).await?;
        handle.inbox.send(message).await.ok().with_context(|| format!("the pod {pod} is gone"))
    }

    /// Waits for it to come.
    async fn find(&self, pod: &str) -> Result<WorkerHandle> {
        eventually(&format!("the pod {pod} on {}", self.name()), || async {
            Ok(entries(&self.workers, |workers| {
                workers.values().find(|handle| is_named(&handle.pod, pod)).cloned()
            }))
        })
        .await
    }
}

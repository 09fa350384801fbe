//! What all parts of a simulated node know.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use tokio::sync::watch;

use crate::control_plane::node::behaviour::{Behaviour, Selector};

/// Between two tries while the API server is away.
const RETRY: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Inner>);

struct Inner {
    node: String,
    client: Client,
    /// For volumes, logs and whatever else a kubelet keeps.
    directory: PathBuf,
    /// The process group that ends with the control plane.
    group: i32,
    /// The newest last. A lock because tests write while workers read; held for one look.
    behaviours: Mutex<Vec<(Selector, Behaviour)>>,
    /// What went wrong in the simulator itself.
    complaints: Mutex<Vec<String>>,
    lost: watch::Sender<bool>,
    ips: AtomicU32,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(node: &str, client: Client, directory: PathBuf, group: i32) -> Self {
        Self(Arc::new(Inner {
            node: node.to_owned(),
            client,
            directory,
            group,
            behaviours: Mutex::default(),
            complaints: Mutex::default(),
            lost: watch::Sender::new(false),
            ips: AtomicU32::new(1),
        }))
    }

    pub(super) fn node(&self) -> &str {
        &self.0.node
    }

    pub(super) fn client(&self) -> Client {
        self.0.client.clone()
    }

    pub(super) fn directory(&self) -> &Path {
        &self.0.directory
    }

    pub(super) fn group(&self) -> i32 {
        self.0.group
    }

    pub(super) fn next_ip(&self) -> String {
        let [_, a, b, c] = self.0.ips.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        format!("10.{a}.{b}.{c}")
    }

    pub(super) fn behaviour_of(&self, pod: &Pod) -> Behaviour {
        let behaviours = self.0.behaviours.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = behaviours.iter().rev().find(|(selector, _)| selector.matches(pod));
        newest.map(|(_, behaviour)| behaviour.clone()).unwrap_or_default()
    }

    pub(super) fn set_behaviour(&self, selector: Selector, behaviour: Behaviour) {
        let mut behaviours = self.0.behaviours.lock().unwrap_or_else(PoisonError::into_inner);
        behaviours.retain(|(other, _)| *other != selector);
        behaviours.push((selector, behaviour));
    }

    pub(super) fn complain(&self, what: String) {
        self.0.complaints.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        self.0.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_lost(&self, lost: bool) {
        self.0.lost.send_replace(lost);
    }

    pub(super) fn lost(&self) -> watch::Receiver<bool> {
        self.0.lost.subscribe()
    }

    /// Waits while the node is lost: it can reach nobody then.
    pub(super) async fn reachable(&self) {
        let mut lost = self.lost();
        // The sender is in `self`.
        let _never_closed = lost.wait_for(|lost| !lost).await;
    }

    /// Writes as soon as the API server can be reached. That the object is gone or another one is none of our business:
    /// the watch tells.
    pub(super) async fn insist<F>(&self, write: impl Fn() -> F) -> Result<()>
    where
        F: Future<Output = kube::Result<()>>,
    {
        loop {
            self.reachable().await;
            match write().await {
                Ok(()) => return Ok(()),
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 409) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code < 429 => {
                    return Err(kube::Error::Api(status)).context("failed to write to the API server");
                }
                Err(_away) => tokio::time::sleep(RETRY).await,
            }
        }
    }
}

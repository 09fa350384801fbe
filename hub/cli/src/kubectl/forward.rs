//! The hub at a port of this machine: each connection goes through the API server to a pod of the hub that is ready at
//! that moment, so that a hub which is replaced is found again.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use crds::names;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::cluster::{Cluster, is_ready};

/// Connections at a time; more wait.
const CONNECTIONS: usize = 64;
/// How long one may take to be made.
const CONNECT: Duration = Duration::from_secs(15);
/// Where a hub listens that does not say so.
const PORT: u16 = 8420;
const PORT_NAME: &str = "http";

pub(super) struct Forward {
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Forward {
    /// Fails when there is no hub now.
    pub(super) async fn start(cluster: &Cluster, namespace: &str, port: u16) -> anyhow::Result<Self> {
        let hub = Hub { pods: Api::namespaced(cluster.client.clone(), namespace) };
        let Some(_) = cluster.answer(hub.find()).await? else {
            bail!(
                "no hub is ready in namespace {namespace}: name another with --hub-namespace, or look with \
                 `kubectl -n {namespace} get pods -l {}`",
                selector()
            );
        };
        let listener = TcpListener::bind(("127.0.0.1", port)).await.with_context(|| {
            format!("failed to listen on port {port} of this machine; name another with --port")
        })?;
        let address = listener.local_addr().context("failed to read the port")?;
        Ok(Self { address, accepting: tokio::spawn(accept(listener, hub)) })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // Its connections are its children and end with it.
        self.accepting.abort();
    }
}

#[derive(Clone)]
struct Hub {
    pods: Api<Pod>,
}

impl Hub {
    /// A pod that serves now, and its port.
    async fn find(&self) -> kube::Result<Option<(String, u16)>> {
        let pods = self.pods.list(&ListParams::default().labels(&selector())).await?;
        Ok(pods
            .items
            .iter()
            .find(|pod| is_ready(pod))
            .and_then(|pod| Some((pod.metadata.name.clone()?, port_of(pod)))))
    }

    async fn connect(&self, mut local: TcpStream) -> anyhow::Result<()> {
        let (mut remote, _forwarder) = tokio::time::timeout(CONNECT, async {
            let (pod, port) = self.find().await?.context("no hub is ready")?;
            let mut forwarder = self.pods.portforward(&pod, &[port]).await?;
            let stream = forwarder.take_stream(port).context("the API server forwards another port")?;
            anyhow::Ok((stream, forwarder))
        })
        .await
        .context("the API server does not answer")??;
        // Ends with the connection of either side, whatever way.
        let _bytes = tokio::io::copy_bidirectional(&mut local, &mut remote).await;
        Ok(())
    }
}

async fn accept(listener: TcpListener, hub: Hub) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                let Ok((local, _)) = accepted else { continue };
                let hub = hub.clone();
                connections.spawn(async move {
                    if let Err(error) = hub.connect(local).await {
                        tracing::debug!(error = format!("{error:#}"), "failed to reach the hub");
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn selector() -> String {
    format!("{}={},{}={}", names::NAME, names::PRODUCT, names::COMPONENT, names::HUB_COMPONENT)
}

fn port_of(pod: &Pod) -> u16 {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let mut ports = containers.iter().flat_map(|container| container.ports.as_deref().unwrap_or_default());
    ports
        .find(|port| port.name.as_deref() == Some(PORT_NAME))
        .and_then(|port| u16::try_from(port.container_port).ok())
        .unwrap_or(PORT)
}

//! The floor: the same writes by a client that decides nothing. It knows what comes next and waits for nothing but the
//! pod.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::core::ApiResource;
use tokio::task::JoinSet;

use super::ready::Waiting;
use super::template::Templates;
use super::watch;
use super::write::{Kind, Writer};

pub(super) struct Floor {
    writer: Writer,
    templates: Templates,
    pods: Waiting,
    _watch: JoinSet<()>,
}

impl Floor {
    pub(super) fn start(client: Client, templates: Templates) -> Self {
        let pods = Waiting::default();
        let mut watch = JoinSet::new();
        let told = pods.clone();
        let writer = Writer::new(client.clone());
        watch.spawn(watch::each(client, ApiResource::erase::<Pod>(&()), move |name, pod| {
            if pod.as_ref().is_some_and(watch::is_ready) {
                told.tell(name);
            }
        }));
        Self { writer, templates, pods, _watch: watch }
    }

    /// All that becomes of a session.
    pub(super) async fn launch(&self, name: &str, session_uid: &str) -> Result<()> {
        let bodies = self.templates.of(name, session_uid);
        let ready = self.pods.expect(name);
        let (drone, claim) = tokio::join!(
            self.writer.create(Kind::Drone, bodies.drone()),
            self.writer.create(Kind::Claim, bodies.claim())
        );
        claim?;
        self.writer.create(Kind::Pod, bodies.pod(&drone?)).await?;
        ready.end().await?;
        let (drone, session) = (bodies.drone_status()?, bodies.session_status()?);
        let (drone, session) = tokio::join!(
            self.writer.patch_status(Kind::Drone, name, &drone),
            self.writer.patch_status(Kind::Session, name, &session)
        );
        drone.and(session)
    }
}

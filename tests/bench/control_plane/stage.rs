//! A control plane of its own for one column, with what plays its nodes and what is measured.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;
use tests::control_plane::audit::{Entry, Position};
use tests::control_plane::process::Process;
use tests::control_plane::{ControlPlane, Controllers, Disk, Options, operator};
use tests::deadline::eventually;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::floor::Floor;
use super::peer::{self, Election};
use super::ready::{Wait, Waiting};
use super::template::Templates;
use super::write::{Kind, NAMESPACE, Writer};
use super::{nodes, watch};
use crate::process;

/// Who does the work.
#[derive(Clone, Debug)]
pub(super) enum Column {
    Floor(Templates),
    Gadget,
    Peer(Templates),
}

impl Column {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Floor(_) => "floor",
            Self::Gadget => "gadget",
            Self::Peer(_) => peer::NAME,
        }
    }

    /// By which the audit log tells its writes.
    pub(super) fn user_agent(&self) -> &'static str {
        match self {
            Self::Floor(_) => FLOOR,
            Self::Gadget => operator::USER_AGENT,
            Self::Peer(_) => peer::USER_AGENT,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Floor(_) | Self::Gadget => Kind::Session,
            Self::Peer(_) => Kind::Sandbox,
        }
    }

    fn resource(&self) -> ApiResource {
        match self {
            Self::Floor(_) | Self::Gadget => ApiResource::erase::<crds::ChatSession>(&()),
            Self::Peer(_) => {
                let kind = GroupVersionKind::gvk("agents.x-k8s.io", "v1beta1", "Sandbox");
                ApiResource::from_gvk_with_plural(&kind, "sandboxes")
            }
        }
    }
}

const CLIENT: &str = "gadget-bench-client";
const FLOOR: &str = "gadget-bench-floor";
const NODES: &str = "gadget-bench-nodes";

/// In the order in which they end.
pub(super) struct Stage {
    /// The first one leads.
    pub(super) controllers: Vec<Process>,
    pub(super) column: Column,
    pub(super) writer: Writer,
    floor: Option<Floor>,
    ready: Waiting,
    gone: Waiting,
    _tasks: [JoinSet<()>; 2],
    control_plane: ControlPlane,
    election: Election,
}

impl Stage {
    /// With one controller that works.
    pub(super) async fn start(column: Column, election: Election) -> Result<Self> {
        let definitions = match &column {
            Column::Floor(_) | Column::Gadget => crds::all().to_vec(),
            Column::Peer(_) => peer::definitions()?,
        };
        let options = Options {
            disk: Disk::Durable,
            controllers: Controllers::Janitors,
            definitions,
            ..Options::default()
        };
        let control_plane = ControlPlane::start(options).await?;
        operator::prepare(&control_plane, NAMESPACE).await?;
        let nodes = nodes::start(control_plane.client_named(NODES).await?);
        let client = control_plane.client_named(CLIENT).await?;
        let (ready, gone) = (Waiting::default(), Waiting::default());
        let watches = watches(&client, &column, &ready, &gone);
        let floor = match &column {
            Column::Floor(templates) => {
                Some(Floor::start(control_plane.client_named(FLOOR).await?, templates.clone()))
            }
            Column::Gadget | Column::Peer(_) => None,
        };
        let mut stage = Self {
            controllers: Vec::new(),
            column,
            writer: Writer::new(client),
            floor,
            ready,
            gone,
            _tasks: [watches, nodes],
            control_plane,
            election,
        };
        stage.add_controller("controller-1")?;
        stage.launch("first").await.with_context(|| stage.complaints())?;
        Ok(stage)
    }

    /// One more, where the column has any.
    pub(super) fn add_controller(&mut self, identity: &str) -> Result<()> {
        let controller = match self.column {
            Column::Floor(_) => return Ok(()),
            Column::Gadget => operator::start(&self.control_plane, NAMESPACE, identity, None)?,
            Column::Peer(_) => peer::start(&self.control_plane, identity, self.election)?,
        };
        self.controllers.push(controller);
        Ok(())
    }

    /// Makes a session. Answers when a client has seen that it is ready.
    pub(super) async fn launch(&self, name: &str) -> Result<Instant> {
        let ready = self.ready.expect(name);
        let uid = self.writer.create(self.column.kind(), self.body(name)?).await?;
        if let Some(floor) = &self.floor {
            floor.launch(name, &uid).await?;
        }
        ready.end().await
    }

    /// Tells when the pod of that name is gone.
    pub(super) fn pod_gone(&self, name: &str) -> Wait {
        self.gone.expect(name)
    }

    fn body(&self, name: &str) -> Result<String> {
        Ok(match &self.column {
            Column::Floor(_) | Column::Gadget => serde_json::to_string(&operator::session(name, json!({}))?)?,
            Column::Peer(templates) => templates.sandbox(name),
        })
    }

    pub(super) async fn position(&self) -> Result<Position> {
        self.control_plane.settled_audit().await?.position()
    }

    pub(super) async fn audit_since(&self, since: Position) -> Result<Vec<Entry>> {
        self.control_plane.settled_audit().await?.since(since)
    }

    /// Processor time of API server and etcd so far.
    pub(super) fn servers_cpu(&self) -> Result<Duration> {
        let mut sum = Duration::ZERO;
        for server in self.control_plane.servers() {
            sum += process::cpu_time(pid(server)?)?;
        }
        Ok(sum)
    }

    pub(super) fn controller_pid(&self) -> Result<u32> {
        pid(self.controllers.first().context("the column has no controller")?)
    }

    /// Waits until a controller that was just added has said this.
    pub(super) async fn says(&self, controller: usize, words: &str) -> Result<()> {
        eventually(&format!("a controller that says {words:?}"), || async {
            Ok(self.controllers[controller].output()?.contains(words).then_some(()))
        })
        .await
        .with_context(|| self.complaints())
    }

    pub(super) fn complaints(&self) -> String {
        let controllers: String = self.controllers.iter().map(Process::complaints).collect();
        format!("== {}\n{controllers}\n{}", self.column.name(), self.control_plane.complaints())
    }
}

fn watches(client: &Client, column: &Column, ready: &Waiting, gone: &Waiting) -> JoinSet<()> {
    let mut watches = JoinSet::new();
    let (ready, gone) = (ready.clone(), gone.clone());
    watches.spawn(watch::each(client.clone(), column.resource(), move |name, session| {
        if session.as_ref().is_some_and(watch::is_ready) {
            ready.tell(name);
        }
    }));
    // The floor's pods never end.
    if !matches!(column, Column::Floor(_)) {
        watches.spawn(watch::each(client.clone(), ApiResource::erase::<Pod>(&()), move |name, pod| {
            if pod.is_none() {
                gone.tell(name);
            }
        }));
    }
    watches
}

fn pid(process: &Process) -> Result<u32> {
    Ok(u32::try_from(process.pid()?.as_raw())?)
}

//! The first of the notes' commands, as a person keeps it. It is of no use without the pod that it leads to; then it is given
//! again, on the same port.

use std::collections::BTreeSet;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::ListParams;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio_util::task::AbortOnDropHandle;

use crate::release::{LOOK, PATIENCE, program};

const PORTS: &str = "8420:8420";

pub(crate) struct Forward {
    origin: String,
    _going_on: AbortOnDropHandle<()>,
}

impl Forward {
    /// On a port that is free.
    pub(crate) async fn start(command: &[String], pods: Api<Pod>) -> Result<Self> {
        ensure!(command.iter().any(|word| word == PORTS), "the notes forward another port: {command:?}");
        let on = |ports: &str| -> Vec<String> {
            command.iter().map(|word| if word == PORTS { ports } else { word }.to_owned()).collect()
        };
        let (child, address) = begin(&on(":8420"), Stdio::inherit()).await?;
        let (_host, port) = address.rsplit_once(':').context("an address has a port")?;
        let going_on = tokio::spawn(go_on(child, on(&format!("{port}:8420")), pods));
        Ok(Self { origin: format!("http://{address}"), _going_on: AbortOnDropHandle::new(going_on) })
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }
}

async fn go_on(mut child: Child, command: Vec<String>, pods: Api<Pod>) {
    loop {
        tokio::select! {
            _ended = child.wait() => {}
            () = hub_gone(&pods) => {
                // Else it is found out by whoever connects next; and many at once hang for good.
                let _ended_already = child.kill().await;
            }
        }
        child = loop {
            // Not to one that is on its way out.
            if hubs(&pods).await.is_some_and(|hubs| hubs.all == hubs.staying)
                && let Ok((child, _address)) = begin(&command, Stdio::null()).await
            {
                break child;
            }
            tokio::time::sleep(LOOK).await;
        };
    }
}

/// The uids of the hub's pods.
struct Hubs {
    all: BTreeSet<String>,
    staying: BTreeSet<String>,
}

/// None while it cannot be asked for.
async fn hubs(pods: &Api<Pod>) -> Option<Hubs> {
    let hub = ListParams::default().labels("app.kubernetes.io/component=hub");
    let found: Vec<ObjectMeta> =
        pods.list(&hub).await.ok()?.items.into_iter().map(|pod| pod.metadata).collect();
    let staying = found.iter().filter(|metadata| metadata.deletion_timestamp.is_none());
    Some(Hubs {
        staying: staying.filter_map(|metadata| metadata.uid.clone()).collect(),
        all: found.iter().filter_map(|metadata| metadata.uid.clone()).collect(),
    })
}

/// Waits until a hub's pod of now is there no more.
async fn hub_gone(pods: &Api<Pod>) {
    let mut before = None;
    loop {
        if let Some(Hubs { all, staying }) = hubs(pods).await
            && !before.get_or_insert(staying).is_subset(&all)
        {
            return;
        }
        tokio::time::sleep(3 * LOOK).await;
    }
}

/// The command once, and the address that it listens on. It goes on until it is dropped.
async fn begin(command: &[String], complaints: Stdio) -> Result<(Child, String)> {
    let mut child = program("kubectl")?.args(command).stdout(Stdio::piped()).stderr(complaints).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
    let told = tokio::time::timeout(PATIENCE, lines.next_line()).await.context("kubectl forwards nothing")?;
    let line = told?.context("kubectl forwards nothing")?;
    let address = line.strip_prefix("Forwarding from ").and_then(|rest| rest.split_once(" ->"));
    let (address, _port) = address.with_context(|| format!("kubectl says {line:?}"))?;
    let address = address.to_owned();
    // It tells of each connection; a full pipe would hold it up.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, address))
}

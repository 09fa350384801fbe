//! `kubectl gadget logs`.

use anyhow::Context as _;
use futures_util::io::AsyncReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;

use super::args::LogsArgs;
use super::cluster::Cluster;
use crate::console::Console;

/// A drone's own log, where its pod has the workspace.
const LOG: &str = "/workspace/.gadget/logs/drone.log";

pub(super) async fn run(cluster: &Cluster, args: &LogsArgs, console: &mut Console) -> anyhow::Result<()> {
    let LogsArgs { name, follow, previous, tail } = args;
    let subject = cluster.subject(name).await?;
    let pod = subject.pod().with_context(|| {
        format!("{} has no drone now; `kubectl gadget why {name}` says why", subject.name())
    })?;
    let params =
        LogParams { follow: *follow, previous: *previous, tail_lines: *tail, ..LogParams::default() };
    let stream = cluster.answer(cluster.api::<Pod>().log_stream(&pod, &params)).await.with_context(|| {
        format!("no log of the pod {pod}; `kubectl gadget why {name}` says how its drone is")
    })?;
    let mut stream = std::pin::pin!(stream);
    let mut buffer = vec![0; 16 * 1024];
    let mut is_empty = true;
    loop {
        let read = stream.read(&mut buffer).await.context("the log broke off")?;
        if read == 0 {
            break;
        }
        is_empty = false;
        console.bytes(&buffer[..read])?;
    }
    if is_empty {
        let namespace = &cluster.namespace;
        console.note(&format!(
            "the pod {pod} has logged no error; all that its drone does is in its workspace: `kubectl -n {namespace} \
             exec {pod} -- cat {LOG}`"
        ));
    }
    Ok(())
}

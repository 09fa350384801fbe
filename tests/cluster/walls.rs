//! What a drone's pod can reach, by packets, and what its token is good for.

mod rules;

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::ListParams;
use kube::config::AuthInfo;
use kube::{Api, Client, Config, ResourceExt as _};
use protocol::value::ChatTurnStatus;
use tests::knock::knock;
use tokio::process::Child;

use crate::node::OwnNode;
use tests::release::{NAMESPACE, Release, fed, kubectl, node_address, program, until};

/// Where `git daemon` listens in the neighbour's pod.
const NEIGHBOUR_PORT: u16 = 9418;
const KUBELET_PORT: u16 = 10250;
/// Any cloud's metadata service.
const METADATA: &str = "169.254.169.254";

/// The API server answers at the metadata's address too, so that something is there to be kept from.
async fn have_metadata(node: &OwnNode) -> Result<()> {
    let address = format!("{METADATA}/32");
    fed(node.command("ip").args(["address", "replace", &address, "dev", "lo"]), b"").await.map(drop)
}

/// Nothing in that cluster enforces policies, so packet rules are laid for them. Another cluster does so by itself, or not.
async fn enforce(node: &OwnNode, script: &str) -> Result<()> {
    let laid = fed(node.command("nft").args(["--file", "-"]), script.as_bytes()).await;
    laid.with_context(|| script.to_owned()).map(drop)
}

/// Of all namespaces, as they and the pods are now.
pub(crate) async fn enforce_policies(node: &OwnNode, client: &Client) -> Result<()> {
    enforce(node, &world(client).await?.script()?).await
}

pub(crate) async fn enforce_nothing(node: &OwnNode) -> Result<()> {
    let table = rules::TABLE;
    enforce(node, &format!("table {table} {{}}\ndelete table {table}\n")).await
}

async fn world(client: &Client) -> Result<rules::World> {
    let all = ListParams::default();
    Ok(rules::World {
        policies: Api::<NetworkPolicy>::all(client.clone()).list(&all).await?.items,
        pods: Api::<Pod>::all(client.clone()).list(&all).await?.items,
        namespaces: Api::<Namespace>::all(client.clone()).list(&all).await?.items,
    })
}

/// What the chart is told, as helm's arguments: the node itself answers for names there, as with a cache of them.
pub(crate) async fn names(client: &Client) -> Result<[String; 2]> {
    let node = node_address(client).await?;
    let peers = format!(r#"networkPolicy.dns.peers=[{{"ipBlock":{{"cidr":"{node}/32"}}}}]"#);
    Ok(["--set-json".to_owned(), peers])
}

async fn pod_address(release: &Release, labels: &str) -> Result<String> {
    let pods = release.api::<Pod>().list(&ListParams::default().labels(labels)).await?;
    let mut addresses = pods.items.into_iter().filter_map(|pod| pod.status?.pod_ip);
    addresses.next().with_context(|| format!("no pod {labels} has an address"))
}

/// Whether a connection from a drone's pod comes about.
pub(crate) async fn reaches(release: &Release, from: &str, host: &str, port: u16) -> Result<bool> {
    let dial = format!(
        "timeout 3 bash -c 'exec 3<>/dev/tcp/{host}/{port}' 2>/dev/null && echo reached || echo blocked"
    );
    match release.in_pod(from, &dial).await?.trim() {
        "reached" => Ok(true),
        "blocked" => Ok(false),
        other => anyhow::bail!("{host}:{port}: {other:?}"),
    }
}

/// Something that answers in a drone's pod, as a project's own server would.
async fn serve_in(release: &Release, pod: &str) -> Result<Child> {
    let serve = format!("exec git daemon --reuseaddr --base-path=/workspace --port={NEIGHBOUR_PORT}");
    let mut command = program("kubectl")?;
    command.args(["--namespace", NAMESPACE, "exec", pod, "--", "sh", "-c", &serve]);
    let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    until("the neighbour's server", async || {
        Ok(reaches(release, pod, "127.0.0.1", NEIGHBOUR_PORT).await?.then_some(()))
    })
    .await?;
    Ok(server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drone_s_packets_reach_the_hub_and_nothing_else_of_the_cluster() -> Result<()> {
    let own = OwnNode::find();
    let client = Client::try_default().await?;
    let (node, names) = (node_address(&client).await?, names(&client).await?);
    let values: Vec<_> = names.iter().map(String::as_str).filter(|_| own.is_some()).collect();
    let release = Release::install_with(&values).await?;
    release.apply("inside").await?;
    release.apply("neighbour").await?;
    let _server = serve_in(&release, "neighbour").await?;
    let (ide, document) = release.open("inside").await?;

    let api = Api::<Service>::namespaced(release.client.clone(), "default").get("kubernetes").await?;
    let api = api.spec.and_then(|spec| spec.cluster_ip).context("the API server has no address")?;
    let neighbour = release.api::<Pod>().get("neighbour").await?.status.and_then(|status| status.pod_ip);
    let mut closed = vec![
        ("the API server", api, 443),
        ("the kubelet", node, KUBELET_PORT),
        ("another drone", neighbour.context("the neighbour has no address")?, NEIGHBOUR_PORT),
        ("the operator", pod_address(&release, "app.kubernetes.io/component=operator").await?, 8081),
    ];
    if let Some(own) = &own {
        have_metadata(own).await?;
        closed.push(("the metadata address", METADATA.to_owned(), 6443));
        enforce_nothing(own).await?;
        for (what, host, port) in &closed {
            ensure!(reaches(&release, "inside", host, *port).await?, "{what} is not there to be kept from");
        }
        enforce_policies(own, &release.client).await?;
    } else if reaches(&release, "inside", &closed[2].1, NEIGHBOUR_PORT).await? {
        println!("This cluster does not enforce NetworkPolicies: what they keep apart is not shown here.");
        return release.remove().await;
    }

    let tries = closed.iter().map(|(what, host, port)| {
        let release = &release;
        async move { anyhow::Ok((*what, reaches(release, "inside", host, *port).await?)) }
    });
    let reached: Vec<_> = try_join_all(tries).await?.into_iter().filter(|(_, is)| *is).collect();
    ensure!(reached.is_empty(), "a drone reaches {reached:?}");
    ensure!(reaches(&release, "inside", "gadget-hub", 8420).await?, "a drone does not reach the hub");

    // Behind them the work goes on.
    let turn = ide.prompt("Start the tour.").await?;
    let status = ide.finished(&turn).await?;
    ensure!(status == ChatTurnStatus::Finished, "the turn of {} ended as {status:?}", document.id);
    if let Some(own) = &own {
        enforce_nothing(own).await?;
    }
    release.remove().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drone_s_one_token_is_for_the_hub_alone_and_ends_with_its_pod() -> Result<()> {
    let release = Release::install().await?;
    release.apply("bearer").await?;
    let (_ide, _document) = release.open("bearer").await?;
    let mounted = release.in_pod("bearer", "find /run/secrets /var/run/secrets/ -name token").await?;
    ensure!(
        mounted.lines().all(|path| path.contains("/secrets/gadgetcode.dev/")) && !mounted.is_empty(),
        "tokens: {mounted}"
    );
    let token = release.in_pod("bearer", "cat /var/run/secrets/gadgetcode.dev/token").await?;

    let mut config = Config::infer().await?;
    config.auth_info = AuthInfo { token: Some(token.trim().to_owned().into()), ..AuthInfo::default() };
    let answer =
        Api::<Pod>::namespaced(Client::try_from(config)?, NAMESPACE).list(&ListParams::default()).await;
    ensure!(
        matches!(&answer, Err(kube::Error::Api(refusal)) if refusal.code == 401),
        "the API server takes a drone's token: {answer:?}"
    );

    let before = release.api::<Pod>().get("bearer").await?;
    kubectl(&["--namespace", NAMESPACE, "delete", "pod", "bearer"]).await?;
    release.shows::<Pod>("bearer", "comes back", |pod| pod.uid() != before.uid()).await?;
    // The hub has heard of the next pod then, whatever the API server has kept of the old one.
    until("the old pod's token to be refused", async || {
        let told = knock(release.hub(), "bearer", token.trim()).await?;
        Ok(told.is_err_and(|words| words.to_lowercase().contains("unauthorized")).then_some(()))
    })
    .await?;
    release.remove().await
}

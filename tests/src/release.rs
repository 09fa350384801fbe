//! The chart, installed as its README says, and whoever uses it by kubectl and by the links that its notes tell of.

use std::process::{Output, Stdio};
use std::time::Duration;

use crate::api::Api;
use crate::control_plane::programs::Programs;
use crate::ide::Ide;
use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume};
use kube::api::{DeleteParams, ListParams};
use kube::core::NamespaceResourceScope;
use kube::{Api as KubeApi, Client, Resource};
use protocol::document::{ChatSession as Document, Project};
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};

/// The definitions of the resources belong to one release, so all tests install the same one, one after the other.
pub const NAMESPACE: &str = "gadget-test";
const NAME: &str = "gadget";
static ONE: Mutex<()> = Mutex::const_new(());

/// Images are there, volumes are made and a pod is started well within that.
const PATIENCE: Duration = Duration::from_mins(3);
const LOOK: Duration = Duration::from_millis(100);

pub struct Release {
    pub client: Client,
    /// Signed in by the link that the notes tell of.
    pub admin: Api,
    hub: String,
    forward: Child,
    _only: MutexGuard<'static, ()>,
}

#[derive(Deserialize)]
struct SignedIn {
    token: String,
}

impl Release {
    /// Installs the chart with its default values, into a namespace where every pod must be restricted.
    pub async fn install() -> Result<Self> {
        Self::install_with(&[]).await
    }

    /// `values`: helm's arguments.
    pub async fn install_with(values: &[&str]) -> Result<Self> {
        let only = ONE.lock().await;
        let _chosen_already = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await.context("no cluster: run `cargo xtask test cluster`")?;
        // What a run that was interrupted has left.
        sweep(&client).await?;
        kubectl(&["create", "namespace", NAMESPACE]).await?;
        kubectl(&["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"]).await?;
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/gadget");
        let registry = std::env::var("GADGET_IMAGE_REGISTRY").unwrap_or_default();
        let registry = format!("image.registry={registry}");
        let install = ["install", NAME, chart, "--namespace", NAMESPACE, "--set", &registry];
        let notes = helm(&[&install[..], values, &["--wait", "--timeout", "2m"]].concat()).await;
        let notes = match notes {
            Ok(notes) => notes,
            Err(error) => return Err(error.context(complaints().await)),
        };
        let [reach, invite] = commands(&notes)?;
        let (forward, hub) = forward(&reach).await?;
        let link = kubectl(&invite.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let code = link.split_once("#invite=").map(|(_, code)| code.trim());
        let code = code.with_context(|| format!("no link was printed: {link}"))?;
        let nobody = Api::at(&hub, "")?;
        let SignedIn { token } =
            nobody.call(Method::POST, "/auth/redeem", Some(&json!({ "invite": code }))).await?;
        let admin = Api::at(&hub, &token)?;
        Ok(Self { client, admin, hub, forward, _only: only })
    }

    pub fn api<K>(&self) -> KubeApi<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        KubeApi::namespaced(self.client.clone(), NAMESPACE)
    }

    /// A session of five lines, as the chart's README has it.
    pub async fn apply(&self, name: &str) -> Result<()> {
        let manifest = format!(
            "apiVersion: gadgetcode.dev/v1alpha1\n\
             kind: ChatSession\n\
             metadata: {{ name: {name} }}\n\
             spec: {{ user: admin, project: {{ slug: {name} }} }}\n"
        );
        let apply = ["--namespace", NAMESPACE, "apply", "--filename", "-"];
        fed(program("kubectl")?.args(apply), manifest.as_bytes()).await?;
        let session = format!("chat/{name}");
        let ready = ["--namespace", NAMESPACE, "wait", "--for=condition=Ready", &session, "--timeout=2m"];
        if let Err(error) = kubectl(&ready).await {
            return Err(error.context(complaints().await));
        }
        Ok(())
    }

    /// A tab that has a session open which was made by kubectl, and the hub's document of it.
    pub async fn open(&self, name: &str) -> Result<(Ide, Document)> {
        self.open_at(&self.hub, name).await
    }

    /// The same by another address of the hub.
    pub async fn open_at(&self, hub: &str, name: &str) -> Result<(Ide, Document)> {
        let uid = self.api::<crds::ChatSession>().get(name).await?.metadata.uid.context("no uid")?;
        let document: Document = until("the hub to take the session in", async || {
            Ok(self.admin.session(&uid.as_str().into()).await.ok())
        })
        .await?;
        let project: Project =
            self.admin.call(Method::GET, &format!("/projects/{}", document.project), None).await?;
        let ide = Ide::connect_to(hub, self.admin.token(), name).await?;
        ide.open(&project, &document).await?;
        Ok((ide, document))
    }

    /// Waits until the object looks as it should.
    pub async fn shows<K>(&self, name: &str, what: &str, is: impl Fn(&K) -> bool) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let found = until(&format!("{name} {what}"), async || {
            Ok(self.api::<K>().get_opt(name).await?.filter(|found| is(found)))
        })
        .await;
        match found {
            Ok(found) => Ok(found),
            Err(error) => Err(error.context(complaints().await)),
        }
    }

    pub async fn gone<K>(&self, name: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        until(&format!("{name} to be gone"), async || {
            Ok(self.api::<K>().get_opt(name).await?.is_none().then_some(()))
        })
        .await
    }

    /// Where the tests reach the hub.
    pub fn hub(&self) -> &str {
        &self.hub
    }

    /// A command in a drone's pod.
    pub async fn in_pod(&self, pod: &str, command: &str) -> Result<String> {
        kubectl(&["--namespace", NAMESPACE, "exec", pod, "--", "sh", "-c", command]).await
    }

    /// Uninstalls it. Nothing of it may be left, volumes included.
    pub async fn remove(mut self) -> Result<()> {
        self.forward.kill().await?;
        helm(&["uninstall", NAME, "--namespace", NAMESPACE, "--wait"]).await?;
        sweep(&self.client).await
    }
}

async fn sweep(client: &Client) -> Result<()> {
    let namespaces: KubeApi<Namespace> = KubeApi::all(client.clone());
    if namespaces.get_opt(NAMESPACE).await?.is_some() {
        namespaces.delete(NAMESPACE, &DeleteParams::default()).await?;
    }
    until("the namespace to be gone", async || {
        Ok(namespaces.get_opt(NAMESPACE).await?.is_none().then_some(()))
    })
    .await?;
    let volumes: KubeApi<PersistentVolume> = KubeApi::all(client.clone());
    until("the volumes to be gone", async || {
        let all = volumes.list(&ListParams::default()).await?;
        let mut claims = all.items.iter().filter_map(|volume| volume.spec.as_ref()?.claim_ref.as_ref());
        let left = claims.any(|claim| claim.namespace.as_deref() == Some(NAMESPACE));
        Ok((!left).then_some(()))
    })
    .await
}

/// The two that the notes print, each as kubectl's arguments.
fn commands(notes: &str) -> Result<[Vec<String>; 2]> {
    let lines = notes.lines().filter_map(|line| line.trim().strip_prefix("kubectl "));
    let lines = lines.map(|line| line.split_whitespace().map(str::to_owned).collect());
    let commands: Vec<Vec<String>> = lines.take(2).collect();
    let commands = commands.try_into();
    commands.map_err(|found| anyhow::anyhow!("the notes have other commands: {found:?}\n{notes}"))
}

/// The first of the notes' commands, on a port that is free. It goes on until it is dropped.
async fn forward(command: &[String]) -> Result<(Child, String)> {
    let arguments: Vec<_> = command.iter().map(|word| word.replace("8420:8420", ":8420")).collect();
    ensure!(arguments != command, "the notes forward another port: {command:?}");
    let mut child = program("kubectl")?.args(&arguments).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
    let told = tokio::time::timeout(PATIENCE, lines.next_line()).await.context("kubectl forwards nothing")?;
    let line = told?.context("kubectl forwards nothing")?;
    let address = line.strip_prefix("Forwarding from ").and_then(|rest| rest.split_once(" ->"));
    let (address, _port) = address.with_context(|| format!("kubectl says {line:?}"))?;
    let hub = format!("http://{address}");
    // It tells of each connection; a full pipe would hold it up.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, hub))
}

/// What a person would look at.
async fn complaints() -> String {
    let mut parts = Vec::new();
    for words in [
        &["get", "chat,drones,pods,pvc", "--output=wide"][..],
        &["get", "events", "--sort-by=.lastTimestamp"],
        &["logs", "deploy/gadget-operator", "--tail=30"],
        &["logs", "deploy/gadget-hub", "--tail=30"],
    ] {
        let said = kubectl(&[&["--namespace", NAMESPACE], words].concat()).await;
        parts.push(format!("== {words:?}\n{}", said.unwrap_or_else(|error| error.to_string())));
    }
    parts.join("\n")
}

pub async fn kubectl(arguments: &[&str]) -> Result<String> {
    run(program("kubectl")?.args(arguments)).await
}

async fn helm(arguments: &[&str]) -> Result<String> {
    run(Command::from(Programs::find()?.helm()).args(arguments)).await
}

pub fn program(name: &str) -> Result<Command> {
    let mut command = Command::from(Programs::find()?.command(name));
    command.kill_on_drop(true);
    Ok(command)
}

async fn run(command: &mut Command) -> Result<String> {
    let name = format!("{:?}", command.as_std());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, output).await.with_context(|| format!("{name} hangs"))??;
    said(&name, output)
}

/// Runs a program that reads what it is given.
pub async fn fed(command: &mut Command, input: &[u8]) -> Result<String> {
    let name = format!("{:?}", command.as_std());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("failed to start {name}"))?;
    child.stdin.take().context("stdin is piped")?.write_all(input).await?;
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output());
    said(&name, output.await.with_context(|| format!("{name} hangs"))??)
}

fn said(name: &str, output: Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{name} failed: {stdout}{}", String::from_utf8_lossy(&output.stderr));
    Ok(stdout)
}

pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let looking = async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.with_context(|| format!("waited too long for {what}"))?
}

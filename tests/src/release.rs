//! The chart, installed as its README says, and whoever uses it by kubectl and by the links that its notes tell of.

use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crds::ChatSession;
use crds::chat_session::SessionPhase;
use k8s_openapi::api::core::v1::{Node, PersistentVolume};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api as KubeApi, Client, Resource};
use protocol::document::{ChatSession as Document, Project};
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};

use crate::api::Api;
use crate::control_plane::programs::Programs;
use crate::forward::Forward;
use crate::ide::Ide;

/// The definitions of the resources belong to one release, so all tests install the same one, one after the other.
pub const NAMESPACE: &str = "gadget-test";
const NAME: &str = "gadget";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/gadget");
static ONE: Mutex<()> = Mutex::const_new(());

/// Images are there, volumes are made and a pod is started well within that.
pub const PATIENCE: Duration = Duration::from_mins(3);
pub const LOOK: Duration = Duration::from_millis(100);

pub struct Release {
    pub client: Client,
    /// Signed in by the link that the notes tell of.
    pub admin: Api,
    forward: Forward,
    _only: Only,
}

/// Held by the one test whose release is in the cluster.
pub type Only = MutexGuard<'static, ()>;

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
        Self::install_alone(only().await, values).await
    }

    /// For a test that has made things ready for it, so that no other one may have a release meanwhile.
    pub async fn install_alone(only: Only, values: &[&str]) -> Result<Self> {
        let client = client().await?;
        // What a run that was interrupted has left.
        sweep(&client).await?;
        restricted_namespace(NAMESPACE).await?;
        let registry = std::env::var("GADGET_IMAGE_REGISTRY").unwrap_or_default();
        let registry = format!("image.registry={registry}");
        let install = ["install", NAME, CHART, "--namespace", NAMESPACE, "--set", &registry];
        let notes = helm(&[&install[..], values, &["--wait", "--timeout", "2m"]].concat()).await;
        let notes = match notes {
            Ok(notes) => notes,
            Err(error) => return Err(error.context(complaints().await)),
        };
        let [reach, invite] = commands(&notes)?;
        let forward = Forward::start(&reach, KubeApi::namespaced(client.clone(), NAMESPACE)).await?;
        let link = kubectl(&invite.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        let code = link.split_once("#invite=").map(|(_, code)| code.trim());
        let code = code.with_context(|| format!("no link was printed: {link}"))?;
        let nobody = Api::at(forward.origin(), "")?;
        let SignedIn { token } =
            nobody.call(Method::POST, "/auth/redeem", Some(&json!({ "invite": code }))).await?;
        let admin = Api::at(forward.origin(), &token)?;
        Ok(Self { client, admin, forward, _only: only })
    }

    pub fn api<K>(&self) -> KubeApi<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        KubeApi::namespaced(self.client.clone(), NAMESPACE)
    }

    /// Where the notes' first command lets people reach the hub.
    pub fn hub(&self) -> &str {
        self.forward.origin()
    }

    /// A session of five lines, as the chart's README has it.
    pub async fn apply(&self, name: &str) -> Result<()> {
        self.apply_with(name, &format!("project: {{ slug: {name} }}")).await
    }

    /// The same with what else is to be in its `spec`.
    pub async fn apply_with(&self, name: &str, spec: &str) -> Result<()> {
        let manifest = format!(
            "apiVersion: gadgetcode.dev/v1alpha1\n\
             kind: ChatSession\n\
             metadata: {{ name: {name} }}\n\
             spec: {{ user: admin, {spec} }}\n"
        );
        let apply = ["--namespace", NAMESPACE, "apply", "--filename", "-"];
        fed(program("kubectl")?.args(apply), manifest.as_bytes()).await?;
        self.ready(name).await
    }

    /// Waits for a session that somebody has made.
    pub async fn ready(&self, name: &str) -> Result<()> {
        let session = format!("chat/{name}");
        let ready = ["--namespace", NAMESPACE, "wait", "--for=condition=Ready", &session, "--timeout=2m"];
        if let Err(error) = kubectl(&ready).await {
            return Err(error.context(complaints().await));
        }
        Ok(())
    }

    /// The hub's document of a session that was made by kubectl.
    pub async fn document(&self, name: &str) -> Result<Document> {
        let uid = self.api::<ChatSession>().get(name).await?.metadata.uid.context("no uid")?;
        until("the hub to take the session in", async || {
            Ok(self.admin.session(&uid.as_str().into()).await.ok())
        })
        .await
    }

    /// A tab that has a session open which was made by kubectl, and the hub's document of it.
    pub async fn open(&self, name: &str) -> Result<(Ide, Document)> {
        self.open_at(self.hub(), name).await
    }

    /// The same by another address of the hub.
    pub async fn open_at(&self, hub: &str, name: &str) -> Result<(Ide, Document)> {
        let document = self.document(name).await?;
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

    /// Says for how long nobody may work in a session before it sleeps.
    pub async fn sleeps_after(&self, session: &str, time: &str) -> Result<()> {
        let patch = Patch::Merge(json!({ "spec": { "idleTimeout": time } }));
        self.api::<ChatSession>().patch(session, &PatchParams::default(), &patch).await.map(drop)?;
        Ok(())
    }

    /// Waits until a session sleeps.
    pub async fn asleep(&self, session: &str) -> Result<()> {
        let is_asleep = |session: &ChatSession| {
            session.status.as_ref().is_some_and(|status| status.phase == Some(SessionPhase::Suspended))
        };
        self.shows(session, "sleeps", is_asleep).await.map(drop)
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

    /// What the class `default` takes, for classes that a test makes.
    pub async fn drone_image(&self) -> Result<String> {
        self.shows::<crds::DroneClass>("default", "is made", |_| true).await.map(|class| class.spec.image)
    }

    /// Kills the agent's process in a drone's pod, which its supervisor there runs. Says when, in nanoseconds.
    pub async fn kill_drone(&self, pod: &str) -> Result<String> {
        let kill = "for process in /proc/[0-9]*; do \
                      case $(tr '\\0' ' ' <$process/cmdline 2>/dev/null) in \
                          'gadget-drone run '*) kill -9 ${process#/proc/} && date +%s%N;; \
                      esac; \
                    done";
        self.in_pod(pod, kill).await
    }

    /// A command in a drone's pod.
    pub async fn in_pod(&self, pod: &str, command: &str) -> Result<String> {
        kubectl(&["--namespace", NAMESPACE, "exec", pod, "--", "sh", "-c", command]).await
    }

    /// `helm test`, with what its pod says.
    pub async fn test(&self) -> Result<String> {
        helm(&["test", NAME, "--namespace", NAMESPACE, "--logs", "--timeout", "150s"]).await
    }

    /// Changes some of its values, besides those that it has. `values`: helm's arguments.
    pub async fn upgrade(&self, values: &[&str]) -> Result<()> {
        let upgrade = ["upgrade", NAME, CHART, "--namespace", NAMESPACE, "--reuse-values"];
        helm(&[&upgrade[..], values, &["--wait", "--timeout", "2m"]].concat()).await.map(drop)
    }

    /// Uninstalls it as the notes say. Nothing of it may be left, volumes included.
    pub async fn remove(self) -> Result<()> {
        kubectl(&["--namespace", NAMESPACE, "delete", "chat", "--all"]).await?;
        helm(&["uninstall", NAME, "--namespace", NAMESPACE, "--wait"]).await?;
        no_pods(NAMESPACE).await?;
        // A namespace that is deleted with them looks for them only now and then.
        kubectl(&["--namespace", NAMESPACE, "delete", "persistentvolumeclaims", "--all"]).await?;
        sweep(&self.client).await
    }
}

/// Waits for the test whose release is in the cluster, if there is one.
pub async fn only() -> Only {
    ONE.lock().await
}

async fn client() -> Result<Client> {
    let _chosen_already = rustls::crypto::ring::default_provider().install_default();
    Client::try_default().await.context("no cluster: run `cargo xtask test cluster`")
}

/// A namespace where every pod must be restricted.
pub async fn restricted_namespace(name: &str) -> Result<()> {
    kubectl(&["create", "namespace", name]).await?;
    kubectl(&["label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"]).await?;
    Ok(())
}

/// Waits until none is left. A namespace that is deleted before looks for its last pods only now and then.
pub async fn no_pods(namespace: &str) -> Result<()> {
    kubectl(&["--namespace", namespace, "wait", "--for=delete", "pods", "--all", "--timeout=1m"])
        .await
        .map(drop)
}

async fn sweep(client: &Client) -> Result<()> {
    kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found"]).await?;
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

/// What a person would look at.
pub async fn complaints() -> String {
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

pub async fn run(command: &mut Command) -> Result<String> {
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

/// Where the rest of the machine reaches the cluster's node, or the first of them.
pub async fn node_address(client: &Client) -> Result<String> {
    let nodes = KubeApi::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let mut addresses = nodes.items.into_iter().filter_map(|node| node.status?.addresses).flatten();
    let address =
        addresses.find(|address| address.type_ == "InternalIP").context("no node has an address")?;
    Ok(address.address)
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

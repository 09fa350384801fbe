//! The cluster: connecting to it, and finding what a person named.

use std::time::Duration;

use anyhow::{Context as _, bail};
use crds::{ChatSession, DroneRegistration, names};
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};

use super::args::Place;

/// How long one answer of the API server may take.
const ANSWER: Duration = Duration::from_secs(30);

pub(super) struct Cluster {
    pub client: Client,
    pub namespace: String,
    /// Address of the API server: what a sign-in is remembered for.
    pub server: String,
}

/// What was named.
pub(super) enum Subject {
    /// With the drone that works for it.
    Session(Box<ChatSession>, Option<Box<DroneRegistration>>),
    Drone(Box<DroneRegistration>),
}

impl Cluster {
    pub(super) async fn connect(place: Place) -> anyhow::Result<Self> {
        let Place { namespace, context, kubeconfig } = place;
        let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
        let config = match kubeconfig {
            Some(path) => {
                let read = Kubeconfig::read_from(&path)
                    .with_context(|| format!("failed to read the kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(read, &options).await
            }
            None => Config::from_kubeconfig(&options).await,
        };
        let mut config = config
            .context("no cluster is known: set KUBECONFIG, or name one with --kubeconfig and --context")?;
        config.connect_timeout = Some(ANSWER);
        // A followed log and a forwarded connection may be silent for long.
        config.read_timeout = None;
        let server = config.cluster_url.to_string();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("failed to use the kubeconfig")?;
        Ok(Self { client, namespace, server })
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A session's name goes before a drone's: they are the same unless somebody chose otherwise.
    pub(super) async fn subject(&self, named: &str) -> anyhow::Result<Subject> {
        let (kind, name) = match named.split_once('/') {
            None => ("", named),
            Some((kind @ ("chat" | "chatsession" | "chatsessions"), name)) => (&kind[..4], name),
            Some(("drone" | "droneregistration" | "droneregistrations", name)) => ("drone", name),
            Some((other, _)) => bail!("{other} is no kind of Gadget's: name chat/NAME or drone/NAME"),
        };
        if kind != "drone"
            && let Some(session) = self.answer(self.api::<ChatSession>().get_opt(name)).await?
        {
            let status = session.status.as_ref();
            let drone = status.and_then(|status| status.drone_name.as_deref()).map_or(name, |drone| drone);
            let found = self.answer(self.api::<DroneRegistration>().get_opt(drone)).await?;
            // One of its name may be another's.
            let drone = found.filter(|drone| drone.spec.chat_session.as_deref() == Some(name));
            return Ok(Subject::Session(session.into(), drone.map(Box::new)));
        }
        if kind != "chat"
            && let Some(drone) = self.answer(self.api::<DroneRegistration>().get_opt(name)).await?
        {
            return Ok(Subject::Drone(drone.into()));
        }
        let what = match kind {
            "chat" => "session",
            "drone" => "drone",
            _ => "session or drone",
        };
        let Self { namespace, .. } = self;
        bail!("there is no {what} {name} in namespace {namespace}; `kubectl gadget ls -A` shows all sessions")
    }

    pub(super) async fn session(&self, name: &str) -> anyhow::Result<ChatSession> {
        match self.subject(&format!("chat/{name}")).await? {
            Subject::Session(session, _) => Ok(*session),
            Subject::Drone(_) => bail!("{name} is a drone; name a session"),
        }
    }

    /// The API server's answer, in words that say what to do when it is none.
    pub(super) async fn answer<T>(&self, asked: impl Future<Output = kube::Result<T>>) -> anyhow::Result<T> {
        let Ok(answer) = tokio::time::timeout(ANSWER, asked).await else {
            bail!("the API server at {} does not answer", self.server);
        };
        answer.map_err(|error| self.words(error))
    }

    fn words(&self, error: kube::Error) -> anyhow::Error {
        match &error {
            kube::Error::Api(status) if status.message.contains("could not find the requested resource") => {
                anyhow::anyhow!("this cluster has no Gadget: install its chart, or name another --context")
            }
            kube::Error::Api(status) => anyhow::anyhow!("{}", status.message),
            _ => {
                anyhow::Error::new(error).context(format!("no answer from the API server at {}", self.server))
            }
        }
    }
}

impl Subject {
    pub(super) fn name(&self) -> &str {
        let metadata = match self {
            Self::Session(session, _) => &session.metadata,
            Self::Drone(drone) => &drone.metadata,
        };
        metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn drone(&self) -> Option<&DroneRegistration> {
        match self {
            Self::Session(_, drone) => drone.as_deref(),
            Self::Drone(drone) => Some(drone),
        }
    }

    /// The pod of its drone, where that is known to have one.
    pub(super) fn pod(&self) -> Option<String> {
        let drone = self.drone()?;
        let told = drone.status.as_ref().and_then(|status| status.pod_name.clone());
        told.or_else(|| drone.metadata.name.as_deref().map(names::pod))
    }
}

/// Ready, and not on its way out.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

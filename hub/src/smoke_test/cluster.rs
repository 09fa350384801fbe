//! The API server, as far as the test's service account may use it.

use std::time::Duration;

use anyhow::Context as _;
use crds::chat_session::{ProjectRef, SessionWorkspace};
use crds::value::{OperatingMode, Retention};
use crds::{ChatSession, ChatSessionSpec, conditions, names};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;

use super::scenario::Look;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(15);
const PROJECT: &str = "tour";
const SIZE: &str = "1Gi";

pub(super) struct Cluster {
    client: Client,
    namespace: String,
    session: String,
}

impl Cluster {
    pub(super) async fn connect(namespace: String, session: String) -> anyhow::Result<Self> {
        let mut config = Config::infer().await.context("failed to find the API server")?;
        config.connect_timeout = Some(ANSWER);
        config.read_timeout = Some(ANSWER);
        let client = Client::try_from(config).context("failed to make a client of the API server")?;
        Ok(Self { client, namespace, session })
    }

    pub(super) async fn make_session(&self, user: &str) -> anyhow::Result<()> {
        let session = new_session(&self.session, user);
        self.api().create(&PostParams::default(), &session).await.map(drop).map_err(words)
    }

    pub(super) async fn session(&self) -> anyhow::Result<Look> {
        let session = self.get::<ChatSession>(&self.session).await?.context("the session is gone")?;
        Ok(look(session))
    }

    pub(super) async fn pod(&self) -> anyhow::Result<Option<String>> {
        let pod = self.get::<Pod>(&self.pod_name()).await?.map(|pod| pod.metadata);
        Ok(pod.filter(|pod| pod.deletion_timestamp.is_none()).and_then(|pod| pod.uid))
    }

    /// That very pod. At once: a drone that is told to stop would have time to put its things in order.
    pub(super) async fn delete_pod(&self, uid: &str) -> anyhow::Result<()> {
        let this = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(this), ..DeleteParams::default().grace_period(0) };
        self.api::<Pod>().delete(&self.pod_name(), &params).await.map(drop).map_err(words)
    }

    pub(super) async fn delete_session(&self) -> anyhow::Result<()> {
        match self.api::<ChatSession>().delete(&self.session, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(drop).map_err(words),
        }
    }

    pub(super) async fn left(&self) -> anyhow::Result<Option<String>> {
        let (pod, claim) = (self.pod_name(), names::claim(&self.session));
        let there = [
            ("session", &self.session, self.get::<ChatSession>(&self.session).await?.is_some()),
            ("pod", &pod, self.get::<Pod>(&pod).await?.is_some()),
            ("claim", &claim, self.get::<PersistentVolumeClaim>(&claim).await?.is_some()),
        ];
        Ok(there.into_iter().find(|(.., is)| *is).map(|(kind, name, _)| format!("the {kind} {name}")))
    }

    fn pod_name(&self) -> String {
        names::pod(&names::drone(&self.session))
    }

    async fn get<K>(&self, name: &str) -> anyhow::Result<Option<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        self.api::<K>().get_opt(name).await.map_err(words)
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// The API server's own words say which right is missing.
fn words(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("the API server says: {}", status.message),
        error => anyhow::Error::new(error).context("no answer from the API server"),
    }
}

/// Its workspace goes with it.
fn new_session(name: &str, user: &str) -> ChatSession {
    let spec = ChatSessionSpec {
        user: user.to_owned(),
        project: ProjectRef { slug: PROJECT.to_owned(), git_url: None, git_ref: None },
        title: Some("helm test".to_owned()),
        mode: None,
        model: Some(crds::chat_session::ModelChoice {
            provider: "demo".to_owned(),
            name: "tour".to_owned(),
            reasoning_effort: None,
        }),
        operating_mode: OperatingMode::Running,
        idle_timeout: None,
        class_name: None,
        workspace: Some(SessionWorkspace {
            size: Some(SIZE.to_owned()),
            retention: Some(Retention::Delete),
            ..SessionWorkspace::default()
        }),
        drone: None,
    };
    ChatSession::new(name, spec)
}

fn look(session: ChatSession) -> Look {
    let status = session.status.unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == conditions::READY);
    match (ready, session.metadata.uid) {
        (Some(ready), Some(uid)) if ready.status == "True" => Look::Ready { uid },
        (ready, _) => {
            let own = ready.map_or("the operator has not said anything of it", |ready| &*ready.message);
            let hub = status.adoption.map(|adoption| format!("; the hub: {}", adoption.message));
            Look::NotYet(format!("{own}{}", hub.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(status: Value) -> Look {
        let mut session = serde_json::to_value(new_session("trial", "helm-test")).unwrap();
        session["metadata"]["uid"] = json!("u-1");
        session["status"] = status;
        look(serde_json::from_value(session).unwrap())
    }

    fn ready(status: &str, message: &str) -> Value {
        json!({
            "type": "Ready", "status": status, "reason": "x", "message": message,
            "lastTransitionTime": "2025-01-01T00:00:00Z",
        })
    }

    #[test]
    fn a_session_that_is_not_ready_says_why() {
        assert_eq!(seen(json!({})), Look::NotYet("the operator has not said anything of it".into()));
        let adoption = json!({ "state": "UserUnknown", "message": "no such user" });
        let waiting = json!({ "conditions": [ready("False", "no volume")], "adoption": adoption });
        assert_eq!(seen(waiting), Look::NotYet("no volume; the hub: no such user".into()));
        assert_eq!(seen(json!({ "conditions": [ready("True", "")] })), Look::Ready { uid: "u-1".into() });
    }

    #[test]
    fn the_session_takes_its_workspace_with_it() {
        let workspace = new_session("trial", "helm-test").spec.workspace.unwrap();
        assert_eq!(workspace.retention, Some(Retention::Delete));
    }
}

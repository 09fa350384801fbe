//! A control plane with volumes, a node and operators, for tests of the operator.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use crds::{ChatSession, DroneClass, DroneRegistration};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt as _};
use nix::sys::signal::Signal;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::control_plane::audit::{Position, reads, refused, writes};
use tests::control_plane::chart::Rights;
use tests::control_plane::node::Node;
use tests::control_plane::process::Process;
use tests::control_plane::proxy::Proxy;
use tests::control_plane::storage::Storage;
use tests::control_plane::{ControlPlane, Options, operator};
use tests::deadline::eventually;

pub(crate) const NAMESPACE: &str = "drones";
/// The operator's, as the chart calls it.
pub(crate) const ACCOUNT: &str = "gadget-operator";

/// In the order in which they end.
pub(crate) struct Stage {
    pub(crate) operators: Vec<Process>,
    pub(crate) client: Client,
    pub(crate) node: Node,
    pub(crate) storage: Storage,
    pub(crate) control_plane: ControlPlane,
}

impl Stage {
    /// Without an operator.
    pub(crate) async fn start(options: Options) -> Result<Self> {
        let control_plane = ControlPlane::start(options).await?;
        let client = control_plane.client().await?;
        let storage = Storage::start(&control_plane).await?;
        let node = Node::start(&control_plane, "node-1").await?;
        let stage = Self { operators: Vec::new(), client, node, storage, control_plane };
        stage.prepare_namespace(NAMESPACE).await?;
        Ok(stage)
    }

    /// For drones.
    pub(crate) async fn prepare_namespace(&self, name: &str) -> Result<()> {
        operator::prepare(&self.control_plane, name).await
    }

    /// With one operator that leads.
    pub(crate) async fn with_operator() -> Result<Self> {
        let mut stage = Self::start(Options::default()).await?;
        stage.operator("operator-1", None)?;
        eventually("the default class", || async {
            Ok(stage.find::<DroneClass>("default").await?.map(drop))
        })
        .await
        .with_context(|| stage.complaints())?;
        Ok(stage)
    }

    /// Starts one more operator, as somebody who may do everything, or as this kubeconfig says.
    pub(crate) fn operator(&mut self, identity: &str, kubeconfig: Option<PathBuf>) -> Result<()> {
        self.operator_in(NAMESPACE, identity, kubeconfig)
    }

    /// The same for drones of another namespace.
    pub(crate) fn operator_in(
        &mut self,
        namespace: &str,
        identity: &str,
        kubeconfig: Option<PathBuf>,
    ) -> Result<()> {
        self.operators.push(operator::start(&self.control_plane, namespace, identity, kubeconfig)?);
        Ok(())
    }

    /// A service account for an operator with the rights that the chart grants, and a proxy on its way to the API server.
    pub(crate) async fn account(&self) -> Result<(Rights, Proxy, PathBuf)> {
        let accounts: Api<ServiceAccount> = self.api();
        let account = serde_json::from_value(json!({ "metadata": { "name": ACCOUNT } }))?;
        accounts.create(&PostParams::default(), &account).await?;
        let rights = Rights::of(&self.control_plane, "operator", NAMESPACE).await?;
        rights.grant(&self.control_plane).await?;
        let proxy = Proxy::start(&self.control_plane).await?;
        let kubeconfig = self.control_plane.directory().join("operator.kubeconfig");
        self.control_plane
            .service_account_kubeconfig(&kubeconfig, NAMESPACE, ACCOUNT, Some(proxy.url()))
            .await?;
        Ok((rights, proxy, kubeconfig))
    }

    pub(crate) fn signal(&mut self, which: usize, signal: Signal) -> Result<()> {
        self.operators[which].signal(signal)
    }

    /// Status and words of an operator's own answer, such as to `/readyz`.
    pub(crate) async fn asks(&self, which: usize, path: &str) -> Result<(u16, String)> {
        let address = eventually("the operator's address", || async {
            let log = self.operators[which].output()?;
            let found = log.split_once("the operator listens on ").map(|(_, rest)| rest);
            let is_of_an_address = |letter: char| letter.is_ascii_digit() || ".:".contains(letter);
            Ok(found
                .map(|rest| rest.chars().take_while(|letter| is_of_an_address(*letter)).collect::<String>()))
        })
        .await?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client.get(format!("http://{address}{path}")).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) async fn find<K>(&self, name: &str) -> Result<Option<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        Ok(self.api::<K>().get_opt(name).await?)
    }

    pub(crate) async fn session(&self, name: &str, more: Value) -> Result<()> {
        let session = operator::session(name, more)?;
        self.api::<ChatSession>().create(&PostParams::default(), &session).await?;
        Ok(())
    }

    pub(crate) async fn patch<K>(&self, name: &str, patch: Value) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    pub(crate) async fn delete<K>(&self, name: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        self.api::<K>().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until the session is in this phase.
    pub(crate) async fn reaches(&self, name: &str, phase: &str) -> Result<ChatSession> {
        self.shows::<ChatSession>(name, phase, |session| {
            let told = serde_json::to_value(&session.status).unwrap_or_default();
            told["phase"] == phase
        })
        .await
    }

    /// Waits until the object looks as it should.
    pub(crate) async fn shows<K>(&self, name: &str, what: &str, is: impl Fn(&K) -> bool) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let found = eventually(&format!("{name} {what}"), || async {
            Ok(self.find::<K>(name).await?.filter(|found| is(found)))
        })
        .await;
        let last = self.find::<K>(name).await?;
        found.with_context(|| format!("{last:#?}\n{}", self.complaints()))
    }

    pub(crate) async fn gone<K>(&self, name: &str) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        eventually(&format!("{name} to be gone"), || async {
            Ok(self.find::<K>(name).await?.is_none().then_some(()))
        })
        .await
        .with_context(|| self.complaints())
    }

    pub(crate) async fn position(&self) -> Result<Position> {
        self.control_plane.settled_audit().await?.position()
    }

    /// What operators have written since, events and leases apart.
    pub(crate) async fn writes_since(&self, since: Position) -> Result<BTreeMap<String, usize>> {
        let entries = self.control_plane.settled_audit().await?.since(since)?;
        Ok(writes(&entries, operator::USER_AGENT))
    }

    /// What was read of the kinds that it works with, since: lists and gets.
    pub(crate) async fn reads_since(&self, since: Position) -> Result<usize> {
        let entries = self.control_plane.settled_audit().await?.since(since)?;
        Ok(reads(&entries, operator::USER_AGENT))
    }

    /// What operators were not allowed to write, or too late for, since.
    pub(crate) async fn refused_since(&self, since: Position) -> Result<usize> {
        let entries = self.control_plane.settled_audit().await?.since(since)?;
        Ok(refused(&entries, operator::USER_AGENT))
    }

    pub(crate) async fn pod_uid(&self, name: &str) -> Result<String> {
        let pod = self.find::<Pod>(name).await?.with_context(|| format!("there is no pod {name}"))?;
        pod.uid().context("a pod has a uid")
    }

    /// What there is: drones, pods, claims.
    pub(crate) async fn counts(&self) -> Result<(usize, usize, usize)> {
        let all = kube::api::ListParams::default();
        let drones = self.api::<DroneRegistration>().list(&all).await?.items.len();
        let pods = self.api::<Pod>().list(&all).await?.items.len();
        let claims = self.api::<PersistentVolumeClaim>().list(&all).await?.items.len();
        Ok((drones, pods, claims))
    }

    /// Fails when something is written in that time.
    pub(crate) async fn stays_quiet(&self, time: Duration) -> Result<()> {
        let since = self.position().await?;
        tokio::time::sleep(time).await;
        let writes = self.writes_since(since).await?;
        anyhow::ensure!(writes.is_empty(), "nothing was to be written: {writes:?}\n{}", self.complaints());
        Ok(())
    }

    pub(crate) fn complaints(&self) -> String {
        let operators: String = self.operators.iter().map(Process::complaints).collect();
        format!("== operators\n{operators}\n== node\n{:?}", self.node.complaints())
    }
}

pub(crate) fn counted<const N: usize>(writes: [(&str, usize); N]) -> BTreeMap<String, usize> {
    writes.map(|(what, times)| (what.to_owned(), times)).into()
}

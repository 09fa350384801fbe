//! A hub, an operator and a node whose pods run the real drone, on a real control plane; and people at the hub.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use crds::{ChatSession, DroneRegistration};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api as KubeApi, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt as _};
use nix::sys::signal::Signal;
use protocol::document::{ChatSession as Document, Project};
use protocol::ide::DroneStatusEvent;
use reqwest::Method;
use scripted_model::script::Script;
use scripted_model::settings::Settings;
use scripted_model::{Pace, ScriptedModel, Server};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::api::Api;
use tests::control_plane::chart::Rights;
use tests::control_plane::node::{Behaviour, Node, Selector};
use tests::control_plane::process::Process;
use tests::control_plane::proxy::Proxy;
use tests::control_plane::storage::Storage;
use tests::control_plane::{ControlPlane, Options, programs};
use tests::deadline::eventually;
use tests::ide::Ide;

pub(crate) const NAMESPACE: &str = "gadget";
const PASSWORD: &str = "correct horse battery staple";
const KEY: &str = "sk-nobody-else-may-see-this";

/// In the order in which they end.
pub(crate) struct HubStage {
    hub: Option<Process>,
    operator: Process,
    hub_kubeconfig: PathBuf,
    port: u16,
    starts: u32,
    /// As the administrator.
    pub(crate) admin: Api,
    pub(crate) client: Client,
    /// Between the hub and the API server.
    pub(crate) proxy: Proxy,
    pub(crate) node: Node,
    _storage: Storage,
    _server: Server,
    model_url: String,
    /// What the chart grants the hub.
    pub(crate) rights: Rights,
    pub(crate) control_plane: ControlPlane,
}

impl HubStage {
    /// Each script answers the prompts that have `[[script:its name]]` in them.
    pub(crate) async fn start<'a>(scripts: impl IntoIterator<Item = (&'a str, Script)>) -> Result<Self> {
        let control_plane = ControlPlane::start(Options::default()).await?;
        control_plane.create_namespace(NAMESPACE).await?;
        let client = control_plane.client().await?;
        let accounts: KubeApi<ServiceAccount> = KubeApi::namespaced(client.clone(), NAMESPACE);
        for name in ["gadget-drone", "gadget-hub", "gadget-test"] {
            let account = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
            accounts.create(&PostParams::default(), &account).await?;
        }
        let rights = Rights::of(&control_plane, "hub", NAMESPACE).await?;
        rights.grant(&control_plane).await?;
        let storage = Storage::start(&control_plane).await?;
        let node = Node::start(&control_plane, "node-1").await?;
        let drone = Behaviour::process(programs::built("gadget-drone")?);
        node.set_behaviour(Selector::All, drone).await;
        let proxy = Proxy::start(&control_plane).await?;
        let hub_kubeconfig = control_plane.directory().join("hub.kubeconfig");
        control_plane
            .service_account_kubeconfig(&hub_kubeconfig, NAMESPACE, "gadget-hub", Some(proxy.url()))
            .await?;
        let scripts = scripts.into_iter().map(|(name, script)| (name.to_owned(), script)).collect();
        let settings = Settings {
            scripts,
            secrets: vec![KEY.to_owned()],
            pace: Pace { piece: 5, seed: 1 },
            ..Settings::default()
        };
        let server = ScriptedModel::new(settings).serve_here().await?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let operator = operator(&control_plane, port)?;
        let mut stage = Self {
            hub: None,
            operator,
            hub_kubeconfig,
            port,
            starts: 0,
            admin: Api::at(&format!("http://127.0.0.1:{port}"), "")?,
            client,
            proxy,
            node,
            _storage: storage,
            model_url: format!("{}/v1", server.url()),
            _server: server,
            rights,
            control_plane,
        };
        stage.start_hub().await?;
        stage.admin = stage.invited("admin").await?;
        let _models: Value = stage.admin.call(Method::POST, "/providers/openai/probe", None).await?;
        Ok(stage)
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn start_hub(&mut self) -> Result<()> {
        let directory = self.control_plane.directory();
        let mut command = Command::new(programs::built("gadget-hub")?);
        command.args(["--fleet", "kube", "--namespace", NAMESPACE, "--model", "openai"]);
        command.args(["--test-service-account", &format!("{NAMESPACE}/gadget-test")]);
        command.arg("--kubeconfig").arg(&self.hub_kubeconfig);
        command.arg("--data").arg(directory.join("hub"));
        command.args(["--listen", &format!("127.0.0.1:{}", self.port), "--openai", &self.model_url]);
        command.args(["--key-env", "TEST_MODEL_KEY"]).env("TEST_MODEL_KEY", KEY);
        command.env("RUST_LOG", "info,hub=debug");
        self.starts += 1;
        let log = directory.join(format!("hub-{}.log", self.starts));
        self.hub = Some(Process::start(self.control_plane.guard(), "gadget-hub", command, log)?);
        eventually("the hub to be ready", || async { Ok(self.ready().await.map(drop)) })
            .await
            .with_context(|| self.complaints())
    }

    /// What `/readyz` says, when it says yes.
    pub(crate) async fn ready(&self) -> Option<String> {
        let answer = reqwest::Client::builder().no_proxy().build().ok()?;
        let answer = answer.get(format!("{}/readyz", self.origin())).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }

    pub(crate) async fn stop_hub(&mut self, signal: Signal) -> Result<()> {
        let mut hub = self.hub.take().context("no hub runs")?;
        hub.signal(signal)?;
        hub.wait().await?;
        Ok(())
    }

    /// Signs in by a link of `gadget-hub invite`, run beside the hub.
    async fn invited(&self, account: &str) -> Result<Api> {
        #[derive(Deserialize)]
        struct Signed {
            token: String,
        }
        let data = self.control_plane.directory().join("hub");
        let printed = Command::new(programs::built("gadget-hub")?)
            .args(["invite", account, "--data"])
            .arg(data)
            .output()
            .context("failed to run gadget-hub invite")?;
        ensure!(printed.status.success(), "{printed:?}");
        let link = String::from_utf8(printed.stdout)?;
        let code = link.trim().split_once("#invite=").context("a link has a code")?.1;
        let nobody = Api::at(&self.origin(), "")?;
        let signed: Signed =
            nobody.call(Method::POST, "/auth/redeem", Some(&json!({ "invite": code }))).await?;
        Api::at(&self.origin(), &signed.token)
    }

    /// An account with this handle, signed in.
    pub(crate) async fn person(&self, handle: &str) -> Result<Api> {
        let account = json!({
            "email": format!("{handle}@example.org"), "handle": handle, "password": PASSWORD,
        });
        let _user: Value = self.admin.call(Method::POST, "/users", Some(&account)).await?;
        self.invited(&format!("{handle}@example.org")).await
    }

    /// A tab on a session that is new at the hub.
    pub(crate) async fn open(&self, person: &Api, project: &str) -> Result<(Ide, Document)> {
        let project = person.create_project(project, None).await?;
        let session = person.create_session(&project).await?;
        let ide = self.tab(person, &project, &session).await?;
        Ok((ide, session))
    }

    /// A tab on a session that is there.
    pub(crate) async fn tab(&self, person: &Api, project: &Project, session: &Document) -> Result<Ide> {
        let ide = Ide::connect_to(&self.origin(), person.token(), session.id.as_str()).await?;
        ide.open(project, session).await.with_context(|| self.complaints())?;
        Ok(ide)
    }

    pub(crate) fn api<K>(&self) -> KubeApi<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        KubeApi::namespaced(self.client.clone(), NAMESPACE)
    }

    /// As a person does with kubectl.
    pub(crate) async fn make(&self, name: &str, spec: Value) -> Result<ChatSession> {
        let object = json!({
            "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "ChatSession", "metadata": { "name": name }, "spec": spec,
        });
        let object = serde_json::from_value(object)?;
        Ok(self.api::<ChatSession>().create(&PostParams::default(), &object).await?)
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

    /// Waits until the object looks as it should.
    pub(crate) async fn shows<K>(&self, name: &str, what: &str, is: impl Fn(&K) -> bool) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let found = eventually(&format!("{name} {what}"), || async {
            Ok(self.api::<K>().get_opt(name).await?.filter(|found| is(found)))
        })
        .await;
        let last = self.api::<K>().get_opt(name).await?;
        found.with_context(|| format!("{last:#?}\n{}", self.complaints()))
    }

    /// The drone's pod is there and works.
    pub(crate) async fn busy(&self, drone: &str) -> Result<DroneRegistration> {
        self.shows::<DroneRegistration>(drone, "works", |drone| {
            serde_json::to_value(&drone.status).unwrap_or_default()["phase"] == "Busy"
        })
        .await
    }

    /// Waits until the tab is told this of its drone.
    pub(crate) async fn hears(
        &self,
        ide: &Ide,
        what: &str,
        like: impl Fn(&DroneStatusEvent) -> bool,
    ) -> Result<DroneStatusEvent> {
        ide.told(what, like).await.with_context(|| self.complaints())
    }

    /// What the hub has written since it was started last.
    pub(crate) fn hub_log(&self) -> Result<String> {
        self.hub.as_ref().context("no hub runs")?.output()
    }

    pub(crate) async fn pod_uid(&self, name: &str) -> Result<String> {
        self.api::<Pod>().get(name).await?.uid().context("a pod has a uid")
    }

    /// The last words of all who take part.
    pub(crate) fn complaints(&self) -> String {
        let programs = [self.hub.as_ref(), Some(&self.operator)].into_iter().flatten();
        let told: Vec<String> =
            programs.map(|program| format!("== {}\n{}\n", program.name(), program.complaints())).collect();
        let told = told.concat();
        let log = |pod: &String| {
            let file = self.control_plane.directory().join("nodes/node-1");
            format!("{pod} in {}", file.display())
        };
        let pods: Vec<String> = self.node.pods().iter().map(log).collect();
        format!("{told}== node\n{:?} {pods:?}", self.node.complaints())
    }
}

fn operator(control_plane: &ControlPlane, port: u16) -> Result<Process> {
    let directory = control_plane.directory();
    let class = directory.join("default-class.yaml");
    std::fs::write(&class, "image: drone:1\nterminationGracePeriod: 10s\n")?;
    let mut command = Command::new(programs::built("gadget-operator")?);
    let hub = format!("http://127.0.0.1:{port}");
    command.args(["--namespace", NAMESPACE, "--hub-url", &hub, "--listen", "127.0.0.1:0"]);
    command.args(["--identity", "operator-1", "--default-class"]).arg(&class);
    command.arg("--kubeconfig").arg(control_plane.admin_kubeconfig());
    command.env("RUST_LOG", "info,kube=warn");
    Process::start(control_plane.guard(), "gadget-operator", command, directory.join("operator.log"))
}

//! A control plane with a node and volumes, on which releases live.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::control_plane::node::Node;
use tests::control_plane::process::Process;
use tests::control_plane::storage::Storage;
use tests::control_plane::{ControlPlane, Options, programs};
use tests::deadline::eventually;

use crate::rendered::{NAMESPACE, RELEASE};

#[derive(Debug)]
pub(crate) struct Cluster {
    // Before the control plane that they talk to.
    _node: Node,
    _storage: Storage,
    pub(crate) control_plane: ControlPlane,
}

impl Cluster {
    /// Without the definitions, which charts bring; pods of the namespace must be restricted.
    pub(crate) async fn start() -> Result<Self> {
        let options = Options { definitions: Vec::new(), ..Options::default() };
        let control_plane = ControlPlane::start(options).await?;
        control_plane.create_namespace(NAMESPACE).await?;
        let storage = Storage::start(&control_plane).await?;
        let node = Node::start(&control_plane, "node-1").await?;
        Ok(Self { _node: node, _storage: storage, control_plane })
    }

    pub(crate) async fn helm(&self, arguments: &[&str]) -> Result<String> {
        self.control_plane.helm([arguments, &["--namespace", NAMESPACE]].concat()).await
    }

    pub(crate) async fn get(&self, what: &[&str]) -> Result<Value> {
        let get = [&["get", "--namespace", NAMESPACE, "-o", "json"], what].concat();
        Ok(serde_json::from_str(&self.control_plane.kubectl(get).await?)?)
    }

    pub(crate) async fn items(&self, what: &[&str]) -> Result<Vec<Value>> {
        Ok(self.get(what).await?["items"].as_array().context("no list")?.clone())
    }

    pub(crate) async fn create(&self, manifest: &str) -> Result<()> {
        let create = ["create", "--namespace", NAMESPACE, "-f", "-"];
        let answer = self.control_plane.try_kubectl(create, manifest).await?;
        ensure!(answer.success, "{}", answer.stderr);
        Ok(())
    }

    /// Of something that is not being deleted.
    pub(crate) async fn uid(&self, what: &[&str]) -> Result<Value> {
        let object = self.get(what).await?;
        ensure!(object["metadata"]["deletionTimestamp"].is_null(), "{what:?} is being deleted");
        Ok(object["metadata"]["uid"].clone())
    }

    /// Until a Deployment has rolled out: the real controller-manager makes its pods, which Pod Security may refuse.
    pub(crate) async fn rolled_out(&self, component: &str, count: usize, image: &str) -> Result<()> {
        let selector = format!("app.kubernetes.io/component={component}");
        eventually(&format!("{count} pods of {component} with {image}"), || async {
            let pods = self.items(&["pods", "--selector", &selector]).await?;
            let ready = |pod: &Value| {
                let conditions = pod["status"]["conditions"].as_array();
                conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
            };
            let as_wanted = |pod: &&Value| pod["spec"]["containers"][0]["image"] == image && ready(pod);
            if pods.len() == count && pods.iter().filter(as_wanted).count() == count {
                return Ok(Some(()));
            }
            for set in self.items(&["replicasets", "--selector", &selector]).await? {
                for condition in set["status"]["conditions"].as_array().into_iter().flatten() {
                    ensure!(condition["type"] != "ReplicaFailure", "{condition}");
                }
            }
            Ok(None)
        })
        .await
    }

    /// The program of a component, as its Deployment starts it and as its service account, but on this machine.
    pub(crate) async fn run(&self, component: &str, name: &str) -> Result<Process> {
        let account = format!("{RELEASE}-{component}");
        let directory = self.control_plane.directory().join(name);
        std::fs::create_dir_all(&directory)?;
        let kubeconfig = directory.join("kubeconfig");
        self.control_plane.service_account_kubeconfig(&kubeconfig, NAMESPACE, &account, None).await?;

        let deployment = self.get(&["deployment", &account]).await?;
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let mut command = std::process::Command::new(programs::built(&format!("gadget-{component}"))?);
        command.env_clear();
        for variable in container["env"].as_array().context("no env")? {
            let (name, value) = (variable["name"].as_str().context("no name")?, &variable["value"]);
            if let Some(value) = value.as_str() {
                command.env(name, value);
            }
        }
        command.env("POD_NAME", name).env("GADGET_LISTEN", "127.0.0.1:0").env("GADGET_LOG_FORMAT", "text");
        match component {
            "operator" => {
                command.env("KUBECONFIG", kubeconfig);
                command.env("GADGET_DEFAULT_CLASS", self.settings(&account, &directory).await?);
            }
            _ => {
                command.env("GADGET_KUBECONFIG", kubeconfig).env("GADGET_DATA", directory.join("data"));
            }
        }
        let log = self.control_plane.directory().join(format!("{name}.log"));
        Process::start(self.control_plane.guard(), name, command, log)
    }

    async fn settings(&self, map: &str, directory: &std::path::Path) -> Result<PathBuf> {
        let map = self.get(&["configmap", map]).await?;
        let path = directory.join("default-class.yaml");
        std::fs::write(&path, map["data"]["default-class.yaml"].as_str().context("no settings")?)?;
        Ok(path)
    }
}

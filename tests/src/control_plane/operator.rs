//! Gadget's operator as a process, and what its namespace needs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use crds::ChatSession;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use crate::control_plane::process::Process;
use crate::control_plane::{ControlPlane, programs};

/// How it calls itself at the API server.
pub const USER_AGENT: &str = "gadget-operator";

/// A namespace in which drones may be.
pub async fn prepare(control_plane: &ControlPlane, namespace: &str) -> Result<()> {
    control_plane.create_namespace(namespace).await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(control_plane.client().await?, namespace);
    let account = serde_json::from_value(json!({ "metadata": { "name": "gadget-drone" } }))?;
    accounts.create(&PostParams::default(), &account).await.context("failed to make a service account")?;
    Ok(())
}

/// Starts one, as somebody who may do everything, or as this kubeconfig says.
pub fn start(
    control_plane: &ControlPlane,
    namespace: &str,
    identity: &str,
    kubeconfig: Option<PathBuf>,
) -> Result<Process> {
    let directory = control_plane.directory();
    let class = directory.join("default-class.yaml");
    std::fs::write(&class, "image: drone:1\nterminationGracePeriod: 5s\n")?;
    let mut command = Command::new(programs::built("gadget-operator")?);
    command.args(["--namespace", namespace]);
    command.args(["--hub-url", "http://gadget-hub:8420", "--listen", "127.0.0.1:0"]);
    command.args(["--identity", identity, "--default-class"]).arg(&class);
    command.arg("--kubeconfig").arg(kubeconfig.unwrap_or_else(|| control_plane.admin_kubeconfig()));
    command.env("RUST_LOG", "info,kube=warn");
    let log = directory.join(format!("{identity}.log"));
    Process::start(control_plane.guard(), identity, command, log)
}

/// A session of a person; `more` is added to its spec.
pub fn session(name: &str, more: Value) -> Result<ChatSession> {
    let mut spec = json!({ "user": "ada", "project": { "slug": "shop" } });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    let object = json!({
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "ChatSession", "metadata": { "name": name }, "spec": spec,
    });
    Ok(serde_json::from_value(object)?)
}

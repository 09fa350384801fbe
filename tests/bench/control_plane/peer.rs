//! The real controller of agent-sandbox, as `cargo xtask bench` builds it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use tests::control_plane::ControlPlane;
use tests::control_plane::process::Process;

use super::write::NAMESPACE;

pub(super) const NAME: &str = "agent-sandbox";
/// How it calls itself at the API server.
pub(super) const USER_AGENT: &str = "agent-sandbox-controller";

/// Whether one of several leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Election {
    Off,
    On,
}

/// Of its core. Versions are not converted: that needs its webhook, and nobody asks for another version.
pub(super) fn definitions() -> Result<Vec<CustomResourceDefinition>> {
    let file = directory()?.join("crds/agents.x-k8s.io_sandboxes.yaml");
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    let mut definition: CustomResourceDefinition = serde_saphyr::from_str(&text)?;
    definition.spec.conversion = None;
    Ok(vec![definition])
}

/// Its own defaults (no limit of requests, 100 workers), with the options that its documentation has for many pods.
pub(super) fn start(control_plane: &ControlPlane, identity: &str, election: Election) -> Result<Process> {
    let mut command = Command::new(directory()?.join("agent-sandbox-controller"));
    command.arg("--kubeconfig").arg(control_plane.admin_kubeconfig());
    command.args(["--enable-webhook=false", "--metrics-bind-address=0", "--health-probe-bind-address=0"]);
    command.args(["--cache-label-selectors", "--separate-watch-connection"]);
    command.arg(format!("--leader-elect={}", election == Election::On));
    command.arg(format!("--leader-election-namespace={NAMESPACE}"));
    let log = control_plane.directory().join(format!("{identity}.log"));
    Process::start(control_plane.guard(), identity, command, log)
}

fn directory() -> Result<PathBuf> {
    let directory = std::env::var_os("GADGET_AGENT_SANDBOX").map(PathBuf::from);
    directory.context("agent-sandbox is missing: `cargo xtask bench control-plane` builds it")
}

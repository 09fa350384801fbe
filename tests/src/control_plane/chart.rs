//! What the chart `gadget` grants its programs, as the real helm renders it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use serde_json::Value;

use crate::control_plane::ControlPlane;
use crate::control_plane::rbac::{Difference, Granted, compare, service_account};

/// The rights of one program, for a release `gadget` in one namespace.
#[derive(Debug)]
pub struct Rights {
    /// As helm prints it, for `kubectl create -f -`.
    pub manifest: String,
    account: String,
    namespace: String,
    /// In the namespace.
    role: Vec<PolicyRule>,
    /// Everywhere.
    cluster_role: Vec<PolicyRule>,
}

impl Rights {
    /// `component`: `hub` or `operator`.
    pub async fn of(control_plane: &ControlPlane, component: &str, namespace: &str) -> Result<Self> {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/gadget");
        let chart = chart.to_str().context("a path is no text")?;
        let template = format!("templates/{component}/rbac.yaml");
        let of_chart = ["template", "gadget", chart, "--namespace", namespace, "--show-only", &template];
        let settings = ["--set=crds.install=false", "--kube-version=1.34.4"];
        let manifest = control_plane.helm(of_chart.into_iter().chain(settings)).await?;
        let mut rights = Self {
            account: service_account(namespace, &format!("gadget-{component}")),
            namespace: namespace.to_owned(),
            role: Vec::new(),
            cluster_role: Vec::new(),
            manifest,
        };
        for document in rights.manifest.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document).context("helm's YAML cannot be read")?;
            match object["kind"].as_str() {
                Some("Role") => {
                    rights.role.extend(serde_json::from_value::<Role>(object)?.rules.unwrap_or_default());
                }
                Some("ClusterRole") => {
                    let role: ClusterRole = serde_json::from_value(object)?;
                    rights.cluster_role.extend(role.rules.unwrap_or_default());
                }
                _ => {}
            }
        }
        ensure!(!rights.role.is_empty(), "{template} has no Role");
        Ok(rights)
    }

    pub async fn grant(&self, control_plane: &ControlPlane) -> Result<()> {
        let create = ["--namespace", &self.namespace, "create", "-f", "-"];
        let made = control_plane.try_kubectl(create, &self.manifest).await?;
        ensure!(made.success, "{}", made.stderr);
        Ok(())
    }

    /// Until now.
    pub async fn difference(&self, control_plane: &ControlPlane) -> Result<Difference> {
        let entries = control_plane.settled_audit().await?.all()?;
        let granted = [
            Granted { namespace: Some(&self.namespace), rules: &self.role },
            Granted { namespace: None, rules: &self.cluster_role },
        ];
        compare(&entries, &self.account, &granted)
    }
}

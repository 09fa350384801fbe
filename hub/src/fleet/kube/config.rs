//! Where the cluster is, and how it is reached.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Where the cluster is, and what the drones there are.
#[derive(Clone, Debug)]
pub struct KubeConfig {
    /// Absent: in the cluster that the hub itself runs in, else as `kubectl` would.
    pub kubeconfig: Option<PathBuf>,
    /// Of the resources. Absent: the one that the hub runs in, or the kubeconfig's own.
    pub namespace: Option<String>,
    /// Class of drones that are started for no session.
    pub class: String,
    /// The account that drones' pods run as.
    pub drone_service_account: String,
    /// The account that tries the installation, and its namespace. Absent: nobody does.
    pub tester: Option<ServiceAccount>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    pub namespace: String,
    pub name: String,
}

#[derive(Debug, thiserror::Error)]
pub enum KubeFleetError {
    #[error("failed to find the cluster; name a kubeconfig with --kubeconfig, or run the hub in a pod")]
    Infer(#[source] kube::config::InferConfigError),
    #[error("failed to read the kubeconfig {path}")]
    Kubeconfig {
        path: PathBuf,
        #[source]
        source: kube::config::KubeconfigError,
    },
    #[error("failed to make a client of the API server")]
    Client(#[source] kube::Error),
}

impl KubeConfig {
    pub(super) async fn cluster(&self) -> Result<Config, KubeFleetError> {
        let mut cluster = match &self.kubeconfig {
            None => Config::infer().await.map_err(KubeFleetError::Infer)?,
            Some(path) => {
                let failed = |source| KubeFleetError::Kubeconfig { path: path.clone(), source };
                let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
                let options = KubeConfigOptions::default();
                Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)?
            }
        };
        cluster.connect_timeout = Some(CONNECT_LIMIT);
        // Audit logs tell by it who did what.
        let agent = HeaderValue::from_static(concat!("gadget-hub/", env!("CARGO_PKG_VERSION")));
        cluster.headers.push((USER_AGENT, agent));
        Ok(cluster)
    }
}

//! Where the cluster is, and how it is reached.

use std::path::PathBuf;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

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
        let Some(path) = &self.kubeconfig else {
            return Config::infer().await.map_err(KubeFleetError::Infer);
        };
        let failed = |source| KubeFleetError::Kubeconfig { path: path.clone(), source };
        let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)
    }
}

//! Who talks to which API server, as a file that every client of Kubernetes reads.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::control_plane::certificates::Pair;

#[derive(Clone, Debug)]
pub enum Identity {
    Certificate(Pair),
    Token(String),
}

/// `authority`: the certificate that vouches for an `https` server.
pub fn write(
    path: &Path,
    server: &str,
    authority: &Path,
    identity: &Identity,
    namespace: &str,
) -> Result<()> {
    let user = match identity {
        Identity::Certificate(pair) => {
            json!({ "client-certificate": pair.certificate, "client-key": pair.key })
        }
        Identity::Token(token) => json!({ "token": token }),
    };
    let cluster = if server.starts_with("https:") {
        json!({ "server": server, "certificate-authority": authority })
    } else {
        json!({ "server": server })
    };
    // JSON is YAML.
    let config: Value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": namespace } }],
        "current-context": "test",
    });
    std::fs::write(path, serde_json::to_string_pretty(&config)?)
        .with_context(|| format!("failed to write {}", path.display()))
}

/// A client with what the file says, under a user agent of its own, by which the audit log knows it.
pub async fn client(path: PathBuf, user_agent: &str) -> Result<Client> {
    // Somebody has to choose; the second choice is the same.
    let _chosen_already = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(&path)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.headers.push((http::header::USER_AGENT, user_agent.parse()?));
    Client::try_from(config).context("failed to make a client of the API server")
}

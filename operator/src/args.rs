//! The command line of `gadget-operator`. Each setting can come from the environment as well.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use crds::DroneClassSpec;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig};
use operator::config::{Config, DEFAULT_CLASS, LeaseConfig};
use serde_json::{Map, Value};
use url::Url;

/// Turns Gadget's resources into pods and claims
#[derive(Clone, Debug, Parser)]
#[command(name = "gadget-operator", version)]
pub(crate) struct Args {
    /// Namespace of the drones [default: the operator's own]
    #[arg(long, value_name = "NAMESPACE", env = "GADGET_NAMESPACE")]
    namespace: Option<String>,
    /// What drones connect to, such as <http://gadget-hub:8420>
    #[arg(long, value_name = "URL", env = "GADGET_HUB_URL")]
    hub_url: Url,
    /// File with the spec of a DroneClass, in YAML: class `default` is made from it, and follows it until somebody edits it
    #[arg(long, value_name = "FILE", env = "GADGET_DEFAULT_CLASS")]
    default_class: Option<PathBuf>,
    /// Image of class `default`, where the file names none
    #[arg(long, value_name = "IMAGE", env = "GADGET_DRONE_IMAGE")]
    drone_image: Option<String>,
    /// Class of sessions that name none
    #[arg(long, value_name = "NAME", env = "GADGET_CLASS", default_value = DEFAULT_CLASS)]
    class: String,
    /// Service account of the drones' pods
    #[arg(long, value_name = "NAME", env = "GADGET_DRONE_SERVICE_ACCOUNT", default_value = "gadget-drone")]
    drone_service_account: String,
    /// Address of `/healthz`, `/readyz` and `/metrics`; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", env = "GADGET_LISTEN", default_value = "0.0.0.0:8081")]
    pub(crate) listen: SocketAddr,
    /// Lease by which one operator of several leads
    #[arg(long, value_name = "NAME", env = "GADGET_LEASE", default_value = "gadget-operator")]
    lease: String,
    /// This operator's name among them [default: the host's, and something random]
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,
    /// How the log is written
    #[arg(long, value_name = "FORMAT", env = "GADGET_LOG_FORMAT", value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// How to reach the API server [default: KUBECONFIG, else as a pod does]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Args {
    pub(crate) async fn into_config(self) -> anyhow::Result<(Config, kube::Config)> {
        let cluster = cluster(self.kubeconfig.as_deref()).await?;
        let image = self.drone_image.as_deref();
        let default_class = self.default_class.as_deref().map(|file| read_class(file, image)).transpose()?;
        let identity = match self.identity {
            Some(identity) => identity,
            None => random_identity()?,
        };
        let namespace = self.namespace.unwrap_or_else(|| cluster.default_namespace.clone());
        let config = Config {
            default_class,
            class: self.class,
            drone_service_account: self.drone_service_account,
            lease: LeaseConfig::new(self.lease, identity.clone()),
            ..Config::new(namespace, self.hub_url, identity)
        };
        Ok((config, cluster))
    }
}

async fn cluster(file: Option<&Path>) -> anyhow::Result<kube::Config> {
    let mut config = match file {
        Some(file) => {
            let read = Kubeconfig::read_from(file)
                .with_context(|| format!("failed to read the kubeconfig {}", file.display()))?;
            kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::infer().await.context("failed to find out how to reach the API server")?,
    };
    // Work that goes wrong is tried again by the queue, which knows what has changed meanwhile.
    config.default_retry = false;
    let agent = concat!("gadget-operator/", env!("CARGO_PKG_VERSION"));
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    Ok(config)
}

fn read_class(file: &Path, image: Option<&str>) -> anyhow::Result<DroneClassSpec> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("failed to read the default class {}", file.display()))?;
    class(&text, image)
        .with_context(|| format!("the default class {} is not the spec of a DroneClass", file.display()))
}

fn class(text: &str, image: Option<&str>) -> anyhow::Result<DroneClassSpec> {
    let mut spec: Map<String, Value> = serde_saphyr::from_str(text)?;
    if let Some(image) = image {
        spec.entry("image").or_insert_with(|| image.into());
    }
    Ok(serde_json::from_value(spec.into())?)
}

fn random_identity() -> anyhow::Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let random = getrandom::u32().context("failed to get random bytes")?;
    Ok(format!("{}-{random:08x}", host.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_the_image_that_its_file_names_else_the_one_that_is_given() {
        let own = class("image: own:1\nidleTimeout: 1h\n", Some("given:2")).unwrap();
        assert_eq!((&*own.image, own.idle_timeout.as_deref()), ("own:1", Some("1h")));
        assert_eq!(class("idleTimeout: 1h\n", Some("given:2")).unwrap().image, "given:2");
    }

    #[test]
    fn a_class_without_any_image_is_refused_by_name() {
        let error = class("idleTimeout: 1h\n", None).unwrap_err();
        assert!(format!("{error:#}").contains("missing field `image`"), "{error:#}");
    }
}

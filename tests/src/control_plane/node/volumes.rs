//! Volumes of a pod as directories of this machine, and the paths of the container as paths here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, KeyToPath, ObjectFieldSelector, PersistentVolume, PersistentVolumeClaim, Pod,
    Secret, ServiceAccount, ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};

use crate::control_plane::node::shared::Shared;

/// What the API server gives where the pod does not say.
const TOKEN_SECONDS: i64 = 3600;

#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// A path in the container and here; the longest first, so that the innermost mount counts.
    paths: Vec<(String, PathBuf)>,
    pub tokens: Vec<Token>,
}

/// A file with a token that is bound to the pod.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub file: PathBuf,
    audience: Option<String>,
    pub seconds: i64,
}

impl Mounts {
    /// Everything that the container mounts, with contents.
    pub(super) async fn prepare(shared: &Shared, pod: &Pod, container: &Container) -> Result<Self> {
        let mut mounts = Self::default();
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
        for mount in container.volume_mounts.as_deref().unwrap_or_default() {
            let volume = volumes.iter().find(|volume| volume.name == mount.name);
            let volume = volume.with_context(|| format!("the pod has no volume {}", mount.name))?;
            let mut here = mounts.volume(shared, pod, volume).await?;
            if let Some(sub_path) = &mount.sub_path {
                here.push(sub_path);
            }
            mounts.paths.push((mount.mount_path.trim_end_matches('/').to_owned(), here));
        }
        mounts.paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        Ok(mounts)
    }

    /// The same text with this machine's paths.
    pub(super) fn translate(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        let mut before: Option<char> = None;
        while let Some(next) = rest.chars().next() {
            let inside = before.is_none_or(|before| "=,:; ".contains(before));
            let mounted = self.paths.iter().filter(|_| inside).find(|(path, _)| {
                let after = rest.strip_prefix(path.as_str()).map(|after| after.chars().next());
                after.is_some_and(|after| after.is_none_or(|after| "/,:; ".contains(after)))
            });
            if let Some((path, here)) = mounted {
                out.push_str(&here.display().to_string());
                rest = &rest[path.len()..];
                before = path.chars().last();
            } else {
                out.push(next);
                rest = &rest[next.len_utf8()..];
                before = Some(next);
            }
        }
        out
    }

    async fn volume(&mut self, shared: &Shared, pod: &Pod, volume: &Volume) -> Result<PathBuf> {
        let own = directory_of(shared, pod).join("volumes").join(&volume.name);
        std::fs::create_dir_all(&own).with_context(|| format!("failed to make {}", own.display()))?;
        let namespace = pod.namespace().unwrap_or_default();
        if let Some(claim) = &volume.persistent_volume_claim {
            return claimed(shared, &namespace, &claim.claim_name).await;
        }
        if let Some(projected) = &volume.projected {
            for source in projected.sources.as_deref().unwrap_or_default() {
                self.project(shared, pod, source, &own).await?;
            }
        } else if let Some(map) = &volume.config_map {
            write_map(shared, &namespace, &map.name, map.items.as_deref(), map.optional, &own).await?;
        } else if let Some(secret) = &volume.secret {
            let name = secret.secret_name.clone().unwrap_or_default();
            write_secret(shared, &namespace, &name, &own).await?;
        } else if volume.empty_dir.is_none() {
            bail!("the node simulator has no volumes such as {}", volume.name);
        }
        Ok(own)
    }

    async fn project(
        &mut self,
        shared: &Shared,
        pod: &Pod,
        source: &VolumeProjection,
        own: &Path,
    ) -> Result<()> {
        let namespace = pod.namespace().unwrap_or_default();
        if let Some(projection) = &source.service_account_token {
            let ServiceAccountTokenProjection { audience, expiration_seconds, path } = projection;
            let token = Token {
                file: own.join(path),
                audience: audience.clone(),
                seconds: expiration_seconds.unwrap_or(TOKEN_SECONDS),
            };
            token.write(shared, pod).await?;
            self.tokens.push(token);
        }
        if let Some(map) = &source.config_map {
            write_map(shared, &namespace, &map.name, map.items.as_deref(), map.optional, own).await?;
        }
        if let Some(secret) = &source.secret {
            write_secret(shared, &namespace, &secret.name, own).await?;
        }
        for item in source.downward_api.iter().flat_map(|source| source.items.iter().flatten()) {
            let text = item.field_ref.as_ref().and_then(|field| field_of(pod, field)).unwrap_or_default();
            write(&own.join(&item.path), text.as_bytes())?;
        }
        Ok(())
    }
}

impl Token {
    /// A new one, in one step, as the kubelet does.
    pub(super) async fn write(&self, shared: &Shared, pod: &Pod) -> Result<()> {
        let namespace = pod.namespace().unwrap_or_default();
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
        let spec = TokenRequestSpec {
            audiences: self.audience.iter().cloned().collect(),
            expiration_seconds: Some(self.seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(pod.name_any()),
                uid: pod.uid(),
            }),
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(shared.client(), &namespace);
        let answer = accounts
            .create_token_request(account.unwrap_or("default"), &PostParams::default(), &request)
            .await
            .context("failed to get the pod's token")?;
        let token = answer.status.context("the API server gave no token")?.token;
        write(&self.file, token.as_bytes())
    }
}

/// What the kubelet keeps of a pod.
pub(super) fn directory_of(shared: &Shared, pod: &Pod) -> PathBuf {
    shared.directory().join("pods").join(pod.uid().unwrap_or_default())
}

/// What a pod may be told about itself.
pub(super) fn field_of(pod: &Pod, field: &ObjectFieldSelector) -> Option<String> {
    match field.field_path.as_str() {
        "metadata.name" => Some(pod.name_any()),
        "metadata.namespace" => pod.namespace(),
        "metadata.uid" => pod.uid(),
        "spec.nodeName" => pod.spec.as_ref()?.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.as_ref()?.service_account_name.clone(),
        "status.podIP" | "status.hostIP" => Some("127.0.0.1".to_owned()),
        _ => None,
    }
}

/// Where the claim's volume is: see `storage`.
async fn claimed(shared: &Shared, namespace: &str, claim: &str) -> Result<PathBuf> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(shared.client(), namespace);
    let found = claims.get(claim).await.with_context(|| format!("failed to read the claim {claim}"))?;
    let volume = found.spec.and_then(|spec| spec.volume_name);
    let volume = volume.with_context(|| format!("the claim {claim} has no volume yet"))?;
    let volumes: Api<PersistentVolume> = Api::all(shared.client());
    let found = volumes.get(&volume).await.with_context(|| format!("failed to read the volume {volume}"))?;
    let path = found.spec.and_then(|spec| spec.host_path).map(|source| PathBuf::from(source.path));
    let path = path.with_context(|| format!("the volume {volume} is not of this simulator"))?;
    std::fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
    Ok(path)
}

async fn write_map(
    shared: &Shared,
    namespace: &str,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
    own: &Path,
) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(shared.client(), namespace);
    let Some(map) = maps.get_opt(name).await? else {
        if optional == Some(true) {
            return Ok(());
        }
        bail!("configmap \"{name}\" not found");
    };
    let paths: BTreeMap<&str, &str> =
        items.unwrap_or_default().iter().map(|item| (item.key.as_str(), item.path.as_str())).collect();
    for (key, text) in map.data.iter().flatten() {
        if items.is_none() || paths.contains_key(key.as_str()) {
            write(&own.join(paths.get(key.as_str()).unwrap_or(&key.as_str())), text.as_bytes())?;
        }
    }
    Ok(())
}

async fn write_secret(shared: &Shared, namespace: &str, name: &str, own: &Path) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(shared.client(), namespace);
    let secret = secrets.get_opt(name).await?.with_context(|| format!("secret \"{name}\" not found"))?;
    for (key, bytes) in secret.data.iter().flatten() {
        write(&own.join(key), &bytes.0)?;
    }
    Ok(())
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let directory = file.parent().context("a file has a directory")?;
    std::fs::create_dir_all(directory)?;
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    std::io::Write::write_all(&mut new, bytes)?;
    new.persist(file).with_context(|| format!("failed to write {}", file.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_container_become_paths_here() {
        let paths = [("/workspace", "/pv/1"), ("/tmp", "/pods/1/tmp")];
        let mounts = Mounts {
            paths: paths.map(|(path, here)| (path.to_owned(), PathBuf::from(here))).into(),
            tokens: Vec::new(),
        };
        for (text, expected) in [
            ("/workspace", "/pv/1"),
            ("--workspace=/workspace/a", "--workspace=/pv/1/a"),
            ("/workspaces", "/workspaces"),
            ("/var/tmp", "/var/tmp"),
            ("/tmp:/workspace", "/pods/1/tmp:/pv/1"),
            ("http://hub/workspace", "http://hub/workspace"),
        ] {
            assert_eq!(mounts.translate(text), expected, "{text}");
        }
    }
}

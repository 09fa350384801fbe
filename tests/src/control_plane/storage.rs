//! The provisioner of volumes, played: each claim gets a directory. Binding itself is done by the real controllers and
//! the real scheduler.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{
    Event, EventSource, HostPathVolumeSource, ObjectReference, PersistentVolume, PersistentVolumeClaim,
    PersistentVolumeSpec,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::task::JoinSet;

use crate::control_plane::ControlPlane;
use crate::deadline::eventually;

/// The default class: a volume is made when a pod is there that wants it.
pub const STANDARD: &str = "standard";
/// A volume is made at once.
pub const IMMEDIATE: &str = "immediate";
/// As `immediate`, and a volume cannot grow.
pub const FIXED: &str = "fixed";

const PROVISIONER: &str = "gadget.test/directory";
const WANTED_BY: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const RETRY: Duration = Duration::from_millis(50);

/// Runs until it is dropped.
#[derive(Debug)]
pub struct Storage {
    inner: Arc<Inner>,
    _tasks: JoinSet<()>,
}

struct Inner {
    client: Client,
    directory: PathBuf,
    /// Why no volume is made at the moment. A lock because a test writes while tasks read; held for one look.
    refusal: Mutex<Option<String>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Storage {
    /// Makes the three storage classes and begins to serve them.
    pub async fn start(control_plane: &ControlPlane) -> Result<Self> {
        let client = control_plane.client_named("gadget-test-provisioner").await?;
        let classes: Api<StorageClass> = Api::all(client.clone());
        for (name, binding, grows) in [
            (STANDARD, "WaitForFirstConsumer", true),
            (IMMEDIATE, "Immediate", true),
            (FIXED, "Immediate", false),
        ] {
            classes.create(&PostParams::default(), &class(name, binding, grows)).await?;
        }
        let directory = control_plane.directory().join("volumes");
        let inner = Arc::new(Inner { client, directory, refusal: Mutex::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(claims(inner.clone()));
        tasks.spawn(volumes(inner.clone()));
        Ok(Self { inner, _tasks: tasks })
    }

    /// No volume is made from now on, and claims have an event `ProvisioningFailed` with these words.
    pub fn refuse(&self, message: &str) {
        self.set_refusal(Some(message.to_owned()));
    }

    /// Volumes are made again, those for waiting claims too.
    pub async fn serve(&self) -> Result<()> {
        self.set_refusal(None);
        let all: Api<PersistentVolumeClaim> = Api::all(self.inner.client.clone());
        for claim in all.list(&kube::api::ListParams::default()).await? {
            self.inner.on_claim(&claim).await?;
        }
        Ok(())
    }

    /// Where a claim's files are.
    pub async fn directory(&self, namespace: &str, claim: &str) -> Result<PathBuf> {
        let volume = self.volume_of(namespace, claim).await?;
        Ok(self.inner.directory.join(volume))
    }

    /// The disk of a claim is gone for good, its files too; the real controller then calls the claim `Lost`.
    pub async fn lose(&self, namespace: &str, claim: &str) -> Result<()> {
        let volume = self.volume_of(namespace, claim).await?;
        let volumes: Api<PersistentVolume> = Api::all(self.inner.client.clone());
        volumes.delete(&volume, &DeleteParams::default()).await?;
        let unprotected = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        volumes.patch(&volume, &PatchParams::default(), &unprotected).await?;
        remove(&self.inner.directory.join(volume))
    }

    fn set_refusal(&self, refusal: Option<String>) {
        *self.inner.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    async fn volume_of(&self, namespace: &str, claim: &str) -> Result<String> {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.inner.client.clone(), namespace);
        eventually(&format!("a volume for {claim}"), || async {
            let found = claims.get_opt(claim).await?;
            Ok(found.and_then(|claim| claim.spec).and_then(|spec| spec.volume_name))
        })
        .await
    }
}

impl Inner {
    async fn on_claim(&self, claim: &PersistentVolumeClaim) -> Result<()> {
        let spec = claim.spec.clone().unwrap_or_default();
        let annotations = claim.annotations();
        let ours = WANTED_BY.iter().any(|key| annotations.get(*key).is_some_and(|name| name == PROVISIONER));
        if !ours || claim.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        if spec.volume_name.is_some() {
            return self.grow(claim).await;
        }
        let class = spec.storage_class_name.clone().unwrap_or_default();
        if class == STANDARD && !annotations.contains_key(SELECTED_NODE) {
            return Ok(());
        }
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(refusal) = refusal {
            let words = format!("failed to provision volume with StorageClass \"{class}\": {refusal}");
            return self.event(claim, "ProvisioningFailed", &words).await;
        }
        let name = format!("pvc-{}", claim.uid().unwrap_or_default());
        let directory = self.directory.join(&name);
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to make {}", directory.display()))?;
        let volume = volume(&name, &directory, claim, &spec);
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        match volumes.create(&PostParams::default(), &volume).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            other => other.map(drop).context("failed to make a volume"),
        }
    }

    /// What a driver with online expansion does.
    async fn grow(&self, claim: &PersistentVolumeClaim) -> Result<()> {
        let (Some(spec), Some(status)) = (&claim.spec, &claim.status) else { return Ok(()) };
        let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let wanted = requests.and_then(|requests| requests.get("storage"));
        let has = status.capacity.as_ref().and_then(|capacity| capacity.get("storage"));
        let (Some(wanted), Some(has), Some(volume)) = (wanted, has, &spec.volume_name) else { return Ok(()) };
        if wanted == has || spec.storage_class_name.as_deref() == Some(FIXED) {
            return Ok(());
        }
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({ "spec": { "capacity": { "storage": wanted } } }));
        volumes.patch(volume, &PatchParams::default(), &patch).await.context("failed to grow a volume")?;
        let namespace = claim.namespace().unwrap_or_default();
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        let patch = Patch::Merge(json!({ "status": { "capacity": { "storage": wanted } } }));
        let done = claims.patch_status(&claim.name_any(), &PatchParams::default(), &patch).await;
        done.map(drop).context("failed to tell a claim of its size")
    }

    async fn on_volume(&self, volume: &PersistentVolume) -> Result<()> {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
        let ours =
            volume.annotations().get("pv.kubernetes.io/provisioned-by").is_some_and(|by| by == PROVISIONER);
        if ours && phase == Some("Released") && policy == Some("Delete") {
            let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
            let name = volume.name_any();
            match volumes.delete(&name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => drop(other.context("failed to delete a volume")?),
            }
            remove(&self.directory.join(name))?;
        }
        Ok(())
    }

    async fn event(&self, claim: &PersistentVolumeClaim, reason: &str, message: &str) -> Result<()> {
        let namespace = claim.namespace().unwrap_or_default();
        let now = Time(Timestamp::now());
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}.", claim.name_any())),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                name: Some(claim.name_any()),
                namespace: Some(namespace.clone()),
                uid: claim.uid(),
                ..ObjectReference::default()
            },
            type_: Some("Warning".to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            source: Some(EventSource { component: Some(PROVISIONER.to_owned()), host: None }),
            reporting_component: Some(PROVISIONER.to_owned()),
            reporting_instance: Some("test".to_owned()),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            ..Event::default()
        };
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        events.create(&PostParams::default(), &event).await.map(drop).context("failed to make an event")
    }
}

async fn claims(inner: Arc<Inner>) {
    let all: Api<PersistentVolumeClaim> = Api::all(inner.client.clone());
    let mut claims = std::pin::pin!(changes(watcher::watcher(all, watcher::Config::default())));
    while let Some(claim) = claims.next().await {
        persist(|| inner.on_claim(&claim)).await;
    }
}

async fn volumes(inner: Arc<Inner>) {
    let all: Api<PersistentVolume> = Api::all(inner.client.clone());
    let mut volumes = std::pin::pin!(changes(watcher::watcher(all, watcher::Config::default())));
    while let Some(volume) = volumes.next().await {
        persist(|| inner.on_volume(&volume)).await;
    }
}

/// Every change of what is there; a watch that breaks begins anew.
fn changes<K: Send + 'static>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send,
) -> impl Stream<Item = K> + Send {
    events.applied_objects().filter_map(async |object| {
        if object.is_err() {
            tokio::time::sleep(RETRY).await;
        }
        object.ok()
    })
}

/// While the API server is away. What it refuses stays refused: the next change of the object is the next try.
async fn persist<F: Future<Output = Result<()>>>(act: impl Fn() -> F) {
    while let Err(error) = act().await {
        let refused = error.chain().any(|cause| {
            matches!(cause.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code < 429)
        });
        if refused {
            tracing::warn!("the played provisioner was refused: {error:#}");
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn class(name: &str, binding: &str, grows: bool) -> StorageClass {
    let default = ("storageclass.kubernetes.io/is-default-class".to_owned(), (name == STANDARD).to_string());
    StorageClass {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some([default].into()),
            ..ObjectMeta::default()
        },
        provisioner: PROVISIONER.to_owned(),
        reclaim_policy: Some("Delete".to_owned()),
        volume_binding_mode: Some(binding.to_owned()),
        allow_volume_expansion: Some(grows),
        ..StorageClass::default()
    }
}

fn volume(
    name: &str,
    directory: &Path,
    claim: &PersistentVolumeClaim,
    spec: &k8s_openapi::api::core::v1::PersistentVolumeClaimSpec,
) -> PersistentVolume {
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let size = requests.and_then(|requests| requests.get("storage")).cloned();
    let by = ("pv.kubernetes.io/provisioned-by".to_owned(), PROVISIONER.to_owned());
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some([by].into()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes.clone(),
            capacity: Some([("storage".to_owned(), size.unwrap_or(Quantity("1Gi".to_owned())))].into()),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                name: Some(claim.name_any()),
                namespace: claim.namespace(),
                uid: claim.uid(),
                resource_version: claim.resource_version(),
                ..ObjectReference::default()
            }),
            host_path: Some(HostPathVolumeSource { path: directory.display().to_string(), type_: None }),
            persistent_volume_reclaim_policy: Some("Delete".to_owned()),
            storage_class_name: spec.storage_class_name.clone(),
            volume_mode: spec.volume_mode.clone(),
            ..PersistentVolumeSpec::default()
        }),
        ..PersistentVolume::default()
    }
}

fn remove(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

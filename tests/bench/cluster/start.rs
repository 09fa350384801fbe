//! Starts and deletions: a bare pod with a new claim, and a session with its drone, in turns.

use anyhow::{Context as _, Result};
use crds::ChatSession;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, PostParams};
use protocol::value::DronePhase;
use serde::Serialize;
use serde_json::json;
use tests::deadline::eventually;
use tests::release::Release;
use tokio::time::Instant;

use super::sight::{Sight, Step};
use crate::sample::Sample;

/// The stages of a start as its pod shows them, in their order.
pub(super) const STAGES: [&str; 3] = ["API", "schedule", "volume, sandbox and start as the kubelet tells"];

/// What a start is made of, and an end.
pub(super) struct Starts {
    pub(super) stages: [Sample; STAGES.len()],
    /// Until it can be used: the bare pod is ready, the drone is connected.
    pub(super) usable: Sample,
    /// Until the cluster says that it is ready.
    pub(super) ready: Sample,
    pub(super) gone: Sample,
}

impl Starts {
    pub(super) fn new() -> Result<Self> {
        let empty = || Sample::new();
        let stages = [empty()?, empty()?, empty()?];
        Ok(Self { stages, usable: empty()?, ready: empty()?, gone: empty()? })
    }

    fn record(&mut self, began: Instant, stages: &[Instant], usable: Instant, ready: Instant) -> Result<()> {
        let mut before = began;
        for (stage, &at) in self.stages.iter_mut().zip(stages) {
            stage.record(at.saturating_duration_since(before))?;
            before = at;
        }
        self.usable.record(usable - began)?;
        self.ready.record(ready - began)
    }
}

/// Of a pod or a session.
pub(super) fn holds(object: Option<&impl Serialize>, condition: &str) -> bool {
    let object = serde_json::to_value(object).unwrap_or_default();
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|it| it["type"] == condition && it["status"] == "True")
}

fn is_running(pod: Option<&Pod>) -> bool {
    let states = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
    states.into_iter().flatten().any(|one| one.state.as_ref().is_some_and(|state| state.running.is_some()))
}

/// Up to the running container; what is called ready differs.
fn to_running() -> Vec<Step<Pod>> {
    vec![Box::new(|pod| pod.is_some()), Box::new(|pod| holds(pod, "PodScheduled")), Box::new(is_running)]
}

pub(super) fn gone<K>() -> Vec<Step<K>> {
    vec![Box::new(|object| object.is_none())]
}

/// A pod as the operator makes it for a drone, with something in it that does nothing and is ready at once.
pub(super) fn bare(drone: &Pod) -> Result<Pod> {
    let mut spec = drone.spec.clone().context("a pod has a spec")?;
    spec.node_name = None;
    let container = spec.containers.first_mut().context("a pod has a container")?;
    // Ends at SIGTERM, as a drone does.
    let idle = "trap 'exit 0' TERM; sleep 1000000 & wait";
    container.command = Some(["sh", "-c", idle].map(str::to_owned).to_vec());
    container.args = None;
    (container.startup_probe, container.readiness_probe, container.liveness_probe) = (None, None, None);
    container.lifecycle = None;
    Ok(Pod { spec: Some(spec), ..Pod::default() })
}

pub(super) async fn bare_round(
    release: &Release,
    template: &Pod,
    claim: &PersistentVolumeClaim,
    number: usize,
    starts: &mut Starts,
) -> Result<()> {
    let name = format!("bare-{number}");
    let (mut pod, mut new_claim) = (template.clone(), PersistentVolumeClaim::default());
    pod.metadata.name = Some(name.clone());
    let mut spec = claim.spec.clone().context("a claim has a spec")?;
    spec.volume_name = None;
    (new_claim.metadata.name, new_claim.spec) = (Some(name.clone()), Some(spec));
    for volume in pod.spec.iter_mut().flat_map(|spec| spec.volumes.iter_mut().flatten()) {
        if let Some(source) = &mut volume.persistent_volume_claim {
            source.claim_name.clone_from(&name);
        }
    }
    let (pods, claims) = (release.api::<Pod>(), release.api::<PersistentVolumeClaim>());
    let mut steps = to_running();
    steps.push(Box::new(|pod| holds(pod, "Ready")));
    let sight = Sight::of(pods.clone(), &name, steps).await?;
    let began = Instant::now();
    claims.create(&PostParams::default(), &new_claim).await?;
    pods.create(&PostParams::default(), &pod).await?;
    let seen = sight.end().await?;
    let ready = *seen.last().context("a pod has a last stage")?;
    starts.record(began, &seen, ready, ready)?;

    let sight = Sight::of(pods.clone(), &name, gone()).await?;
    let began = Instant::now();
    pods.delete(&name, &DeleteParams::default()).await?;
    starts.gone.record(sight.last().await? - began)?;
    claims.delete(&name, &DeleteParams::default()).await?;
    Ok(())
}

/// When the hub first says so, to some ten milliseconds.
async fn connected(release: &Release, name: &str) -> Result<Instant> {
    eventually("the drone to be connected", || async {
        let drones = release.admin.drones().await?;
        let is_there = drones.iter().any(|drone| {
            drone.id.as_str() == name && matches!(drone.phase, DronePhase::Available | DronePhase::Busy)
        });
        Ok(is_there.then(Instant::now))
    })
    .await
}

pub(super) async fn session_round(release: &Release, number: usize, starts: &mut Starts) -> Result<()> {
    let name = format!("made-{number}");
    let sessions = release.api::<ChatSession>();
    let session: ChatSession = serde_json::from_value(json!({
        "apiVersion": "gadgetcode.dev/v1alpha1",
        "kind": "ChatSession",
        "metadata": { "name": name },
        "spec": { "user": "admin", "project": { "slug": name }, "workspace": { "retention": "Delete" } },
    }))?;
    let pod = Sight::of(release.api::<Pod>(), &name, to_running()).await?;
    let ready = Sight::of(sessions.clone(), &name, vec![Box::new(|session| holds(session, "Ready"))]).await?;
    let began = Instant::now();
    sessions.create(&PostParams::default(), &session).await?;
    let connected = connected(release, &name).await?;
    starts.record(began, &pod.end().await?, connected, ready.last().await?)?;

    let pod = Sight::of(release.api::<Pod>(), &name, gone()).await?;
    let whole = Sight::of(sessions.clone(), &name, gone()).await?;
    let began = Instant::now();
    sessions.delete(&session.name_any(), &DeleteParams::default()).await?;
    starts.gone.record(pod.last().await? - began)?;
    whole.last().await.map(drop)
}

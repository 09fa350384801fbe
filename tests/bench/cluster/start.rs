//! Starts and deletions: a bare pod with a new claim, and a session with its drone, in turns.

use anyhow::{Context as _, Result};
use crds::ChatSession;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use tests::release::Release;
use tokio::time::Instant;

use super::sight::{Sight, Step};
use crate::sample::Sample;

/// The stages of a start, in their order; the last one is the whole.
pub(super) const STAGES: [&str; 6] = ["API", "schedule", "volume and sandbox", "start", "connect", "all"];

/// What a start is made of, and an end.
pub(super) struct Starts {
    pub(super) stages: [Sample; STAGES.len()],
    pub(super) gone: Sample,
}

impl Starts {
    pub(super) fn new() -> Result<Self> {
        let empty = || Sample::new();
        Ok(Self { stages: [empty()?, empty()?, empty()?, empty()?, empty()?, empty()?], gone: empty()? })
    }

    pub(super) fn whole(&self) -> &Sample {
        &self.stages[STAGES.len() - 1]
    }

    fn record(&mut self, began: Instant, seen: &[Instant]) -> Result<()> {
        let [parts @ .., whole] = &mut self.stages;
        let mut before = began;
        for (part, &at) in parts.iter_mut().zip(seen) {
            part.record(at.saturating_duration_since(before))?;
            before = before.max(at);
        }
        whole.record(before - began)
    }
}

fn condition(pod: Option<&Pod>, name: &str) -> bool {
    let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref());
    conditions.into_iter().flatten().any(|it| it.type_ == name && it.status == "True")
}

fn is_running(pod: Option<&Pod>) -> bool {
    let states = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
    states.into_iter().flatten().any(|one| one.state.as_ref().is_some_and(|state| state.running.is_some()))
}

/// Up to the running container; what is called ready differs.
fn to_running() -> Vec<Step<Pod>> {
    vec![
        Box::new(|pod| pod.is_some()),
        Box::new(|pod| condition(pod, "PodScheduled")),
        Box::new(|pod| condition(pod, "PodReadyToStartContainers")),
        Box::new(is_running),
    ]
}

pub(super) fn is_ready(session: Option<&ChatSession>) -> bool {
    let conditions = session.and_then(|session| session.status.as_ref()).map(|status| &status.conditions);
    conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
}

pub(super) fn gone<K>() -> Vec<Step<K>> {
    vec![Box::new(|object| object.is_none())]
}

/// A pod as the operator makes it for a drone, with something in it that does nothing and is ready at once.
pub(super) fn bare(drone: &Pod) -> Result<Pod> {
    let mut spec = drone.spec.clone().context("a pod has a spec")?;
    spec.node_name = None;
    let container = spec.containers.first_mut().context("a pod has a container")?;
    container.command = Some(vec!["sleep".into(), "1000000".into()]);
    container.args = None;
    (container.startup_probe, container.readiness_probe, container.liveness_probe) = (None, None, None);
    container.lifecycle = None;
    // A sleeping process does not hear of SIGTERM.
    spec.termination_grace_period_seconds = Some(0);
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
    steps.push(Box::new(|pod| condition(pod, "Ready")));
    let sight = Sight::of(pods.clone(), &name, steps).await?;
    let began = Instant::now();
    claims.create(&PostParams::default(), &new_claim).await?;
    pods.create(&PostParams::default(), &pod).await?;
    starts.record(began, &sight.end().await?)?;

    let sight = Sight::of(pods.clone(), &name, gone()).await?;
    let began = Instant::now();
    pods.delete(&name, &DeleteParams::default()).await?;
    starts.gone.record(sight.last().await? - began)?;
    claims.delete(&name, &DeleteParams::default()).await?;
    Ok(())
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
    let ready = Sight::of(sessions.clone(), &name, vec![Box::new(is_ready)]).await?;
    let began = Instant::now();
    sessions.create(&PostParams::default(), &session).await?;
    let mut seen = pod.end().await?;
    seen.push(ready.last().await?);
    starts.record(began, &seen)?;

    let pod = Sight::of(release.api::<Pod>(), &name, gone()).await?;
    let whole = Sight::of(sessions.clone(), &name, gone()).await?;
    let began = Instant::now();
    sessions.delete(&session.name_any(), &DeleteParams::default()).await?;
    starts.gone.record(pod.last().await? - began)?;
    whole.last().await.map(drop)
}

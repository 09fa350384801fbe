//! More and more sessions: what they weigh in the controller, what one more look at one of them costs, and how soon a
//! pod that was deleted is there again.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use tests::control_plane::audit::Entry;
use tests::random::Random;
use tokio::time::Instant;

use super::load;
use super::peer::Election;
use super::stage::{Column, Stage};
use super::write::Kind;
use super::{Sizes, say};
use crate::process;
use crate::sample::Sample;

/// After which a controller is taken to be at rest.
const QUIET: Duration = Duration::from_secs(2);
/// The cheapest of so many: what others do to the machine makes it dearer, never cheaper.
const BATCHES: u32 = 3;
/// After which a deleted pod is taken to be forgotten.
const PATIENCE: Duration = Duration::from_secs(30);
const TOUCHES_IN_FLIGHT: usize = 8;

pub(super) struct Scale {
    pub(super) steps: Vec<Step>,
    pub(super) replacement: Replacement,
}

/// Of pods that were deleted.
pub(super) struct Replacement {
    /// From the end of a deletion to the request for the next pod of that name.
    pub(super) times: Sample,
    /// Pods that were not asked for again.
    pub(super) never: u64,
}

pub(super) struct Step {
    pub(super) sessions: usize,
    pub(super) resident: u64,
    /// Processor time of the controller for each change of a session that means nothing to it: with the fewest sessions
    /// and with the most.
    pub(super) touch: Option<Duration>,
}

pub(super) async fn run(column: Column, sizes: &Sizes, random: &mut Random) -> Result<Scale> {
    let stage = Stage::start(column, Election::Off).await?;
    let mut steps = Vec::new();
    let mut replacement = Replacement { times: Sample::new()?, never: 0 };
    let mut there = 0;
    for (number, sessions) in sizes.scale.into_iter().enumerate() {
        load::closed(&stage, "s", there..sessions).await?;
        there = sessions;
        tokio::time::sleep(QUIET).await;
        let resident = process::resident(stage.controller_pid()?)?;
        let is_between = number == 1;
        let mut touch = None;
        for batch in 0..if is_between { 0 } else { BATCHES } {
            let cost = touches(&stage, sessions, sizes.touches, batch).await?;
            touch = Some(touch.map_or(cost, |least: Duration| least.min(cost)));
        }
        say(&format!("{} with {sessions} sessions: {} KiB, {touch:?}", stage.column.name(), resident / 1024));
        steps.push(Step { sessions, resident, touch });
        if is_between {
            let pods = sizes.replaced.min(sessions);
            replace(&stage, pods, random, &mut replacement).await.with_context(|| stage.complaints())?;
        }
    }
    Ok(Scale { steps, replacement })
}

/// What a change of a session costs the controller that looks at it and finds nothing to do.
async fn touches(stage: &Stage, sessions: usize, touches: u32, batch: u32) -> Result<Duration> {
    let before = process::exact_cpu_time(stage.controller_pid()?)?;
    stream::iter(0..touches)
        .map(|touch| async move {
            let name = format!("s-{}", usize::try_from(touch)? % sessions);
            let mark = json!({ "metadata": { "annotations": { "bench": format!("{batch}-{touch}") } } });
            stage.writer.patch(stage.column.kind(), &name, &mark).await
        })
        .buffer_unordered(TOUCHES_IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    tokio::time::sleep(QUIET).await;
    Ok(process::exact_cpu_time(stage.controller_pid()?)?.saturating_sub(before) / touches)
}

/// Pods deleted at random moments.
async fn replace(
    stage: &Stage,
    pods: usize,
    random: &mut Random,
    replacement: &mut Replacement,
) -> Result<()> {
    let since = stage.position().await?;
    let deletions = load::arrivals(pods, random).into_iter().enumerate().map(|(number, at)| async move {
        tokio::time::sleep_until(at).await;
        let name = format!("s-{number}");
        let gone = stage.pod_gone(&name);
        stage.writer.delete(Kind::Pod, &name).await?;
        gone.end().await
    });
    stream::iter(deletions).buffer_unordered(pods).try_collect::<Vec<_>>().await?;
    // A slow controller is waited for; one that forgets a pod is found out.
    let end = Instant::now() + PATIENCE;
    let (deleted, made) = loop {
        let (deleted, made) = deleted_and_made(&stage.audit_since(since).await?);
        if deleted.keys().all(|name| made.contains_key(name)) || Instant::now() > end {
            break (deleted, made);
        }
        tokio::time::sleep(QUIET).await;
    };
    for (name, at) in deleted {
        match made.get(&name) {
            // The watch may tell of a deletion before it is answered.
            Some(made) => {
                let time = Duration::try_from(made.duration_since(at)).unwrap_or_default();
                replacement.times.record(time)?;
            }
            None => replacement.never += 1,
        }
    }
    Ok(())
}

/// When each pod's deletion was answered, and when the next one of its name was asked for. In any order: an answer may
/// be written down after what came of it.
fn deleted_and_made(entries: &[Entry]) -> (HashMap<String, Timestamp>, HashMap<String, Timestamp>) {
    let (mut deleted, mut made) = (HashMap::new(), HashMap::new());
    for entry in entries.iter().filter(|entry| entry.resource == "pods" && entry.code < 300) {
        match &*entry.verb {
            "delete" => drop(deleted.insert(entry.name.clone(), entry.answered)),
            "create" => drop(made.insert(entry.name.clone(), entry.received)),
            _ => {}
        }
    }
    (deleted, made)
}

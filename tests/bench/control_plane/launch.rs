//! Starts: how soon, how many in a second, and what each costs; then what a suspend and a deletion cost.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use serde_json::json;
use tests::control_plane::audit::{Entry, reads, refused, writes};
use tests::random::Random;

use super::load;
use super::peer::Election;
use super::stage::{Column, Stage};
use super::template::Templates;
use super::write::{Kind, Writer};
use super::{Sizes, template};
use crate::process;
use crate::sample::{Sample, as_f64};

/// Sessions for the counts of a suspend and of a deletion.
const LIVES: usize = 20;
/// In which late writes come.
const QUIET: Duration = Duration::from_secs(2);

/// All rounds of one column.
pub(super) struct Launches {
    pub(super) latency: Sample,
    pub(super) sessions: u64,
    pub(super) busy: Duration,
    /// Of API server and etcd, of the controller and of the bench itself, while it is busy.
    pub(super) servers: Duration,
    pub(super) controller: Duration,
    pub(super) bench: Duration,
    pub(super) writes: Writes,
}

/// By the controller, events and leases apart.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Writes {
    pub(super) launches: u64,
    pub(super) cold: u64,
    pub(super) reads: u64,
    /// Writes of cold starts that the API server refused: work for nothing.
    pub(super) refused: u64,
    pub(super) lives: u64,
    pub(super) suspend: u64,
    pub(super) delete: u64,
}

impl Launches {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            latency: Sample::new()?,
            sessions: 0,
            busy: Duration::ZERO,
            servers: Duration::ZERO,
            controller: Duration::ZERO,
            bench: Duration::ZERO,
            writes: Writes::default(),
        })
    }

    pub(super) fn per_second(&self) -> f64 {
        as_f64(self.sessions) / self.busy.as_secs_f64()
    }

    /// Milliseconds for each session of the closed loop.
    pub(super) fn each(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e3 / as_f64(self.sessions)
    }
}

/// What an operator makes, for the columns that make the same without one.
pub(super) async fn templates() -> Result<Templates> {
    let stage = Stage::start(Column::Gadget, Election::Off).await?;
    stage.launch(template::PROBE).await?;
    Templates::read(&stage.writer).await
}

/// One round on a fresh control plane.
pub(super) async fn round(
    column: Column,
    sizes: &Sizes,
    random: &mut Random,
    launches: &mut Launches,
) -> Result<()> {
    let stage = Stage::start(column, Election::Off).await?;
    load::closed(&stage, "warm", 0..sizes.warm).await?;

    let since = stage.position().await?;
    load::open(&stage, "open", sizes.open, random, &mut launches.latency).await?;
    tokio::time::sleep(QUIET).await;
    let entries = stage.audit_since(since).await?;
    let agent = stage.column.user_agent();
    launches.writes.launches += u64::try_from(sizes.open)?;
    launches.writes.cold += count(&entries, &stage)?;
    launches.writes.reads += u64::try_from(reads(&entries, agent))?;
    launches.writes.refused += u64::try_from(refused(&entries, agent))?;

    let before = [stage.servers_cpu()?, controller(&stage)?, process::cpu_time(std::process::id())?];
    launches.busy += load::closed(&stage, "closed", 0..sizes.closed).await?;
    launches.sessions += u64::try_from(sizes.closed)?;
    let [servers, controller_before, bench] = before;
    launches.servers += stage.servers_cpu()?.saturating_sub(servers);
    launches.controller += controller(&stage)?.saturating_sub(controller_before);
    launches.bench += process::cpu_time(std::process::id())?.saturating_sub(bench);

    if !stage.controllers.is_empty() {
        lives(&stage, &mut launches.writes).await.with_context(|| stage.complaints())?;
    }
    Ok(())
}

/// Sessions that are suspended, and then deleted.
async fn lives(stage: &Stage, counts: &mut Writes) -> Result<()> {
    let names: Vec<String> = (0..LIVES).map(|number| format!("open-{number}")).collect();
    tokio::time::sleep(QUIET).await;
    let since = stage.position().await?;
    let suspended = json!({ "spec": { "operatingMode": "Suspended" } });
    suspend(stage, &names, &suspended).await?;
    tokio::time::sleep(QUIET).await;
    counts.suspend += count(&stage.audit_since(since).await?, stage)?;

    let names: Vec<String> = (0..LIVES).map(|number| format!("closed-{number}")).collect();
    let since = stage.position().await?;
    let ends = names.iter().map(|name| async move {
        let gone = stage.pod_gone(name);
        stage.writer.delete(stage.column.kind(), name).await?;
        gone.end().await
    });
    try_join_all(ends).await?;
    tokio::time::sleep(QUIET).await;
    counts.delete += count(&stage.audit_since(since).await?, stage)?;
    counts.lives += u64::try_from(LIVES)?;
    Ok(())
}

async fn suspend(stage: &Stage, names: &[String], patch: &serde_json::Value) -> Result<()> {
    let writer: &Writer = &stage.writer;
    let kind: Kind = stage.column.kind();
    let suspends = names.iter().map(|name| async move {
        let gone = stage.pod_gone(name);
        writer.patch(kind, name, patch).await?;
        gone.end().await
    });
    try_join_all(suspends).await.map(drop)
}

fn count(entries: &[Entry], stage: &Stage) -> Result<u64> {
    Ok(u64::try_from(writes(entries, stage.column.user_agent()).values().sum::<usize>())?)
}

/// Processor time of the controller so far. The floor's is the bench's own.
fn controller(stage: &Stage) -> Result<Duration> {
    if stage.controllers.is_empty() { Ok(Duration::ZERO) } else { process::cpu_time(stage.controller_pid()?) }
}

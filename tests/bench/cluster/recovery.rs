//! Turns that are disturbed in the middle, and how soon they go on.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use protocol::ids::TurnId;
use protocol::value::ChatTurnStatus;
use tests::deadline::eventually;
use tests::ide::Ide;
use tests::release::Release;
use tokio::time::Instant;

use super::sight::Sight;
use super::start::gone;
use crate::sample::Sample;

/// So many events of the tour, and it is in the middle of its work.
const MIDDLE: usize = 12;

const TOUR: &str = "Start the tour.";

/// A session that one tab has open, made for this and ready.
pub(super) struct Work<'a> {
    release: &'a Release,
    name: String,
    ide: Ide,
}

impl<'a> Work<'a> {
    pub(super) async fn on(release: &'a Release, name: &str) -> Result<Self> {
        release.apply(name).await?;
        let (ide, _document) = release.open(name).await?;
        Ok(Self { release, name: name.to_owned(), ide })
    }

    async fn to_the_middle(&self) -> Result<TurnId> {
        // The tour mends a bug: it is brought back for the next one.
        let again = format!("cd /workspace/{} && git checkout --quiet . 2>/dev/null || true", self.name);
        self.release.in_pod(&self.name, &again).await?;
        let turn = self.ide.prompt(TOUR).await?;
        self.ide.shown(&turn, MIDDLE).await?;
        ensure!(self.ide.status(&turn).is_none(), "the turn is over before it is disturbed");
        Ok(turn)
    }

    /// When the turn's first event after `moment` was made.
    async fn goes_on(&self, turn: &TurnId, moment: Timestamp) -> Result<Timestamp> {
        eventually("the turn to go on", || async {
            Ok(self.ide.times(turn).into_iter().find(|at| *at > moment))
        })
        .await
    }

    async fn to_the_end(&self, turn: &TurnId) -> Result<()> {
        let status = self.ide.finished(turn).await?;
        ensure!(status == ChatTurnStatus::Finished, "the turn ended as {status:?}");
        let order = self.ide.order();
        ensure!(order.gaps.is_empty() && order.rewound.is_empty(), "{order:?}");
        Ok(())
    }

    /// The drone's process is killed; its pod stays.
    pub(super) async fn process_killed(&self, sample: &mut Sample) -> Result<()> {
        let turn = self.to_the_middle().await?;
        let killed = self.release.kill_drone(&self.name).await?;
        let killed: i128 = killed.trim().parse().with_context(|| format!("killed: {killed:?}"))?;
        let killed = Timestamp::from_nanosecond(killed)?;
        let on = self.goes_on(&turn, killed).await?;
        sample.record(Duration::try_from(on.duration_since(killed))?)?;
        self.to_the_end(&turn).await
    }

    /// The pod is deleted. How long it took to go, and how long after that the turn went on.
    pub(super) async fn pod_deleted(&self, deletion: &mut Sample, rest: &mut Sample) -> Result<()> {
        let turn = self.to_the_middle().await?;
        let pods = self.release.api::<Pod>();
        let sight = Sight::of(pods.clone(), &self.name, gone()).await?;
        let began = Instant::now();
        pods.delete(&self.name, &DeleteParams::default()).await?;
        let went = sight.last().await?;
        let moment = Timestamp::now();
        deletion.record(went - began)?;
        let on = self.goes_on(&turn, moment).await?;
        rest.record(Duration::try_from(on.duration_since(moment))?)?;
        self.to_the_end(&turn).await
    }

    /// Asleep for want of work, with its pod gone; a prompt wakes it. From the prompt to the first that is heard of its turn.
    pub(super) async fn woken(&self, sample: &mut Sample) -> Result<()> {
        let sight = Sight::of(self.release.api::<Pod>(), &self.name, gone()).await?;
        self.release.sleeps_after(&self.name, "1s").await?;
        sight.last().await?;
        self.release.asleep(&self.name).await?;
        self.release.sleeps_after(&self.name, "1h").await?;
        // The hub hears of both a moment later.
        let (began, turn) = eventually("the prompt to be taken", || async {
            let began = Instant::now();
            Ok(self.ide.prompt("list files").await.ok().map(|turn| (began, turn)))
        })
        .await?;
        self.ide.shown(&turn, 1).await?;
        sample.record(began.elapsed())?;
        self.to_the_end(&turn).await
    }
}

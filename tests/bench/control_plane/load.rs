//! Sessions that come: at random moments whether or not the earlier ones are ready, or as soon as an earlier one is.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tests::random::Random;
use tokio::time::Instant;

use super::stage::Stage;
use crate::sample::Sample;

/// Sessions per second, on average.
const RATE: f64 = 20.0;
pub(super) const IN_FLIGHT: usize = 24;

/// Open loop: each latency counts from the moment at which the session was to come.
pub(super) async fn open(
    stage: &Stage,
    prefix: &str,
    sessions: usize,
    random: &mut Random,
    sample: &mut Sample,
) -> Result<()> {
    let arrivals = arrivals(sessions, random);
    let launches = arrivals.into_iter().enumerate().map(|(number, at)| async move {
        tokio::time::sleep_until(at).await;
        let ready = stage.launch(&format!("{prefix}-{number}")).await?;
        anyhow::Ok(ready.duration_since(at))
    });
    let times: Vec<Duration> = stream::iter(launches)
        .buffer_unordered(sessions)
        .try_collect()
        .await
        .with_context(|| stage.complaints())?;
    times.into_iter().try_for_each(|time| sample.record(time))
}

/// Poisson: the gaps are exponential.
pub(super) fn arrivals(count: usize, random: &mut Random) -> Vec<Instant> {
    let mut at = Instant::now();
    let mut arrivals = Vec::new();
    for _ in 0..count {
        // Above 0 and at most 1.
        let even = f64::from(u32::try_from(random.below(1 << 31)).unwrap_or(0) + 1) / f64::from(1_u32 << 31);
        at += Duration::from_secs_f64(-even.ln() / RATE);
        arrivals.push(at);
    }
    arrivals
}

/// Closed loop: how long all of them take.
pub(super) async fn closed(
    stage: &Stage,
    prefix: &str,
    sessions: std::ops::Range<usize>,
) -> Result<Duration> {
    let began = Instant::now();
    stream::iter(sessions)
        .map(|number| async move { stage.launch(&format!("{prefix}-{number}")).await.map(drop) })
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await
        .with_context(|| stage.complaints())?;
    Ok(began.elapsed())
}

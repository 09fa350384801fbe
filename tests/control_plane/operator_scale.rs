//! Many sessions: what a start costs, what memory they take, and that rest is rest.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crds::ChatSession;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::ListParams;
use nix::sys::signal::Signal;
use serde_json::json;
use tests::control_plane::process::Process;
use tokio::time::Instant;

use crate::operator_stage::Stage;

/// `GADGET_SCALE_SESSIONS` says otherwise; the figure that counts is that for 3000. Those take minutes, most of it not ours:
/// the real controller binds one volume after another, with three writes each, far below its limit of requests.
const SESSIONS: usize = 300;
const PATIENCE: Duration = Duration::from_mins(10);

#[tokio::test]
async fn many_sessions_are_started_and_a_new_operator_writes_nothing_about_them() -> Result<()> {
    let sessions = match std::env::var("GADGET_SCALE_SESSIONS") {
        Ok(sessions) => sessions.parse().context("GADGET_SCALE_SESSIONS is no number")?,
        Err(_) => SESSIONS,
    };
    let mut stage = Stage::with_operator().await?;
    println!("memory of an operator with nothing to do: {} KiB", memory(&stage.operators[0])?);
    let began = Instant::now();
    stream::iter(0..sessions)
        .map(|number| {
            let stage = &stage;
            async move { stage.session(&format!("s{number}"), json!({})).await }
        })
        .buffer_unordered(24)
        .try_collect::<()>()
        .await?;
    println!("{sessions} sessions made after {:?}", began.elapsed());
    ready(&stage).await?;
    println!("all ready after {:?}", began.elapsed());
    assert_eq!(stage.counts().await?, (sessions, sessions, sessions));
    println!("memory with {sessions} sessions: {} KiB", memory(&stage.operators[0])?);

    stage.stays_quiet(Duration::from_secs(5)).await?;
    let since = stage.position().await?;
    stage.signal(0, Signal::SIGTERM)?;
    stage.operators[0].wait().await?;
    let began = Instant::now();
    stage.operator("operator-2", None)?;
    tests::deadline::eventually("the new leader", || async {
        Ok(stage.operators[1].output()?.contains("leads").then_some(()))
    })
    .await?;
    // One more session is served at once, with all the others waiting to be looked at.
    stage.session("one-more", json!({})).await?;
    stage.reaches("one-more", "Ready").await?;
    println!("a session is ready {:?} after the start of a new operator", began.elapsed());
    stage.stays_quiet(Duration::from_secs(10)).await?;
    let writes: usize = stage.writes_since(since).await?.values().sum();
    assert!(writes <= 7, "one launch was all there was to do: {writes} writes");
    let kibibytes = memory(&stage.operators[1])?;
    println!("memory of the new operator: {kibibytes} KiB");
    ensure!(kibibytes <= (20 + 8 * sessions / 1000) * 1024, "{kibibytes} KiB");
    Ok(())
}

async fn ready(stage: &Stage) -> Result<()> {
    let sessions = stage.api::<ChatSession>();
    let not_ready = ListParams::default().fields("status.phase!=Ready");
    let all = async {
        loop {
            if sessions.list_metadata(&not_ready).await?.items.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.with_context(|| stage.complaints())?
}

/// Resident, in KiB, without the program's own file: that is large when it is built for tests.
fn memory(operator: &Process) -> Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", operator.pid()?))?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).context("no RssAnon")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}

//! Two operators: one leads, the other is warm.

use std::time::Duration;

use anyhow::Result;
use crds::ChatSession;
use k8s_openapi::api::core::v1::Pod;
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::operator_stage::Stage;

async fn two() -> Result<Stage> {
    let mut stage = Stage::with_operator().await?;
    stage.operator("operator-2", None)?;
    stage.session("one", json!({})).await?;
    stage.reaches("one", "Ready").await?;
    // Until the standby is there: it writes nothing, and its log says that it listens.
    tests::deadline::eventually("the standby", || async {
        Ok(stage.operators[1].output()?.contains("listens").then_some(()))
    })
    .await?;
    stage.stays_quiet(Duration::from_secs(2)).await?;
    Ok(stage)
}

/// How long it takes until a session that is made now has its pod.
async fn next_launch(stage: &Stage, name: &str) -> Result<Duration> {
    let began = Instant::now();
    stage.session(name, json!({})).await?;
    stage.shows::<Pod>(name, "to be made", |_| true).await?;
    Ok(began.elapsed())
}

#[tokio::test]
async fn a_leader_that_is_stopped_hands_over_at_once() -> Result<()> {
    let mut stage = two().await?;
    stage.signal(0, Signal::SIGTERM)?;
    let took = next_launch(&stage, "two").await?;
    println!("the next launch took {took:?} after SIGTERM");
    assert!(took < Duration::from_secs(2), "{took:?}\n{}", stage.complaints());
    assert!(stage.operators[0].wait().await?.success());
    stage.reaches("two", "Ready").await?;
    assert_eq!(stage.counts().await?, (2, 2, 2));
    stage.stays_quiet(Duration::from_secs(3)).await
}

#[tokio::test]
async fn a_leader_that_is_killed_is_followed_within_five_seconds() -> Result<()> {
    let mut stage = two().await?;
    stage.operators[0].kill()?;
    let took = next_launch(&stage, "two").await?;
    println!("the next launch took {took:?} after SIGKILL");
    assert!(took < Duration::from_secs(6), "{took:?}\n{}", stage.complaints());
    stage.reaches("two", "Ready").await?;
    stage.stays_quiet(Duration::from_secs(3)).await
}

#[tokio::test]
async fn a_leader_that_was_frozen_writes_nothing_when_it_wakes_up() -> Result<()> {
    let mut stage = two().await?;
    stage.signal(0, Signal::SIGSTOP)?;
    stage.session("two", json!({})).await?;
    stage.reaches("two", "Ready").await?;
    stage.signal(0, Signal::SIGCONT)?;
    stage.stays_quiet(Duration::from_secs(3)).await?;
    stage.delete::<ChatSession>("two").await?;
    stage.gone::<Pod>("two").await?;
    assert_eq!(stage.counts().await?, (1, 1, 2));
    Ok(())
}

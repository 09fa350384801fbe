//! Two controllers, and the one that leads is killed: how long nobody looks after sessions.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::jiff::Timestamp;

use super::peer::Election;
use super::stage::{Column, Stage};
use crate::sample::Sample;

/// In which a standby fills what it knows, or tries for the lease once.
const QUIET: Duration = Duration::from_secs(3);

/// From the kill to the first pod that the next leader asks for; a session waits for it.
pub(super) async fn run(column: Column, kills: u32) -> Result<Sample> {
    let mut stage = Stage::start(column, Election::On).await?;
    let mut sample = Sample::new()?;
    for kill in 0..kills {
        stage.add_controller(&format!("standby-{kill}"))?;
        stage.says(1, standby_words(&stage.column)).await?;
        tokio::time::sleep(QUIET).await;
        let since = stage.position().await?;
        let killed = Timestamp::now();
        stage.controllers[0].kill()?;
        let name = format!("after-{kill}");
        stage.launch(&name).await.with_context(|| stage.complaints())?;
        let entries = stage.audit_since(since).await?;
        let made = entries
            .iter()
            .find(|entry| entry.resource == "pods" && entry.verb == "create" && entry.name == name)
            .context("nobody made the pod")?;
        sample.record(Duration::try_from(made.received.duration_since(killed)).unwrap_or_default())?;
        drop(stage.controllers.remove(0));
    }
    Ok(sample)
}

fn standby_words(column: &Column) -> &'static str {
    match column {
        Column::Floor(_) | Column::Gadget => "listens",
        Column::Peer(_) => "acquire leader lease",
    }
}

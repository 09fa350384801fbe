//! A hub whose pod is replaced while many IDEs look on.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use protocol::value::ChatTurnStatus;
use tests::deadline::eventually;
use tests::ide::Ide;
use tests::release::Release;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::start::holds;
use crate::sample::Sample;

pub(super) const TABS: usize = 100;
/// Each with a turn in its middle.
const SESSIONS: usize = 4;

/// Since the new pod was ready.
pub(super) struct Replaced {
    pub(super) attached: Sample,
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) events: u64,
}

pub(super) async fn run(release: &Release, origin: &str) -> Result<Replaced> {
    let mut tabs = Vec::new();
    let mut turns = Vec::new();
    for number in 0..SESSIONS {
        let name = format!("seen-{number}");
        release.apply(&name).await?;
        let (first, document) = release.open_at(origin, &name).await?;
        for tab in 1..TABS / SESSIONS {
            let ide = Ide::connect_to(origin, release.admin.token(), &format!("{name}-{tab}")).await?;
            // They read along: the first one holds the session.
            ide.follow(&document.id).await?;
            tabs.push((number, ide, Some(document.id.clone())));
        }
        tabs.push((number, first, None));
    }
    for (_, ide, _) in tabs.iter().filter(|(_, _, followed)| followed.is_none()) {
        turns.push(ide.prompt("Start the tour.").await?);
    }
    for (number, ide, _) in &tabs {
        ide.shown(&turns[*number], 6).await?;
    }

    let pods = release.api::<Pod>();
    let hub = ListParams::default().labels("app.kubernetes.io/component=hub");
    let old = pods.list(&hub).await?.items.pop().context("there is no hub")?.metadata;
    pods.delete(&old.name.clone().context("a pod has a name")?, &DeleteParams::default()).await?;
    let mut waiting = JoinSet::new();
    for (number, ide, followed) in tabs {
        waiting.spawn(async move {
            // Whoever holds the session has it again with the connection.
            ide.reconnected().await?;
            if let Some(session) = followed {
                ide.follow(&session).await?;
            }
            anyhow::Ok((number, ide, Instant::now()))
        });
    }
    let ready = eventually("the next hub", || async {
        let all = pods.list(&hub).await?.items;
        let mut next = all.iter().filter(|pod| pod.metadata.uid != old.uid);
        Ok(next.any(|pod| holds(Some(pod), "Ready")).then(Instant::now))
    })
    .await?;
    let mut replaced = Replaced { attached: Sample::new()?, lost: 0, doubled: 0, events: 0 };
    while let Some(attached) = waiting.join_next().await {
        let (number, ide, again) = attached??;
        replaced.attached.record(again.saturating_duration_since(ready))?;
        let turn = &turns[number];
        let status = ide.finished(turn).await?;
        ensure!(status == ChatTurnStatus::Finished, "a turn ended as {status:?}");
        let order = ide.order();
        replaced.lost += order.gaps.len() as u64;
        replaced.doubled += order.rewound.len() as u64;
        replaced.events += ide.names(turn).len() as u64;
    }
    Ok(replaced)
}

//! The whole product in real pods, beside a bare pod of the same kind with a new claim, in one run on the same cluster.

mod ides;
mod recovery;
mod sight;
mod start;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use serde_json::Value;
use tests::deadline::eventually;
use tests::release::{NAMESPACE, Release, kubectl, node_address};

use self::ides::{Replaced, TABS};
use self::recovery::Work;
use self::start::{STAGES, Starts};
use crate::report::{Figure, Goal};
use crate::sample::{Sample, as_f64};

/// `GADGET_BENCH_PERCENT` asks for less, for a quick look.
const STARTS: usize = 60;
const DISTURBANCES: usize = 10;

pub(crate) async fn run() -> Result<Vec<Figure>> {
    let percent = crate::percent()?;
    let share = |full: usize| (full * percent / 100).max(2);
    let (all_starts, disturbances) = (share(STARTS), share(DISTURBANCES));
    // The tabs come in by the node's port: a forwarded one ends with the hub's pod.
    let release = Release::install_with(&["--set", "hub.service.type=NodePort"]).await?;
    let origin = origin(&release).await?;
    release.apply("idle").await?;
    let drone = release.api::<Pod>().get("idle").await?;
    let claim = release.api::<PersistentVolumeClaim>().get("ws-idle").await?;
    let template = start::bare(&drone)?;

    let (mut bare, mut sessions) = (Starts::new()?, Starts::new()?);
    // The first of each is not counted: it finds nothing in any cache.
    start::bare_round(&release, &template, &claim, all_starts, &mut Starts::new()?).await?;
    start::session_round(&release, all_starts, &mut Starts::new()?).await?;
    for number in 0..all_starts {
        say(&format!("start {} of {all_starts}", number + 1));
        start::bare_round(&release, &template, &claim, number, &mut bare).await?;
        start::session_round(&release, number, &mut sessions).await?;
    }
    let mut figures = start_figures(&bare, &sessions);

    let work = Work::on(&release, "work").await?;
    let (mut woken, mut killed) = (Sample::new()?, Sample::new()?);
    let (mut deletion, mut rest) = (Sample::new()?, Sample::new()?);
    for number in 0..disturbances {
        say(&format!("disturbance {} of {disturbances}", number + 1));
        work.process_killed(&mut killed).await.context("a drone's process is killed")?;
        work.pod_deleted(&mut deletion, &mut rest).await.context("a pod is deleted")?;
        work.woken(&mut woken).await.context("a session is woken")?;
    }
    let floor = bare.usable.millis(0.5);
    figures.push(
        Figure::new("asleep: prompt → first of its turn, p50", "ms", woken.millis(0.5), woken.len())
            .against("bare pod", floor)
            .ratio(Goal::AtMost(1.3)),
    );
    figures.push(
        Figure::new(
            "drone's process killed in mid-turn → turn goes on, p50",
            "ms",
            killed.millis(0.5),
            killed.len(),
        )
        .goal(Goal::AtMost(500.0)),
    );
    figures.push(Figure::new(
        "pod deleted in mid-turn → pod gone, p50",
        "ms",
        deletion.millis(0.5),
        deletion.len(),
    ));
    figures.push(
        Figure::new("pod gone → turn goes on, p50", "ms", rest.millis(0.5), rest.len())
            .against("bare pod", floor)
            .goal(Goal::AtMost((1.3 * floor + 300.0).round())),
    );

    say(&format!("{TABS} tabs"));
    figures.extend(tab_figures(&ides::run(&release, &origin).await?));
    figures.push(
        Figure::new("drone pod idle, working set", "MB", idle_megabytes(&release).await?, 1)
            .goal(Goal::AtMost(20.0)),
    );
    release.remove().await?;
    Ok(figures)
}

fn start_figures(bare: &Starts, sessions: &Starts) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (quantile, name, goal) in [(0.5, "p50", 1.3), (0.99, "p99", 1.6)] {
        let floor = bare.usable.millis(quantile);
        figures.push(
            Figure::new(
                format!("created → drone authenticated at the hub, {name}"),
                "ms",
                sessions.usable.millis(quantile),
                sessions.usable.len(),
            )
            .against("bare pod", floor)
            .ratio(Goal::AtMost(goal)),
        );
        figures.push(
            Figure::new(
                format!("created → session Ready, {name}"),
                "ms",
                sessions.ready.millis(quantile),
                sessions.ready.len(),
            )
            .against("bare pod", floor),
        );
    }
    for ((stage, own), other) in STAGES.iter().zip(&sessions.stages).zip(&bare.stages) {
        figures.push(
            Figure::new(format!("stage {stage}, p50"), "ms", own.millis(0.5), own.len())
                .against("bare pod", other.millis(0.5)),
        );
    }
    figures.push(
        Figure::new("session deleted → pod gone, p50", "ms", sessions.gone.millis(0.5), sessions.gone.len())
            .against("bare pod", bare.gone.millis(0.5)),
    );
    figures
}

fn tab_figures(replaced: &Replaced) -> Vec<Figure> {
    let Replaced { attached, lost, doubled, events } = replaced;
    vec![
        Figure::new(
            format!("hub's pod replaced, {TABS} tabs: ready → attached again, p99"),
            "ms",
            attached.millis(0.99),
            attached.len(),
        )
        .goal(Goal::AtMost(1000.0)),
        Figure::new("events lost on the screens", "", as_f64(*lost), *events).count(Goal::Exactly(0.0)),
        Figure::new("events doubled on the screens", "", as_f64(*doubled), *events).count(Goal::Exactly(0.0)),
    ]
}

/// The hub by the node's port.
async fn origin(release: &Release) -> Result<String> {
    let service = release.api::<Service>().get("gadget-hub").await?;
    let mut ports = service.spec.into_iter().filter_map(|spec| spec.ports).flatten();
    let port = ports.find_map(|port| port.node_port).context("the hub has no port of the node")?;
    let address = node_address(&release.client).await?;
    Ok(format!("http://{address}:{port}"))
}

/// As the kubelet accounts for the drone that had nothing to do.
async fn idle_megabytes(release: &Release) -> Result<f64> {
    let node = release.api::<Pod>().get("idle").await?.spec.and_then(|spec| spec.node_name);
    let path = format!("/api/v1/nodes/{}/proxy/stats/summary", node.context("the drone has no node")?);
    eventually("the kubelet's account", || async {
        let summary: Value = serde_json::from_str(&kubectl(&["get", "--raw", &path]).await?)?;
        let pods = summary["pods"].as_array().cloned().unwrap_or_default();
        let mut of_this = pods
            .iter()
            .filter(|pod| pod["podRef"]["name"] == "idle" && pod["podRef"]["namespace"] == NAMESPACE);
        Ok(of_this.find_map(|pod| pod["memory"]["workingSetBytes"].as_f64()).map(|bytes| bytes / 1e6))
    })
    .await
}

#[expect(clippy::print_stderr, reason = "a bench tells how far it is")]
fn say(what: &str) {
    eprintln!("{what}");
}

//! Gadget's operator on a real API server with a durable etcd, beside a floor that does the same writes and beside the
//! real controller of agent-sandbox, in one run.
//!
//! Each column has fresh control planes of the same kind. Nodes and volumes are played by the bench, for all in the same
//! way; there is no scheduler, whose look at each full second would hide what is measured.

mod floor;
mod launch;
mod leader;
mod load;
mod nodes;
mod peer;
mod ready;
mod scale;
mod stage;
mod template;
mod watch;
mod write;

use anyhow::{Context as _, Result};
use tests::random::Random;

use self::launch::Launches;
use self::scale::Scale;
use self::stage::Column;
use crate::report::{Figure, Goal};
use crate::sample::{Sample, as_f64};

/// How much of each thing is done. `GADGET_BENCH_PERCENT` asks for less, for a quick look.
struct Sizes {
    rounds: u32,
    warm: usize,
    open: usize,
    closed: usize,
    scale: [usize; 3],
    touches: u32,
    replaced: usize,
    kills: u32,
    peer_kills: u32,
}

impl Sizes {
    fn from_environment() -> Result<Self> {
        let percent = crate::percent()?;
        let share = |full: usize| (full * percent / 100).max(20);
        Ok(Self {
            rounds: if percent < 50 { 1 } else { 2 },
            warm: share(50),
            open: share(500),
            closed: share(600),
            scale: [share(100), share(1_000), share(3_000)],
            touches: u32::try_from((1_000 * percent / 100).max(100))?,
            replaced: share(250),
            kills: if percent < 50 { 1 } else { 4 },
            peer_kills: if percent < 50 { 1 } else { 2 },
        })
    }
}

pub(crate) async fn run() -> Result<Vec<Figure>> {
    let sizes = Sizes::from_environment()?;
    let mut random = Random::from_environment();
    say(&format!("GADGET_TEST_SEED={}", random.seed()));
    let templates = launch::templates().await.context("an operator makes what the others are to make")?;
    let columns = [Column::Floor(templates.clone()), Column::Gadget, Column::Peer(templates.clone())];
    let [mut floor, mut gadget, mut peer] = [Launches::new()?, Launches::new()?, Launches::new()?];
    for round in 0..sizes.rounds {
        let mut turns = [(&columns[0], &mut floor), (&columns[1], &mut gadget), (&columns[2], &mut peer)];
        // There and back, so that what changes on the machine meets all of them.
        if round % 2 == 1 {
            turns.reverse();
        }
        for (column, launches) in turns {
            say(&format!("starts, round {}: {}", round + 1, column.name()));
            launch::round(column.clone(), &sizes, &mut random, launches)
                .await
                .with_context(|| column.name())?;
        }
    }
    let mut figures = launch_figures(&floor, &gadget, &peer);
    figures.iter().for_each(tell);
    let [_, own, other] = &columns;
    say("many sessions: gadget");
    let scale = scale::run(own.clone(), &sizes, &mut random).await?;
    say("many sessions: agent-sandbox");
    let peer_scale = scale::run(other.clone(), &sizes, &mut random).await?;
    let of_scale = scale_figures(&scale, &peer_scale);
    of_scale.iter().for_each(tell);
    figures.extend(of_scale);
    say("leaders");
    let leader = leader::run(own.clone(), sizes.kills).await?;
    let peer_leader = leader::run(other.clone(), sizes.peer_kills).await?;
    figures.push(leader_figure(&leader, &peer_leader));
    Ok(figures)
}

fn launch_figures(floor: &Launches, gadget: &Launches, peer: &Launches) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (quantile, name, goal) in [(0.5, "p50", 1.35), (0.99, "p99", 1.5)] {
        let floor = floor.latency.millis(quantile);
        let of = |column: &str, launches: &Launches| {
            let what = format!("create → Ready, 20/s, {name}, {column}");
            Figure::new(what, "ms", launches.latency.millis(quantile), launches.latency.len())
                .against("floor", floor)
        };
        figures.push(of("gadget", gadget).ratio(Goal::AtMost(goal)));
        figures.push(of(peer::NAME, peer));
    }
    let of = |column: &str, launches: &Launches| {
        let what = format!("closed loop, {} in flight, {column}", load::IN_FLIGHT);
        Figure::new(what, "sessions/s", launches.per_second(), launches.sessions)
    };
    figures.push(of("gadget", gadget).goal(Goal::AtLeast(120.0)));
    let floor_rate = floor.per_second();
    figures.push(of("gadget", gadget).against("floor", floor_rate).ratio(Goal::AtLeast(0.7)));
    figures.push(of(peer::NAME, peer).against("floor", floor_rate));
    for (column, launches) in [("floor", floor), ("gadget", gadget), (peer::NAME, peer)] {
        let of = |what: &str, time| {
            let what = format!("processor time of {what} for a session, {column}");
            Figure::new(what, "ms", launches.each(time), launches.sessions)
        };
        figures.push(of("API server and etcd", launches.servers));
        figures.push(of("the bench (clients, nodes)", launches.bench));
        if column != "floor" {
            figures.push(of("the controller", launches.controller));
        }
    }
    let (own, other) = (&gadget.writes, &peer.writes);
    let each = |sum: u64, of: u64| as_f64(sum) / as_f64(of.max(1));
    let count = |what: &str, own: (u64, u64), other: (u64, u64), most: f64| {
        Figure::new(format!("{what}, each, by the operator"), "", each(own.0, own.1), own.1)
            .against(peer::NAME, each(other.0, other.1))
            .count(Goal::AtMost(most))
    };
    figures.push(count("writes: cold start", (own.cold, own.launches), (other.cold, other.launches), 5.0));
    figures.push(count("writes: suspend", (own.suspend, own.lives), (other.suspend, other.lives), 3.0));
    figures.push(count("writes: delete", (own.delete, own.lives), (other.delete, other.lives), 2.0));
    figures.push(count(
        "refused writes: cold start",
        (own.refused, own.launches),
        (other.refused, other.launches),
        0.0,
    ));
    figures.push(count(
        "GET and LIST: cold start",
        (own.reads, own.launches),
        (other.reads, other.launches),
        0.0,
    ));
    figures
}

fn scale_figures(gadget: &Scale, peer: &Scale) -> Vec<Figure> {
    const MEBIBYTE: f64 = 1_048_576.0;
    let mut figures = Vec::new();
    for (own, other) in gadget.steps.iter().zip(&peer.steps) {
        let sessions = as_f64(own.sessions as u64);
        let what = format!("resident memory with {} sessions", own.sessions);
        figures.push(
            Figure::new(what, "MiB", as_f64(own.resident) / MEBIBYTE, own.sessions as u64)
                .against(peer::NAME, as_f64(other.resident) / MEBIBYTE)
                .count(Goal::AtMost(20.0 + 8.0 * sessions / 1_000.0)),
        );
    }
    let sample = (&gadget.replacement, &peer.replacement);
    for (quantile, name, goal) in [(0.5, "p50", 8.0), (0.99, "p99", 40.0)] {
        let what = format!("pod deleted → replacement POST, {name}");
        figures.push(
            Figure::new(what, "ms", sample.0.times.millis(quantile), sample.0.times.len())
                .against(peer::NAME, sample.1.times.millis(quantile))
                .goal(Goal::AtMost(goal)),
        );
    }
    let (own, other) = sample;
    figures.push(
        Figure::new(
            "pods not replaced within half a minute",
            "",
            as_f64(own.never),
            own.times.len() + own.never,
        )
        .against(peer::NAME, as_f64(other.never))
        .count(Goal::Exactly(0.0)),
    );
    for (column, scale) in [("gadget", gadget), (peer::NAME, peer)] {
        let [few, .., many] = &scale.steps[..] else { continue };
        let micros = |step: &scale::Step| step.touch.unwrap_or_default().as_secs_f64() * 1e6;
        let what = format!("processor time of a reconcile with {} sessions, {column}", many.sessions);
        let figure = Figure::new(what, "µs", micros(many), many.sessions as u64)
            .against(format!("with {}", few.sessions), micros(few));
        figures.push(if column == "gadget" { figure.ratio(Goal::AtMost(1.2)) } else { figure });
    }
    figures
}

fn leader_figure(gadget: &Sample, peer: &Sample) -> Figure {
    Figure::new("leader killed → next reconcile, longest", "s", gadget.millis(1.0) / 1e3, gadget.len())
        .against(peer::NAME, peer.millis(1.0) / 1e3)
        .goal(Goal::AtMost(5.0))
}

/// At once: the rest takes minutes.
fn tell(figure: &Figure) {
    let beside = figure.reference.as_ref();
    let beside = beside.map(|(name, value)| format!(" ({name}: {value:.2})")).unwrap_or_default();
    say(&format!("{}: {:.2} {}{beside}", figure.what, figure.value, figure.unit));
}

fn say(text: &str) {
    eprintln!("bench control-plane: {text}");
}

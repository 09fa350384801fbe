//! Drone to IDE through the hub, every event stored before it is acked; beside it a node socket.io server that relays
//! and acks the same traffic and stores nothing.
//!
//! Server and load generator each have a processor of their own. "Per core" is events per second of the server's
//! processor time, so a noisy machine changes it little.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::process::Server;
use crate::raw_peer::{Packet, RawPeer};
use crate::report::{Figure, Goal};
use crate::sample::{as_f64, histogram, nanos};

/// A server to load: where it is, and who may talk to whom there.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) pairs: Vec<Pair>,
}

/// A drone and the IDE that watches its session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) drone_auth: Value,
    pub(crate) ide_auth: Value,
    pub(crate) registration: String,
    pub(crate) project: String,
    pub(crate) session: String,
}

/// What one run saw.
#[derive(Default)]
struct Seen {
    relayed: u64,
    acked: u64,
    refused: u64,
    inversions: u64,
    gaps: u64,
    doubles: u64,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.relayed += other.relayed;
        self.acked += other.acked;
        self.refused += other.refused;
        self.inversions += other.inversions;
        self.gaps += other.gaps;
        self.doubles += other.doubles;
    }
}

/// A connected pair in the middle of a turn.
pub(crate) struct Running {
    pub(crate) drone: RawPeer,
    pub(crate) ide: RawPeer,
    pub(crate) turn: String,
    pub(crate) generation: u64,
    pub(crate) attempt: u64,
    pub(crate) first_seq: u64,
}

/// Of a drone that is played.
pub(crate) const WORKSPACE: &str = "8c5f2d4e-7c0b-4c39-9a55-0c9f35b1f0aa";

const PAIRS: usize = 50;
const WINDOW: u64 = 16;
const SATURATED: Duration = Duration::from_secs(6);
const PACED: Duration = Duration::from_secs(6);
const PACED_RATE: u64 = 5_000;

pub(crate) async fn run(peer: &str) -> Result<Vec<Figure>> {
    let node = {
        let server = Server::start(Some(0), "node", &[peer.to_owned()])?;
        let url: Value = serde_json::from_str(&server.ready)?;
        let url = url["url"].as_str().context("the peer printed no url")?.to_owned();
        measure(&server, &node_target(url)).await.context("node socket.io")?
    };
    let hub = {
        let server = crate::hub_server::start(Some(0), PAIRS, 1)?;
        let target: Target = serde_json::from_str(&server.ready)?;
        measure(&server, &target).await.context("hub")?
    };
    let two_workers = {
        let server = crate::hub_server::start(None, PAIRS, 2)?;
        let target: Target = serde_json::from_str(&server.ready)?;
        saturate(&server, &target).await.context("hub with 2 workers")?
    };
    let mut order = Seen::default();
    for seen in [&hub.saturated.seen, &hub.paced_seen, &two_workers.seen] {
        order.add(seen);
    }
    if order.refused > 0 {
        bail!("the hub refused {} events", order.refused);
    }
    let micros = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e6;
    Ok(vec![
        Figure::new(
            "stored relay per core, 20 B, window 16 × 50 pairs",
            "events/s",
            hub.saturated.per_core,
            hub.saturated.seen.relayed,
        )
        .against("node socket.io, nothing stored", node.saturated.per_core)
        .ratio(Goal::AtLeast(1.0)),
        Figure::new(
            "stored relay, wall clock, 1 worker",
            "events/s",
            hub.saturated.per_second,
            hub.saturated.seen.relayed,
        )
        .against("node socket.io, nothing stored", node.saturated.per_second),
        Figure::new(
            "latency drone → IDE at 5 000/s, p50",
            "µs",
            micros(hub.relay.value_at_quantile(0.5)),
            hub.relay.len(),
        )
        .against("node socket.io", micros(node.relay.value_at_quantile(0.5)))
        .goal(Goal::AtMost(200.0)),
        Figure::new(
            "latency drone → IDE at 5 000/s, p99",
            "µs",
            micros(hub.relay.value_at_quantile(0.99)),
            hub.relay.len(),
        )
        .against("node socket.io", micros(node.relay.value_at_quantile(0.99))),
        Figure::new(
            "ack after the event is stored, at 5 000/s, p99",
            "ms",
            micros(hub.ack.value_at_quantile(0.99)) / 1e3,
            hub.ack.len(),
        )
        .goal(Goal::AtMost(10.0)),
        Figure::new("events out of order", "", as_f64(order.inversions), order.relayed)
            .count(Goal::Exactly(0.0)),
        Figure::new("events missing", "", as_f64(order.gaps), order.relayed).count(Goal::Exactly(0.0)),
        Figure::new("events doubled", "", as_f64(order.doubles), order.relayed).count(Goal::Exactly(0.0)),
    ])
}

fn node_target(url: String) -> Target {
    let pairs = (0..PAIRS)
        .map(|index| {
            let id = format!("s{index}");
            Pair {
                drone_auth: json!({ "registrationId": id, "token": "" }),
                ide_auth: json!({ "token": "" }),
                registration: id.clone(),
                project: "p".into(),
                session: id,
            }
        })
        .collect();
    Target { url, pairs }
}

struct Saturated {
    seen: Seen,
    per_core: f64,
    per_second: f64,
}

struct Measured {
    saturated: Saturated,
    paced_seen: Seen,
    relay: Histogram<u64>,
    ack: Histogram<u64>,
}

async fn measure(server: &Server, target: &Target) -> Result<Measured> {
    let saturated_target =
        Target { url: target.url.clone(), pairs: target.pairs[..target.pairs.len() / 2].to_vec() };
    let paced_target =
        Target { url: target.url.clone(), pairs: target.pairs[target.pairs.len() / 2..].to_vec() };
    let (paced_seen, relay, ack) = pace(&paced_target).await.context("paced")?;
    let saturated = saturate(server, &saturated_target).await.context("saturated")?;
    Ok(Measured { saturated, paced_seen, relay, ack })
}

/// Takes every session's lock and starts a turn in it.
async fn start_turns(target: &Target) -> Result<Vec<Running>> {
    let mut running = Vec::new();
    for pair in &target.pairs {
        running
            .push(start_turn(&target.url, pair).await.with_context(|| format!("session {}", pair.session))?);
    }
    Ok(running)
}

pub(crate) async fn start_turn(url: &str, pair: &Pair) -> Result<Running> {
    let hello = json!({
        "workspaceId": WORKSPACE, "lock": null, "mode": "idle", "processRestarts": 0,
        "hostname": "bench", "version": "0",
    });
    let mut drone = RawPeer::connect(url, &pair.drone_auth).await.context("drone")?;
    let ack = drone.call(&format!("\"hello\",{hello}"), |_| None).await.context("hello")?;
    let generation = ack[0]["generation"].as_u64().context("hello was not answered with a generation")?;
    let mut ide = RawPeer::connect(url, &pair.ide_auth).await.context("ide")?;
    let session = json!(pair.session);
    let start = async {
        let lock = format!(
            "\"requestSessionLock\",{},{},{}",
            json!(pair.registration),
            json!(pair.project),
            json!(pair.session)
        );
        let ack = ide.call(&lock, |_| None).await.context("requestSessionLock")?;
        if ack[0] != true {
            bail!("the session was not locked: {ack}");
        }
        let ack = ide.call("\"submitPrompt\",\"go\"", |_| None).await.context("submitPrompt")?;
        if ack[0] != true {
            bail!("the prompt was refused: {ack}");
        }
        Ok(())
    };
    let (started, order) =
        tokio::join!(start, drone.wait_for("processWorkOrder", |event| answer(event, &session)));
    started?;
    let order = order.context("processWorkOrder")?;
    let turn = &order[2];
    let work_order = &turn["workOrder"];
    Ok(Running {
        turn: turn["_id"].as_str().context("the work order names no turn")?.to_owned(),
        generation,
        attempt: work_order["attempt"].as_u64().context("the work order has no attempt")?,
        first_seq: work_order["firstSeq"].as_u64().context("the work order has no first number")?,
        drone,
        ide,
    })
}

/// What a drone says to the hub's requests.
pub(crate) fn answer(event: &Value, session: &Value) -> Option<Value> {
    match event[0].as_str() {
        Some("requestSessionLock") => Some(json!([true, session])),
        Some("requestWorkspaceMode") => Some(json!([true, event[4]])),
        _ => None,
    }
}

/// `thinking` with 20 bytes of text; the first nineteen can carry a time.
pub(crate) fn event(running: &RunningIds, seq: u64, text: &str) -> String {
    let RunningIds { turn, generation, attempt } = running;
    format!(
        r#""thinking","{text:<20}",{{"turnId":"{turn}","attempt":{attempt},"generation":{generation},"seq":{seq}}}"#
    )
}

pub(crate) struct RunningIds {
    pub(crate) turn: String,
    pub(crate) generation: u64,
    pub(crate) attempt: u64,
}

/// Each drone sends 16 events at once, waits for their acks, and goes on.
async fn saturate(server: &Server, target: &Target) -> Result<Saturated> {
    let running = start_turns(target).await?;
    let cpu_before = server.cpu()?;
    let started = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let mut drones = JoinSet::new();
    let mut ides = JoinSet::new();
    for Running { mut drone, ide, turn, generation, attempt, first_seq } in running {
        let stop = Arc::clone(&stop);
        let (sent_tx, sent_rx) = tokio::sync::oneshot::channel();
        drones.spawn(async move {
            let running = RunningIds { turn, generation, attempt };
            let mut seq = first_seq;
            let mut seen = Seen::default();
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..WINDOW {
                    drone.feed(&event(&running, seq, "x")).await?;
                    seq += 1;
                }
                drone.flush().await?;
                let mut open = WINDOW;
                while open > 0 {
                    if let Packet::Ack { json, .. } = drone.packet().await? {
                        open -= 1;
                        seen.acked += 1;
                        seen.refused += u64::from(!json.starts_with("[true"));
                    }
                }
            }
            let _ = sent_tx.send(seq);
            // Leaves only when its events have been looked at: a dropped drone ends the turn.
            Ok::<_, anyhow::Error>((seen, drone))
        });
        ides.spawn(watch(ide, first_seq, sent_rx));
    }
    tokio::time::sleep(SATURATED).await;
    stop.store(true, Ordering::Relaxed);
    let mut total = Seen::default();
    let mut connected = Vec::new();
    while let Some(drone) = drones.join_next().await {
        let (seen, drone) = drone??;
        total.add(&seen);
        connected.push(drone);
    }
    while let Some(ide) = ides.join_next().await {
        total.add(&ide??);
    }
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = server.cpu()?.saturating_sub(cpu_before).as_secs_f64();
    let relayed = as_f64(total.relayed);
    Ok(Saturated { seen: total, per_core: relayed / cpu, per_second: relayed / elapsed })
}

/// Counts what an IDE sees until it has seen all that was sent.
async fn watch(
    mut ide: RawPeer,
    first_seq: u64,
    mut sent: tokio::sync::oneshot::Receiver<u64>,
) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut next = first_seq;
    let mut end = None;
    while end.is_none_or(|end| next < end) {
        tokio::select! {
            packet = tokio::time::timeout(Duration::from_secs(10), ide.packet()) => {
                let packet = packet.context("an IDE waits for events that never come")??;
                let Packet::Event { json, .. } = packet else { continue };
                let Some(seq) = seq_of(&json) else { continue };
                seen.relayed += 1;
                match seq.cmp(&next) {
                    std::cmp::Ordering::Equal => next += 1,
                    std::cmp::Ordering::Greater => {
                        seen.gaps += seq - next;
                        next = seq + 1;
                    }
                    std::cmp::Ordering::Less => {
                        seen.inversions += 1;
                        seen.doubles += 1;
                    }
                }
            }
            all = &mut sent, if end.is_none() => end = Some(all?),
        }
    }
    Ok(seen)
}

/// The number in the meta argument of a turn event.
pub(crate) fn seq_of(json: &str) -> Option<u64> {
    if !json.starts_with("[\"thinking\"") {
        return None;
    }
    let (_, after) = json.rsplit_once("\"seq\":")?;
    let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..digits].parse().ok()
}

/// Events at fixed times, whatever the server does; latency counts from the time at which an event was due.
async fn pace(target: &Target) -> Result<(Seen, Histogram<u64>, Histogram<u64>)> {
    let running = start_turns(target).await?;
    let started = Instant::now() + Duration::from_millis(200);
    let drones_count = running.len() as u64;
    let gap = Duration::from_nanos(1_000_000_000 * drones_count / PACED_RATE);
    let per_drone = nanos(PACED) / nanos(gap);
    let mut drones = JoinSet::new();
    let mut ides = JoinSet::new();
    for (index, Running { mut drone, mut ide, turn, generation, attempt, first_seq }) in
        running.into_iter().enumerate()
    {
        let offset = gap.mul_f64(as_f64(index as u64) / as_f64(drones_count));
        let due = move |number: u64| started + offset + gap.mul_f64(as_f64(number));
        drones.spawn(async move {
            let running = RunningIds { turn, generation, attempt };
            let mut latency = histogram()?;
            let mut seen = Seen::default();
            let (mut sent, mut acked) = (0, 0);
            let mut first_ack = None;
            while acked < per_drone {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(due(sent)), if sent < per_drone => {
                        let id = drone.feed(&event(&running, first_seq + sent, "x")).await?;
                        drone.flush().await?;
                        first_ack.get_or_insert(id);
                        sent += 1;
                    }
                    packet = drone.packet() => {
                        if let Packet::Ack { id, json } = packet? {
                            let number = id - first_ack.context("an ack before any event")?;
                            latency.record(nanos(due(number).elapsed()))?;
                            acked += 1;
                            seen.refused += u64::from(!json.starts_with("[true"));
                        }
                    }
                }
            }
            seen.acked = acked;
            Ok::<_, anyhow::Error>((seen, latency, drone))
        });
        ides.spawn(async move {
            let mut latency = histogram()?;
            let mut seen = Seen::default();
            let mut next = first_seq;
            while next < first_seq + per_drone {
                let packet = tokio::time::timeout(Duration::from_secs(10), ide.packet()).await;
                let Packet::Event { json, .. } =
                    packet.context("an IDE waits for events that never come")??
                else {
                    continue;
                };
                let Some(seq) = seq_of(&json) else { continue };
                latency.record(nanos(due(seq - first_seq).elapsed()))?;
                seen.relayed += 1;
                if seq < next {
                    seen.inversions += 1;
                    seen.doubles += 1;
                } else {
                    seen.gaps += seq - next;
                    next = seq + 1;
                }
            }
            Ok::<_, anyhow::Error>((seen, latency))
        });
    }
    let mut total = Seen::default();
    let (mut relay, mut ack) = (histogram()?, histogram()?);
    let mut connected = Vec::new();
    while let Some(drone) = drones.join_next().await {
        let (seen, latency, drone) = drone??;
        total.add(&seen);
        ack.add(latency)?;
        connected.push(drone);
    }
    while let Some(ide) = ides.join_next().await {
        let (seen, latency) = ide??;
        total.add(&seen);
        relay.add(latency)?;
    }
    Ok((total, relay, ack))
}

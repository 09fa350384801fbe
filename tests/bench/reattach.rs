//! A hub that is killed with many live streams and started again: how soon each stream flows again from its drone to its
//! IDE, and whether an event is lost or doubled on the way.
//!
//! The peers are played: each tries to connect anew every 25 to 75 ms, so what is measured is the hub, not their patience.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tests::random::Random;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::hub_server::{self, Place};
use crate::raw_peer::{Packet, RawPeer};
use crate::relay::{self, Pair, Running, RunningIds, Target};
use crate::report::{Figure, Goal};
use crate::sample::{Sample, as_f64};

const PAIRS: usize = 500;
const KILLS: u64 = 5;
/// Between two events of one drone.
const GAP: Duration = Duration::from_millis(100);
/// Between the last stream's return and the next kill.
const CALM: Duration = Duration::from_secs(1);
/// Ends a run that hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Events in one answer of the hub.
const PAGE: usize = 1000;

/// What came of one stream.
#[derive(Default)]
struct Seen {
    events: u64,
    lost: u64,
    /// Content that came under a number that is not its own.
    doubled: u64,
    /// Came again after a kill with its own number, by which an IDE drops it.
    again: u64,
}

pub(crate) async fn run() -> Result<Vec<Figure>> {
    let data = tempfile::tempdir().context("failed to make a data directory")?;
    let first = Place { data: data.path().to_owned(), listen: "127.0.0.1:0".to_owned() };
    let mut server = hub_server::start_at(&first, PAIRS)?;
    let Target { url, pairs } = serde_json::from_str(&server.ready)?;
    let place = Place { listen: url.trim_start_matches("http://").to_owned(), ..first };

    let mut random = Random::from_environment();
    let (stop, stopped) = watch::channel(false);
    let (attached, mut attachments) = mpsc::channel(PAIRS);
    let mut drones = JoinSet::new();
    let mut ides = JoinSet::new();
    for mut pair in pairs.clone() {
        pair.ide_auth["tabId"] = json!(pair.session);
        let started =
            relay::start_turn(&url, &pair).await.with_context(|| format!("session {}", pair.session))?;
        let Running { drone, ide, turn, generation, attempt, first_seq } = started;
        let mut peer =
            |next| Peer { url: url.clone(), pair: pair.clone(), next, random: Random::new(random.number()) };
        let (last, end) = watch::channel(None);
        ides.spawn(peer(first_seq).watch(ide, end, attached.clone()));
        let running = RunningIds { turn, generation, attempt };
        drones.spawn(peer(first_seq).tell(drone, running, stopped.clone(), last));
    }

    let (mut from_start, mut from_kill) = (Sample::new()?, Sample::new()?);
    for _ in 0..KILLS {
        tokio::time::sleep(CALM).await;
        let killed = Instant::now();
        drop(server);
        let place = place.clone();
        server = tokio::task::spawn_blocking(move || hub_server::start_at(&place, 0)).await??;
        let up = Instant::now();
        for _ in 0..PAIRS {
            let back = tokio::time::timeout(PATIENCE, attachments.recv()).await;
            let back = back.context("a stream does not come back")?.context("the IDEs have ended")?;
            from_start.record(back.saturating_duration_since(up))?;
            from_kill.record(back - killed)?;
        }
    }
    tokio::time::sleep(CALM).await;
    stop.send_replace(true);
    let mut connected = Vec::new();
    while let Some(drone) = drones.join_next().await {
        connected.push(drone??);
    }
    let mut seen = Seen::default();
    while let Some(ide) = ides.join_next().await {
        let Seen { events, lost, doubled, again } = ide??;
        seen.events += events;
        seen.lost += lost;
        seen.doubled += doubled;
        seen.again += again;
    }
    let mut stored = Seen::default();
    let http = reqwest::Client::builder().no_proxy().build()?;
    for (peer, _) in &connected {
        peer.look_up(&http, &mut stored).await.with_context(|| format!("session {}", peer.pair.session))?;
    }
    Ok(figures(&seen, &stored, &from_start, &from_kill))
}

fn figures(seen: &Seen, stored: &Seen, from_start: &Sample, from_kill: &Sample) -> Vec<Figure> {
    let n = from_start.len();
    let streams = format!("{PAIRS} live streams, hub killed");
    vec![
        Figure::new(format!("{streams}: up → stream flows again, p50"), "ms", from_start.millis(0.5), n),
        Figure::new(format!("{streams}: up → stream flows again, p99"), "ms", from_start.millis(0.99), n)
            .goal(Goal::AtMost(1000.0)),
        Figure::new(format!("{streams}: kill → stream flows again, p99"), "ms", from_kill.millis(0.99), n),
        Figure::new("events missing at the IDE", "", as_f64(seen.lost), seen.events)
            .count(Goal::Exactly(0.0)),
        Figure::new("events doubled at the IDE", "", as_f64(seen.doubled), seen.events)
            .count(Goal::Exactly(0.0)),
        Figure::new("events missing in the store", "", as_f64(stored.lost), stored.events)
            .count(Goal::Exactly(0.0)),
        Figure::new("events doubled in the store", "", as_f64(stored.doubled), stored.events)
            .count(Goal::Exactly(0.0)),
        Figure::new("events sent again under their number", "", as_f64(seen.again), seen.events),
    ]
}

/// A drone or an IDE of one session.
struct Peer {
    url: String,
    pair: Pair,
    /// The number of the next event that is told, or expected.
    next: u64,
    random: Random,
}

/// Why a drone stops talking.
enum End {
    Connection,
    Told,
}

impl Peer {
    /// A drone: an event every [`GAP`], also while no hub is there; those that are not stored are told again.
    async fn tell(
        mut self,
        mut socket: RawPeer,
        mut ids: RunningIds,
        mut stopped: watch::Receiver<bool>,
        last: watch::Sender<Option<u64>>,
    ) -> Result<(Self, RawPeer)> {
        let mut due = Instant::now() + self.random.moment(GAP);
        let mut open = 0;
        loop {
            let end = self.talk(&mut socket, &ids, &mut due, &mut open, &mut stopped).await?;
            if matches!(end, End::Told) {
                last.send_replace(Some(self.next));
                // Kept connected: a drone that goes leaves its turn behind.
                return Ok((self, socket));
            }
            let (new, stored) = self.hello(&mut ids).await?;
            socket = new;
            while due <= Instant::now() {
                due += GAP;
                self.next += 1;
            }
            open = 0;
            for seq in stored + 1..self.next {
                // Where that fails the next look at the socket says so.
                let _lost = socket.feed(&event(&ids, seq)).await;
                open += 1;
            }
            let _lost = socket.flush().await;
        }
    }

    async fn talk(
        &mut self,
        socket: &mut RawPeer,
        ids: &RunningIds,
        due: &mut Instant,
        open: &mut u64,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<End> {
        loop {
            let is_stopping = *stopped.borrow();
            if is_stopping && *open == 0 {
                return Ok(End::Told);
            }
            tokio::select! {
                () = tokio::time::sleep_until(*due), if !is_stopping => {
                    let event = event(ids, self.next);
                    *due += GAP;
                    *open += 1;
                    self.next += 1;
                    if socket.feed(&event).await.is_err() || socket.flush().await.is_err() {
                        return Ok(End::Connection);
                    }
                }
                packet = socket.packet() => match packet {
                    Err(_) => return Ok(End::Connection),
                    Ok(Packet::Ack { json, .. }) if json.starts_with("[true") => *open -= 1,
                    Ok(Packet::Ack { json, .. }) => bail!("the hub refuses an event: {json}"),
                    Ok(Packet::Event { ack, json }) => {
                        let session = json!(self.pair.session);
                        let _lost = socket.answer(ack, &json, &mut |event| relay::answer(event, &session)).await;
                    }
                },
                _ = stopped.changed(), if !is_stopping => {}
            }
        }
    }

    /// Connects until the hub knows the drone again. Also says which event it has stored last.
    async fn hello(&mut self, ids: &mut RunningIds) -> Result<(RawPeer, u64)> {
        let session = json!(self.pair.session);
        loop {
            let mut socket = self.connect(&self.pair.drone_auth.clone()).await?;
            let hello = json!({
                "workspaceId": relay::WORKSPACE, "mode": "agent", "processRestarts": 0,
                "hostname": "bench", "version": "0",
                "lock": { "chatSessionId": self.pair.session, "projectId": self.pair.project },
                "turn": { "turnId": ids.turn, "attempt": ids.attempt, "lastSeq": self.next - 1 },
            });
            let ack =
                socket.call(&format!("\"hello\",{hello}"), |event| relay::answer(event, &session)).await;
            let Ok(ack) = ack else { continue };
            ids.generation = ack[0]["generation"].as_u64().context("hello was not answered")?;
            let stored = ack[0]["storedSeq"].as_u64().context("the hub does not want the turn any more")?;
            return Ok((socket, stored));
        }
    }

    async fn connect(&mut self, auth: &Value) -> Result<RawPeer> {
        let connecting = async {
            loop {
                tokio::time::sleep(Duration::from_millis(25) + self.random.moment(Duration::from_millis(50)))
                    .await;
                if let Ok(socket) = RawPeer::connect(&self.url, auth).await {
                    return socket;
                }
            }
        };
        tokio::time::timeout(PATIENCE, connecting).await.context("the hub takes no connection")
    }

    /// An IDE: until it has seen the last event. Tells when its stream flows again after a lost connection.
    async fn watch(
        mut self,
        mut socket: RawPeer,
        mut end: watch::Receiver<Option<u64>>,
        attached: mpsc::Sender<Instant>,
    ) -> Result<Seen> {
        let mut seen = Seen::default();
        let mut is_attached = true;
        while end.borrow().is_none_or(|end| self.next < end) {
            let packet = tokio::select! {
                packet = tokio::time::timeout(PATIENCE, socket.packet()) => packet,
                _ = end.changed() => continue,
            };
            let packet = packet.context("an IDE waits for events that never come")?;
            let Ok(packet) = packet else {
                let mut auth = self.pair.ide_auth.clone();
                auth["lastSeq"] = json!({ &self.pair.session: self.next - 1 });
                socket = self.connect(&auth).await?;
                is_attached = false;
                continue;
            };
            let Packet::Event { json, .. } = packet else { continue };
            let Some(seq) = relay::seq_of(&json) else { continue };
            seen.take(seq, text_of(&json), &mut self.next);
            // What the hub replays from its store does not show that the drone is back.
            if !is_attached && !json.contains("\"replay\":true") {
                is_attached = true;
                attached.send(Instant::now()).await?;
            }
        }
        Ok(seen)
    }

    /// Holds what the hub has stored against what the drone has told.
    async fn look_up(&self, http: &reqwest::Client, stored: &mut Seen) -> Result<()> {
        #[derive(Deserialize)]
        struct Events {
            items: Vec<Event>,
        }
        #[derive(Deserialize)]
        struct Event {
            args: Vec<Value>,
        }
        let token = self.pair.ide_auth["token"].as_str().context("the IDE has no token")?;
        let mut next = 1;
        loop {
            let path = format!("api/v1/chat-sessions/{}/events?after={}", self.pair.session, next - 1);
            let answer = http.get(format!("{}/{path}", self.url)).bearer_auth(token).send().await?;
            let Events { items } = serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?;
            for Event { args } in &items {
                let (Some(text), Some(meta)) = (args.first(), args.last()) else { bail!("an empty event") };
                let seq = meta["seq"].as_u64().context("an event without a number")?;
                stored.take(seq, text.as_str().and_then(|text| text.trim().parse().ok()), &mut next);
            }
            if items.len() < PAGE {
                break;
            }
        }
        stored.lost += self.next - next;
        Ok(())
    }
}

impl Seen {
    fn take(&mut self, seq: u64, text: Option<u64>, next: &mut u64) {
        self.events += 1;
        self.doubled += u64::from(text != Some(seq));
        if seq < *next {
            self.again += 1;
        } else {
            self.lost += seq - *next;
            *next = seq + 1;
        }
    }
}

/// Its text is its number.
fn event(ids: &RunningIds, seq: u64) -> String {
    relay::event(ids, seq, &seq.to_string())
}

fn text_of(json: &str) -> Option<u64> {
    json.split('"').nth(3)?.trim().parse().ok()
}

//! Drones and hubs killed at random moments in running turns: what is lost, what is doubled, what is asked of the model
//! again, and how soon the turn goes on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use nix::unistd::Pid;
use protocol::event::EventName;
use protocol::ide::{DroneStatusEvent, name};
use protocol::ids::{ChatSessionId, TurnId};
use protocol::value::DronePhase;
use scripted_model::{Message, ScriptedModel};
use tests::api::Api;
use tests::deadline::eventually;
use tests::gadget::Gadget;
use tests::lane::{self, Account, Lane};
use tests::processes::{self, Role};
use tests::random::Random;
use tests::stage::Stage;
use tokio::time::Instant;

use crate::report::{Figure, Goal};
use crate::sample::{Sample, as_f64};

/// `GADGET_KILLS` asks for fewer, for a quick look.
const KILLS: u64 = 2_000;
const HUB_KILLS: u64 = 50;
/// Sessions that work at the same time, each of a person of its own.
const LANES: usize = 16;
/// A session is killed so often at most. Its supervisor restarts the drone three times in ten minutes; then it ends, and
/// the fleet starts a new one, which has three more. The fleet waits a second before the first start of that kind, and
/// longer before the next ones: they would test patience.
const QUOTA: usize = 7;
/// The kill, counted from 0, that the supervisor leaves to the fleet.
const BY_FLEET: usize = 3;
/// Between two kills of a drone, at most.
const DRONE_GAP: Duration = Duration::from_millis(700);
/// Between two kills of the hub, at most.
const HUB_GAP: Duration = Duration::from_millis(1500);
/// How often it is said how far the bench is.
const SAY: Duration = Duration::from_secs(15);

/// What came of the kills of one kind.
struct Tally {
    kills: u64,
    turns: u64,
    /// Kills that were met by a turn that was not over, as its attempts and its model calls tell.
    attempts: u64,
    lost: u64,
    doubled: u64,
    otherwise: u64,
    /// Commands that a supervisor stopped when it gave up; the model was told.
    stopped: u64,
    /// And how often each was killed.
    sessions: Vec<(ChatSessionId, u64)>,
    /// From the kill to the drone's hello at the hub.
    back: Sample,
    /// From the kill to the turn's next event after that.
    going_on: Sample,
    /// The same, where the fleet starts the drone.
    back_by_fleet: Sample,
    /// The same, where the fleet or the hub waits a second first.
    held_back: Sample,
}

impl Tally {
    fn new() -> Result<Self> {
        Ok(Self {
            kills: 0,
            turns: 0,
            attempts: 0,
            lost: 0,
            doubled: 0,
            otherwise: 0,
            stopped: 0,
            sessions: Vec::new(),
            back: Sample::new()?,
            going_on: Sample::new()?,
            back_by_fleet: Sample::new()?,
            held_back: Sample::new()?,
        })
    }

    /// `is_supervisor_gone`: the drone was killed so often that its supervisor gave up, and stopped what ran.
    fn account(&mut self, account: &Account, is_supervisor_gone: bool) -> Result<()> {
        let Account { lost, doubled, otherwise, stopped, attempts, repeated_calls: _ } = account;
        let stopped = if is_supervisor_gone { *stopped } else { 0 };
        let lost = lost.len().saturating_sub(stopped);
        let is_otherwise = otherwise.is_some() && stopped == 0;
        if lost > 0 || !doubled.is_empty() || is_otherwise {
            say(&format!("a turn is not as its script says: {account:#?}"));
        }
        self.turns += 1;
        self.attempts += u64::from(*attempts);
        self.lost += u64::try_from(lost)?;
        self.doubled += u64::try_from(doubled.len())?;
        self.otherwise += u64::from(is_otherwise);
        self.stopped += u64::try_from(stopped)?;
        Ok(())
    }
}

pub(crate) async fn run() -> Result<Vec<Figure>> {
    let wanted = std::env::var("GADGET_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let mut random = Random::from_environment();
    say(&format!("GADGET_TEST_SEED={}", random.seed()));
    let scripts = lane::scripts(LANES);
    let mut stage =
        Stage::with_scripts(scripts.iter().map(|(name, script)| (name.as_str(), script.clone())), lane::PACE)
            .await?;
    let mut people = Vec::new();
    for lane in 0..LANES {
        people.push(stage.api.as_new_user(&format!("lane-{lane}@example.com")).await?);
    }
    let drones = kill_drones(&stage, &people, wanted, &mut random).await.context("drones are killed")?;
    let hubs = kill_hubs(&mut stage, &people, wanted.min(HUB_KILLS), &mut random)
        .await
        .context("the hub is killed")?;
    stage.well_asked()?;
    let requests = requests(&stage.model);
    Ok([figures("drone", &drones, &requests), figures("hub", &hubs, &requests)].concat())
}

fn figures(victim: &str, tally: &Tally, requests: &HashMap<ChatSessionId, u64>) -> Vec<Figure> {
    let Tally {
        kills,
        turns,
        attempts,
        lost,
        doubled,
        otherwise,
        stopped,
        sessions,
        back,
        going_on,
        back_by_fleet,
        held_back,
    } = tally;
    let answers = u64::try_from(lane::answers(0).len()).unwrap_or_default();
    // Model calls that were made again in a session, and how often it was killed.
    let calls = sessions.iter().map(|(session, kills)| {
        let asked = requests.get(session).copied().unwrap_or_default();
        (asked.saturating_sub(answers), *kills)
    });
    let repeated: u64 = calls.clone().map(|(repeated, _)| repeated).sum();
    let chances: u64 = sessions.iter().map(|(_, kills)| kills).sum();
    let excessive =
        u64::try_from(calls.filter(|(repeated, kills)| repeated > kills).count()).unwrap_or(u64::MAX);
    let count = |what: &str, count: u64| {
        Figure::new(format!("{victim} killed: {what}"), "", as_f64(count), *kills).count(Goal::Exactly(0.0))
    };
    let time = |what: &str, quantile: f64, sample: &Sample| {
        Figure::new(format!("{victim} killed: {what}"), "ms", sample.millis(quantile), sample.len())
    };
    let mut figures = vec![
        Figure::new(format!("{victim}: kills"), "", as_f64(*kills), *turns),
        Figure::new(format!("{victim} killed: attempts after the first one"), "", as_f64(*attempts), *turns),
        count("sentences, calls and effects lost", *lost),
        count("sentences, calls and effects doubled", *doubled),
        count("turns that are otherwise not as the script says", *otherwise),
        Figure::new(
            format!("{victim} killed: repeated model calls, for each kill and session"),
            "",
            as_f64(repeated) / as_f64(chances),
            chances,
        )
        .count(Goal::AtMost(1.0)),
        count("turns with more repeated model calls than kills", excessive),
        time("drone is back, p50", 0.5, back),
        time("drone is back, p99", 0.99, back).goal(Goal::AtMost(1000.0)),
        time("the turn's next event, p50", 0.5, going_on),
        time("the turn's next event, p99", 0.99, going_on).goal(Goal::AtMost(1000.0)),
    ];
    if back_by_fleet.len() > 0 {
        let what = "drone's 4th death: commands that ended with its supervisor";
        figures.push(Figure::new(what, "", as_f64(*stopped), back_by_fleet.len()).goal(Goal::Exactly(0.0)));
        figures.push(time(
            "drone is back after its 4th death, by the fleet after 1 s, p50",
            0.5,
            back_by_fleet,
        ));
        figures.push(time("next event where fleet or hub wait 1 s on purpose, p50", 0.5, held_back));
        figures.push(time("next event where fleet or hub wait 1 s on purpose, p99", 0.99, held_back));
    }
    figures
}

#[derive(Clone, Copy)]
struct Kill {
    at: Timestamp,
    /// The turn had got no further since the kill before, so that the hub may wait a second before the next attempt.
    is_barren: bool,
}

/// How far the turn has got: beginnings and ends of its calls.
fn calls(lane: &Lane, turn: &TurnId) -> usize {
    let is_call = |event: &&EventName| matches!(event, EventName::ToolCallStarted | EventName::ToolCall);
    lane.ide.names(turn).iter().filter(is_call).count()
}

/// What the lanes share while drones are killed.
struct Drones<'a> {
    stage: &'a Stage,
    wanted: u64,
    kills: Cell<u64>,
    said: Cell<Instant>,
    tally: RefCell<Tally>,
}

async fn kill_drones(stage: &Stage, people: &[Api], wanted: u64, random: &mut Random) -> Result<Tally> {
    let shared = Drones {
        stage,
        wanted,
        kills: Cell::new(0),
        said: Cell::new(Instant::now()),
        tally: RefCell::new(Tally::new()?),
    };
    let lanes = people.iter().enumerate().map(|(number, person)| {
        let random = Random::new(random.number());
        shared.lane(number, person, random)
    });
    try_join_all(lanes).await?;
    let Drones { tally, kills, .. } = shared;
    let mut tally = tally.into_inner();
    tally.kills = kills.get();
    Ok(tally)
}

impl Drones<'_> {
    /// One session after the other, each with one turn that is killed until it is over or its quota is.
    async fn lane(&self, number: usize, person: &Api, mut random: Random) -> Result<()> {
        while self.kills.get() < self.wanted {
            let lane = open(self.stage, number, person).await?;
            let turn = lane.begin().await?;
            let kills = self.kill_again_and_again(&lane, &turn, &mut random).await?;
            let account = lane.account(&self.stage.gadget, person, &turn).await?;
            {
                let mut tally = self.tally.borrow_mut();
                tally.account(&account, kills.len() > BY_FLEET)?;
                tally.sessions.push((lane.session.id.clone(), u64::try_from(kills.len())?));
                for (nth, Kill { at, is_barren }) in kills.iter().enumerate() {
                    let next = kills.get(nth + 1).map(|kill| &kill.at);
                    let Some(back) = came_back(&lane, &turn, *at, next)? else { continue };
                    let Tally { back: sample, going_on, back_by_fleet, held_back, .. } = &mut *tally;
                    let (sample, going_on) = match (nth, is_barren) {
                        (BY_FLEET, _) => (back_by_fleet, &mut *held_back),
                        (_, true) => (sample, &mut *held_back),
                        (_, false) => (sample, going_on),
                    };
                    sample.record(back.hello)?;
                    back.event.map(|event| going_on.record(event)).transpose()?;
                }
            }
            self.say();
            close(lane, person).await?;
        }
        Ok(())
    }

    /// At random moments of the turn; each fourth time also while the drone is still coming back.
    async fn kill_again_and_again(
        &self,
        lane: &Lane,
        turn: &TurnId,
        random: &mut Random,
    ) -> Result<Vec<Kill>> {
        let mut kills: Vec<Kill> = Vec::new();
        let mut last = None;
        while kills.len() < QUOTA {
            if let Some(Kill { at, is_barren }) = kills.last().copied() {
                // A turn that dies three times without getting further is given up, and rightly.
                let is_soon = !is_barren && random.below(4) == 0;
                let known = calls(lane, turn);
                eventually("the turn going on", || async {
                    let goes_on = is_soon
                        || lane.ide.status(turn).is_some()
                        || (is_barren && calls(lane, turn) > known)
                        || (!is_barren && lane.ide.times(turn).last().is_some_and(|last| *last > at));
                    Ok(goes_on.then_some(()))
                })
                .await?;
            }
            tokio::time::sleep(random.moment(DRONE_GAP)).await;
            if lane.ide.status(turn).is_some() {
                break;
            }
            let drone = drone_of(&self.stage.gadget, &lane.session.id)?;
            // None: it is not back yet. The same: it is not dead yet.
            if let Some(drone) = drone.filter(|drone| last.is_none_or(|(last, _)| last != *drone)) {
                let calls = calls(lane, turn);
                let is_barren = last.is_some_and(|(_, known)| known == calls);
                kills.push(Kill { at: Timestamp::now(), is_barren });
                processes::kill_hard(drone)?;
                last = Some((drone, calls));
                self.kills.set(self.kills.get() + 1);
            }
        }
        Ok(kills)
    }

    fn say(&self) {
        if self.said.get().elapsed() >= SAY {
            self.said.set(Instant::now());
            say(&format!("{} of {} drones killed", self.kills.get(), self.wanted));
        }
    }
}

async fn kill_hubs(stage: &mut Stage, people: &[Api], wanted: u64, random: &mut Random) -> Result<Tally> {
    let mut tally = Tally::new()?;
    let mut said = Instant::now();
    while tally.kills < wanted {
        let mut lanes = Vec::new();
        for (number, person) in people.iter().enumerate() {
            lanes.push(open(stage, number, person).await?);
        }
        let turns = try_join_all(lanes.iter().map(Lane::begin)).await?;
        let mut starts = Vec::new();
        let is_live = |lane: &Lane, turn| lane.ide.status(turn).is_none();
        while tally.kills < wanted {
            tokio::time::sleep(random.moment(HUB_GAP)).await;
            if !lanes.iter().zip(&turns).all(|(lane, turn)| is_live(lane, turn)) {
                break;
            }
            stage.gadget.kill_hub().await?;
            tally.kills += 1;
            starts.push(Timestamp::now());
            stage.gadget.start_hub().await?;
        }
        for ((lane, turn), person) in lanes.iter().zip(&turns).zip(people) {
            tally.account(&lane.account(&stage.gadget, person, turn).await?, false)?;
            tally.sessions.push((lane.session.id.clone(), u64::try_from(starts.len())?));
            for (nth, start) in starts.iter().enumerate() {
                let Some(back) = came_back(lane, turn, *start, starts.get(nth + 1))? else { continue };
                tally.back.record(back.hello)?;
                back.event.map(|event| tally.going_on.record(event)).transpose()?;
            }
        }
        for (lane, person) in lanes.into_iter().zip(people) {
            close(lane, person).await?;
        }
        if said.elapsed() >= SAY {
            said = Instant::now();
            say(&format!("{} of {wanted} hubs killed", tally.kills));
        }
    }
    Ok(tally)
}

async fn open(stage: &Stage, number: usize, person: &Api) -> Result<Lane> {
    let (ide, session) = stage.open_as(person, &format!("lane {number}"), None).await?;
    Ok(Lane { number, ide, session })
}

/// Ends the session's drone too: hundreds of idle ones would be measured with the others.
async fn close(lane: Lane, person: &Api) -> Result<()> {
    let Lane { number: _, ide, session } = lane;
    ide.close().await?;
    person.terminate_drone(&session.id).await
}

fn drone_of(gadget: &Gadget, session: &ChatSessionId) -> Result<Option<Pid>> {
    let all = processes::of(&gadget.workspace(session))?;
    Ok(all.into_iter().find(|process| process.role == Role::Drone).map(|process| process.pid))
}

/// How long after a kill.
struct Back {
    hello: Duration,
    /// The turn's first event after the hello; none: the next kill came before it.
    event: Option<Duration>,
}

/// By the hub's clock, which is this machine's. None: the next kill came before the drone was back.
fn came_back(lane: &Lane, turn: &TurnId, gone: Timestamp, next: Option<&Timestamp>) -> Result<Option<Back>> {
    let before_next = |at: Timestamp| next.is_none_or(|next| at < *next);
    let hello = lane.ide.heard().iter().filter_map(hello).find(|at| *at > gone);
    let Some(hello) = hello.filter(|at| before_next(*at)) else { return Ok(None) };
    let times = lane.ide.times(turn);
    let event = times.into_iter().find(|at| *at >= hello).filter(|at| before_next(*at));
    let after = |at: Timestamp| Duration::try_from(at.duration_since(gone));
    Ok(Some(Back { hello: after(hello)?, event: event.map(after).transpose()? }))
}

/// When the hub heard of the drone, if that is what it says.
fn hello(heard: &tests::ide::Heard) -> Option<Timestamp> {
    if heard.name != name::DRONE_STATUS {
        return None;
    }
    let status: DroneStatusEvent = serde_json::from_str(heard.args.first()?.get()).ok()?;
    let is_connected = matches!(status.phase, DronePhase::Available | DronePhase::Busy);
    is_connected.then_some(status.since)
}

/// How often the model was asked in each session's turn, by the prompt that names it. What finds a name for the session
/// is offered no tools.
fn requests(model: &ScriptedModel) -> HashMap<ChatSessionId, u64> {
    let mut counts = HashMap::new();
    for request in model.requests().iter().filter(|request| !request.tools.is_empty()) {
        let session = request.messages.iter().find_map(|message| match message {
            Message::User { text } => lane::session_in(text),
            Message::Assistant { .. } | Message::Tool { .. } => None,
        });
        if let Some(session) = session {
            *counts.entry(session).or_default() += 1;
        }
    }
    counts
}

fn say(text: &str) {
    eprintln!("  {text}");
}

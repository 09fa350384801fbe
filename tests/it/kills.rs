//! SIGKILL to drones and hub in the middle of turns, at random moments: the transcript that is stored and the one on the
//! screen are what the model said, each sentence once and each tool call once, and each command ran once.

use std::time::Duration;

use protocol::document::ChatSession;
use protocol::ids::TurnId;
use protocol::value::ChatTurnStatus;
use scripted_model::script::{Answer, Script, Step};
use serde_json::json;
use tests::ide::Ide;
use tests::random::Random;
use tests::repository::checkout_in;

use crate::stage::{Stage, assert_all_ended_well, assert_same, said, scripted};

/// Sessions that work at the same time.
const LANES: usize = 3;
/// `GADGET_KILL_ROUNDS` asks for more.
const ROUNDS: usize = 4;
/// Milliseconds between two words of the model.
const PACE: u64 = 8;
/// Less than what a turn takes when nobody is killed.
const TURN: Duration = Duration::from_millis(1500);

/// Text, tools of every kind of effect, and a command that takes a while; all of it can be told apart by its number.
fn answers(lane: usize) -> Vec<Answer> {
    let append = |line: &str| json!({ "command": format!("sleep 0.2; echo {line} >> ran.txt") });
    let sentence = |number: usize| format!("Sentence {lane}.{number} has a few words of its own. ");
    vec![
        Answer::new([
            Step::think(format!("Thought {lane}.1 goes on for some words. ")),
            Step::say(sentence(1)),
            Step::call("write", json!({ "path": "note.txt", "content": format!("lane {lane}\n") })),
            Step::call("shell_exec", append("first")),
        ]),
        Answer::new([
            Step::say(sentence(2)),
            Step::call("read", json!({ "path": "note.txt" })),
            Step::call("shell_exec", append("second")),
        ]),
        Answer::new([
            Step::think(format!("Thought {lane}.2. ")),
            Step::say(sentence(3)),
            Step::say(sentence(4)),
        ]),
    ]
}

struct Lane {
    ide: Ide,
    session: ChatSession,
    answers: Vec<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Drone,
    Hub,
    Both,
}

async fn stage() -> Stage {
    let names: Vec<String> = (0..LANES).map(|lane| format!("lane-{lane}")).collect();
    let scripts = names.iter().enumerate().map(|(lane, name)| (name.as_str(), Script::new(answers(lane))));
    Stage::with_scripts(scripts, PACE).await
}

async fn lanes(stage: &Stage, round: usize) -> Vec<Lane> {
    let mut lanes = Vec::new();
    for lane in 0..LANES {
        let (ide, session) = stage.open(&format!("round {round} lane {lane}"), None).await;
        lanes.push(Lane { ide, session, answers: answers(lane) });
    }
    lanes
}

async fn begin(lanes: &[Lane]) -> Vec<TurnId> {
    let mut turns = Vec::new();
    for (number, lane) in lanes.iter().enumerate() {
        turns.push(lane.ide.prompt(&format!("Work [[script:lane-{number}]]")).await.unwrap());
    }
    turns
}

/// Kills, the drone of `lane` or of any, with the hub started again each time.
async fn kill(stage: &mut Stage, lanes: &[Lane], victim: Victim, lane: Option<usize>, random: &mut Random) {
    if victim != Victim::Hub {
        let any = usize::try_from(random.below(LANES as u64)).unwrap();
        let lane = &lanes[lane.unwrap_or(any)];
        stage.gadget.kill_drone(&lane.session.id).unwrap();
    }
    if victim != Victim::Drone {
        stage.gadget.kill_hub().await.unwrap();
        tokio::time::sleep(random.moment(Duration::from_millis(300))).await;
        stage.gadget.start_hub().await.unwrap();
    }
}

/// What the kills have met, over all rounds: a test in which they met nothing has shown nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    /// Attempts after the first one.
    attempts: u32,
    /// Model calls that were made again.
    calls: u32,
}

async fn check(stage: &Stage, lane: &Lane, turn: &TurnId) -> Met {
    let Lane { ide, session, answers } = lane;
    let stored = stage.api.finished_turn(&session.id, turn).await.unwrap();
    let context = format!("session {} turn {turn} {:?}", session.id, stored.error_message);
    assert_eq!(stored.status, ChatTurnStatus::Finished, "{context}");
    assert_eq!(said(&stored.blocks), scripted(answers), "{context}");
    assert_all_ended_well(&stored.tool_calls);
    assert_eq!(ide.finished(turn).await.unwrap(), ChatTurnStatus::Finished, "{context}");
    assert_same(&ide.turn(turn), &stored.blocks);
    assert_eq!(ide.order().gaps, [], "{context}");
    let ran = checkout_in(&stage.gadget.workspace(&session.id)).unwrap().join("ran.txt");
    assert_eq!(std::fs::read_to_string(ran).unwrap(), "first\nsecond\n", "{context}");
    Met { attempts: stored.attempts - 1, calls: stored.stats.retries }
}

async fn rounds(victims: &[Victim]) -> Met {
    let rounds =
        std::env::var("GADGET_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let mut random = Random::from_environment();
    let mut stage = stage().await;
    let mut met = Met::default();
    for round in 0..rounds {
        println!("round {round}: GADGET_TEST_SEED={}", random.seed());
        let lanes = lanes(&stage, round).await;
        let turns = begin(&lanes).await;
        // The first kill of every second round meets a turn that is on the screen, the others whatever is there.
        if round % 2 == 0 {
            lanes[0].ide.shown(&turns[0], 3).await.unwrap();
            kill(&mut stage, &lanes, victims[0], Some(0), &mut random).await;
        }
        for _ in 0..=random.below(2) {
            let victim = victims[usize::try_from(random.below(victims.len() as u64)).unwrap()];
            tokio::time::sleep(random.moment(TURN)).await;
            kill(&mut stage, &lanes, victim, None, &mut random).await;
        }
        for (lane, turn) in lanes.iter().zip(&turns) {
            let Met { attempts, calls } = check(&stage, lane, turn).await;
            met = Met { attempts: met.attempts + attempts, calls: met.calls + calls };
        }
        for lane in lanes {
            lane.ide.close().await.unwrap();
        }
    }
    stage.assert_well_asked();
    println!("{met:?}");
    met
}

#[tokio::test]
async fn killed_drones_lose_nothing_and_double_nothing() {
    let met = rounds(&[Victim::Drone]).await;
    assert!(met.attempts > 0, "no kill met a turn");
}

#[tokio::test]
async fn a_killed_hub_loses_nothing_and_doubles_nothing() {
    let met = rounds(&[Victim::Hub]).await;
    assert!(met.calls > 0, "no kill met a model call");
}

#[tokio::test]
async fn hub_and_drones_killed_together_lose_nothing_and_double_nothing() {
    let met = rounds(&[Victim::Both, Victim::Drone, Victim::Hub]).await;
    assert!(met.attempts + met.calls > 0, "no kill met a turn");
}

#[tokio::test]
async fn a_hub_that_is_started_again_goes_on_with_a_turn_without_anybody_there() {
    let mut stage = stage().await;
    let (ide, session) = stage.open("alone", None).await;
    let turn = ide.prompt("Work [[script:lane-0]]").await.unwrap();
    ide.shown(&turn, 3).await.unwrap();
    ide.close().await.unwrap();
    stage.gadget.kill_hub().await.unwrap();
    stage.gadget.kill_drone(&session.id).unwrap();
    stage.gadget.start_hub().await.unwrap();
    let stored = stage.api.finished_turn(&session.id, &turn).await.unwrap();
    assert_eq!(stored.status, ChatTurnStatus::Finished, "{:?}", stored.error_message);
    assert_eq!(said(&stored.blocks), scripted(&answers(0)));
    stage.assert_well_asked();
}

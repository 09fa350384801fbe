//! SIGKILL to drones and hub in the middle of turns, at random moments: the transcript that is stored and the one on the
//! screen are what the model said, each sentence once and each tool call once, and each command ran once.

use std::time::Duration;

use protocol::ids::TurnId;
use protocol::value::ChatTurnStatus;
use tests::lane::{self, Lane};
use tests::random::Random;
use tests::stage::Stage;
use tests::transcript::{said, scripted};

/// Sessions that work at the same time.
const LANES: usize = 3;
/// `GADGET_KILL_ROUNDS` asks for more.
const ROUNDS: usize = 4;
/// A turn whose drone dies three times at the same place is given up, as the protocol has it: that is no loss.
const DEATHS: usize = 2;
/// Less than what a turn takes when nobody is killed.
const TURN: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Drone,
    Hub,
    Both,
}

async fn stage() -> Stage {
    let scripts = lane::scripts(LANES);
    Stage::with_scripts(scripts.iter().map(|(name, script)| (name.as_str(), script.clone())), lane::PACE)
        .await
        .unwrap()
}

async fn lanes(stage: &Stage, round: usize) -> Vec<Lane> {
    let mut lanes = Vec::new();
    for number in 0..LANES {
        let (ide, session) = stage.open(&format!("round {round} lane {number}"), None).await.unwrap();
        lanes.push(Lane { number, ide, session });
    }
    lanes
}

async fn begin(lanes: &[Lane]) -> Vec<TurnId> {
    let mut turns = Vec::new();
    for lane in lanes {
        turns.push(lane.begin().await.unwrap());
    }
    turns
}

/// Kills of one round.
struct Killer<'a> {
    lanes: &'a [Lane],
    deaths: [usize; LANES],
}

impl Killer<'_> {
    /// The drone of `lane` or of any that may still die, with the hub started again each time.
    async fn kill(&mut self, stage: &mut Stage, victim: Victim, lane: Option<usize>, random: &mut Random) {
        if victim != Victim::Hub {
            let mortal: Vec<usize> = (0..LANES).filter(|lane| self.deaths[*lane] < DEATHS).collect();
            let any = mortal[usize::try_from(random.below(mortal.len() as u64)).unwrap()];
            let lane = lane.unwrap_or(any);
            self.deaths[lane] += 1;
            stage.gadget.kill_drone(&self.lanes[lane].session.id).unwrap();
        }
        if victim != Victim::Drone {
            stage.gadget.kill_hub().await.unwrap();
            tokio::time::sleep(random.moment(Duration::from_millis(300))).await;
            stage.gadget.start_hub().await.unwrap();
        }
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
        let mut killer = Killer { lanes: &lanes, deaths: [0; LANES] };
        // The first kill of every second round meets a turn that is on the screen, the others whatever is there.
        if round % 2 == 0 {
            lanes[0].ide.shown(&turns[0], 3).await.unwrap();
            killer.kill(&mut stage, victims[0], Some(0), &mut random).await;
        }
        for _ in 0..=random.below(2) {
            let victim = victims[usize::try_from(random.below(victims.len() as u64)).unwrap()];
            tokio::time::sleep(random.moment(TURN)).await;
            killer.kill(&mut stage, victim, None, &mut random).await;
        }
        for (lane, turn) in lanes.iter().zip(&turns) {
            let account = lane.account(&stage.gadget, &stage.api, turn).await.unwrap();
            assert!(account.is_clean(), "{account:#?}");
            met.attempts += account.attempts;
            met.calls += account.repeated_calls;
        }
        for lane in lanes {
            lane.ide.close().await.unwrap();
        }
    }
    stage.well_asked().unwrap();
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
    let (ide, session) = stage.open("alone", None).await.unwrap();
    let turn = ide.prompt("Work [[script:lane-0]]").await.unwrap();
    ide.shown(&turn, 3).await.unwrap();
    ide.close().await.unwrap();
    stage.gadget.kill_hub().await.unwrap();
    stage.gadget.kill_drone(&session.id).unwrap();
    stage.gadget.start_hub().await.unwrap();
    let stored = stage.api.finished_turn(&session.id, &turn).await.unwrap();
    assert_eq!(stored.status, ChatTurnStatus::Finished, "{:?}", stored.error_message);
    assert_eq!(said(&stored.blocks).unwrap(), scripted(&lane::answers(0)));
    stage.well_asked().unwrap();
}

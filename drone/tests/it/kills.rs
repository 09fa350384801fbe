//! `kill -9` at random moments of a turn, many times: nothing is lost and nothing is done twice.

use std::time::Duration;

use drone::job::directory::{JobDirectory, State};
use drone::journal::Journal;
use drone::journal::record::{Body, Record};
use jiff::Timestamp;
use protocol::document::Block;
use protocol::value::ChatTurnStatus;
use scripted_model::Pace;
use scripted_model::ScriptedModel;
use scripted_model::script::{Answer, Script, Step};
use scripted_model::settings::Settings;
use serde_json::json;

use crate::world::{World, order};

const STEPS: usize = 6;

/// Each step says something, edits a file and runs a command; the third one also asks a sub-agent.
fn scripts() -> Settings {
    let step = |number: usize| {
        let edit = json!({
            "path": "steps.txt",
            "old": format!("step {}\n", number - 1),
            "new": format!("step {}\nstep {number}\n", number - 1),
        });
        let mut steps = vec![
            Step::think(format!("Thinking of step {number}. ")),
            Step::say(format!("Step {number} begins. ")),
            Step::call("edit", edit),
            Step::call("shell_exec", json!({ "command": format!("echo step {number} >> shell.txt") })),
        ];
        if number == 3 {
            let prompt = "[[script:helper]] help";
            steps.push(Step::call("subagent", json!({ "agent_type": "general", "prompt": prompt })));
        }
        Answer::new(steps)
    };
    let mut answers: Vec<Answer> = vec![Answer::new([
        Step::say("Beginning. "),
        Step::call("write", json!({ "path": "steps.txt", "content": "step 0\n" })),
    ])];
    answers.extend((1..=STEPS).map(step));
    answers.push(Answer::new([Step::say("All steps are done.")]));
    let helper = Script::new([
        Answer::new([
            Step::say("I help. "),
            Step::call("shell_exec", json!({ "command": "echo helper >> helper.txt" })),
        ]),
        Answer::new([Step::say("I have helped.")]),
    ]);
    let scripts = [("default".to_owned(), Script::new(answers)), ("helper".to_owned(), helper)];
    // Slow enough for a kill to hit every part.
    Settings { scripts: scripts.into(), pace: Pace { piece: 2, seed: 1 }, ..Settings::default() }
}

fn expected() -> Vec<String> {
    let mut story = vec!["says: Beginning. ".to_owned(), "calls: write".to_owned()];
    for number in 1..=STEPS {
        story.push(format!("thinks: Thinking of step {number}. "));
        story.push(format!("says: Step {number} begins. "));
        story.extend(["calls: edit".to_owned(), "calls: shell_exec".to_owned()]);
        if number == 3 {
            story.push("calls: subagent".to_owned());
        }
    }
    story.push("says: All steps are done.".to_owned());
    story
}

/// Calls of one answer begin in any order.
fn in_order(mut story: Vec<String>) -> Vec<String> {
    story
        .chunk_by_mut(|one, other| one.starts_with("calls") && other.starts_with("calls"))
        .for_each(<[_]>::sort);
    story
}

/// `SplitMix64`: the same moments in every run.
struct Moments(u64);

impl Moments {
    fn next(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most
    }
}

async fn survive(seed: u64, with_hub: bool) {
    let model = ScriptedModel::new(scripts());
    let mut world = World::locked(model.clone()).await;
    let mut moments = Moments(seed);
    world.hub.dispatch(order("do the steps")).await;
    let mut kills = 0;
    while world.hub.look(|store| store.over.is_none()) {
        // A moment by the clock alone would miss the short steps on a slow machine: so many more events, and a bit.
        let until = world.hub.look(|store| store.events.len()) + usize::try_from(moments.next(9)).unwrap();
        world
            .hub
            .until("progress", |store| (store.events.len() >= until || store.over.is_some()).then_some(()))
            .await;
        tokio::time::sleep(Duration::from_millis(moments.next(12))).await;
        if world.hub.look(|store| store.over.is_some()) || kills >= 40 {
            break;
        }
        kills += 1;
        if with_hub && moments.next(3) == 0 {
            world.hub.restart().await;
            continue;
        }
        world.drone.kill().await;
        world.start_drone(&[]);
    }
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished, "seed {seed}");
    world.forgotten().await;
    assert!(kills >= 3, "seed {seed}: the turn was too quick to be killed in");

    assert_eq!(in_order(world.story()), in_order(expected()), "seed {seed}, {kills} kills");
    assert_eq!(model.violations(), [""; 0], "seed {seed}");
    let file = |name: &str| std::fs::read_to_string(world.project().join(name)).unwrap();
    let lines = |from: usize| -> String {
        let lines: Vec<String> = (from..=STEPS).map(|number| format!("step {number}\n")).collect();
        lines.concat()
    };
    assert_eq!(file("steps.txt"), lines(0), "seed {seed}: edits");
    assert_eq!(file("shell.txt"), lines(1), "seed {seed}: commands");
    assert_eq!(file("helper.txt"), "helper\n", "seed {seed}: the sub-agent's command");
    let calls = world.hub.transcript().tool_calls;
    assert!(calls.iter().all(|call| !call.unknown_outcome && !call.is_error), "seed {seed}: {calls:#?}");
    let helper = calls.iter().find_map(|call| call.subagent.clone()).unwrap();
    assert_eq!((helper.response.as_str(), helper.tool_calls.len()), ("I have helped.", 1));
    let is_call = |block: &&Block| matches!(block, Block::Tool { .. });
    assert_eq!(world.hub.transcript().blocks.iter().filter(is_call).count(), 2 * STEPS + 2);
}

#[tokio::test]
async fn a_drone_killed_at_random_moments_loses_and_doubles_nothing() {
    for seed in 0..4 {
        survive(seed, false).await;
    }
}

#[tokio::test]
async fn drone_and_hub_killed_at_random_moments_lose_and_double_nothing() {
    for seed in 100..104 {
        survive(seed, true).await;
    }
}

#[tokio::test]
async fn a_stop_that_a_crash_interrupted_is_finished_and_leaves_no_command() {
    let command = json!({ "command": "touch started; setsid sleep 1000 & sleep 1000" });
    let helper = Script::new([Answer::new([Step::call("shell_exec", command)])]);
    let task = json!({ "agent_type": "general", "prompt": "[[script:helper]] wait" });
    let scripts = [
        ("default".to_owned(), Script::new([Answer::new([Step::call("subagent", task)])])),
        ("helper".to_owned(), helper),
    ];
    let model = ScriptedModel::new(Settings { scripts: scripts.into(), ..Settings::default() });
    let mut world = World::locked(model).await;
    let order = order("wait");
    let journal = world.workspace().join(".gadget/journal").join(order.id.as_str());
    world.hub.dispatch(order).await;
    world.made("started").await;
    world.drone.kill().await;
    // It had written down that the user wants the stop, and no more.
    let (mut journal, _) = Journal::open(&journal).unwrap();
    journal.append(&[Record { generation: 1, at: Timestamp::now(), body: Body::Cancel }]).unwrap();
    drop(journal);
    world.start_drone(&[]);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Aborted);
    for job in JobDirectory::all(&world.workspace()).unwrap() {
        assert!(matches!(job.state().unwrap(), State::Ended(_)), "a command outlives the stop");
    }
    world.forgotten().await;
}

//! The hub goes away and comes back; the process is stopped and started again.

use nix::sys::signal::Signal;
use protocol::drone::{HelloPending, PendingTurn};
use protocol::value::ChatTurnStatus;
use scripted_model::ScriptedModel;
use scripted_model::script::{Answer, Script, Step};
use serde_json::json;

use crate::world::{World, order};

fn model(answers: impl IntoIterator<Item = Answer>) -> ScriptedModel {
    ScriptedModel::of(Script::new(answers))
}

#[tokio::test]
async fn a_tool_runs_on_while_the_hub_is_away_and_its_events_follow() {
    let model = model([
        Answer::new([
            Step::say("Now."),
            Step::call(
                "shell_exec",
                json!({ "command": "touch started; until [ -e go ]; do sleep 0.01; done" }),
            ),
        ]),
        Answer::new([Step::say("Done.")]),
    ]);
    let mut world = World::locked(model).await;
    world.hub.dispatch(order("wait")).await;
    world.made("started").await;
    let hellos = world.hub.look(|store| store.hellos.len());
    world.hub.kill().await;
    std::fs::write(world.project().join("go"), "").unwrap();
    world.hub.restart().await;
    world.hub.hellos(hellos + 1).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(world.story(), ["says: Now.", "calls: shell_exec", "says: Done."]);
    let hello = world.hub.look(|store| store.hellos.last().cloned()).unwrap();
    assert_eq!(hello.turn.map(|turn| turn.attempt), Some(1));
    assert_eq!(world.hub.look(|store| store.recoveries.len()), 0);
}

#[tokio::test]
async fn events_that_were_sent_and_not_stored_are_sent_again() {
    let model = model([
        Answer::new([Step::say("One. "), Step::call("list", json!({ "path": "." }))]),
        Answer::new([Step::say("Two. "), Step::call("glob", json!({ "pattern": "*" }))]),
        Answer::new([Step::say("Three.")]),
    ]);
    let mut world = World::locked(model).await;
    world.hub.look(|store| store.events_at_most = Some(2));
    world.hub.dispatch(order("count")).await;
    world.hub.until("two events", |store| (store.events.len() == 2).then_some(())).await;
    world.hub.restart().await;
    world.hub.look(|store| store.events_at_most = None);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(world.story(), ["says: One. ", "calls: list", "says: Two. ", "calls: glob", "says: Three."]);
}

#[tokio::test]
async fn an_answer_that_broke_off_with_the_hub_is_made_again_and_costs_no_retry() {
    let answer = Answer::new([Step::say("Half, "), Step::Stall]).then([Step::say("Half, whole.")]);
    let mut world = World::locked(model([answer])).await;
    world.hub.dispatch(order("talk")).await;
    world.hub.until("text", |store| (!store.events.is_empty()).then_some(())).await;
    world.hub.restart().await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(world.story(), ["says: Half, whole."]);
    let lines = world.hub.look(|store| store.status.join("\n"));
    assert!(!lines.contains("trying again"), "{lines}");
}

#[tokio::test]
async fn a_turn_that_the_hub_has_ended_meanwhile_is_dropped() {
    let mut world = World::locked(model([Answer::new([Step::say("Hm "), Step::Stall])])).await;
    world.hub.dispatch(order("talk")).await;
    world.hub.until("text", |store| (!store.events.is_empty()).then_some(())).await;
    world.hub.kill().await;
    world.hub.look(|store| store.over = Some(ChatTurnStatus::Error));
    world.hub.restart().await;
    world.forgotten().await;
}

#[tokio::test]
async fn a_turn_that_is_left_by_a_signal_goes_on_in_the_next_process() {
    let model = model([
        Answer::new([Step::say("One. "), Step::call("write", json!({ "path": "a", "content": "a" }))]),
        Answer::new([Step::say("Two, "), Step::Stall]).then([Step::say("Two, three.")]),
    ]);
    let mut world = World::locked(model.clone()).await;
    world.hub.dispatch(order("count")).await;
    world
        .hub
        .until("the second answer", |store| {
            let said = store.events.iter().filter(|event| event.args.get().contains("Two")).count();
            (said > 0).then_some(())
        })
        .await;
    world.drone.signal(Signal::SIGTERM);
    assert!(world.drone.ended().await.0.success());
    assert!(world.document("work-order.json").is_some());
    world.start_drone(&[]);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(world.story(), ["says: One. ", "calls: write", "says: Two, three."]);
    let recovery = world.hub.look(|store| store.recoveries.first().cloned()).unwrap();
    assert!(recovery.resumable && recovery.progress > 0, "{recovery:?}");
    assert_eq!(model.violations(), [""; 0]);
}

#[tokio::test]
async fn a_drone_says_at_once_which_work_order_it_found_or_that_it_found_none() {
    let mut world = World::locked(model([Answer::new([Step::say("Hm "), Step::Stall])])).await;
    let order = order("talk");
    world.drone.kill().await;
    let before = world.hub.look(|store| store.hellos.len());
    world.start_drone(&[]);
    world.hub.hellos(before + 1).await;
    let pending = |world: &World| world.hub.look(|store| store.hellos.last().unwrap().pending.clone());
    assert_eq!(pending(&world), HelloPending::Nothing);
    let found = PendingTurn { turn_id: order.id.clone(), attempt: 1 };
    world.hub.dispatch(order).await;
    world.drone.kill().await;
    let before = world.hub.look(|store| store.hellos.len());
    world.start_drone(&[]);
    world.hub.hellos(before + 1).await;
    assert_eq!(pending(&world), HelloPending::Turn(found));
}

#[tokio::test]
async fn a_turn_that_nobody_wants_any_more_is_forgotten_after_a_crash() {
    let mut world = World::locked(model([Answer::new([Step::say("Hm "), Step::Stall])])).await;
    world.hub.dispatch(order("talk")).await;
    world.hub.until("text", |store| (!store.events.is_empty()).then_some(())).await;
    world.drone.kill().await;
    world.hub.look(|store| store.discards = true);
    world.start_drone(&[]);
    world.forgotten().await;
    assert_eq!(world.hub.look(|store| store.recoveries.len()), 1);
}

#[tokio::test]
async fn a_command_that_runs_at_the_end_of_the_process_is_accounted_for_by_the_next_one() {
    let model = model([
        Answer::new([Step::call("shell_exec", json!({ "command": "touch started; sleep 1000" }))]),
        Answer::new([Step::say("I see that it was stopped.")]),
    ]);
    let mut world = World::locked(model.clone()).await;
    world.hub.dispatch(order("sleep")).await;
    world.made("started").await;
    world.drone.signal(Signal::SIGTERM);
    assert!(world.drone.ended().await.0.success());
    world.start_drone(&[]);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(world.story(), ["calls: shell_exec", "says: I see that it was stopped."]);
    let call = world.hub.transcript().tool_calls.remove(0);
    assert!(call.is_error && call.unknown_outcome, "{call:?}");
    assert!(!call.response.contains("by the user"), "{}", call.response);
    assert_eq!(model.violations(), [""; 0]);
}

#[tokio::test]
async fn a_newer_attempt_takes_over_from_one_that_the_hub_has_given_up() {
    let answer = Answer::new([Step::say("Half, "), Step::Stall]).then([Step::say("Half, whole.")]);
    let world = World::locked(model([answer])).await;
    world.hub.dispatch(order("talk")).await;
    world.hub.until("text", |store| (!store.events.is_empty()).then_some(())).await;
    world.hub.send_again();
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(world.story(), ["says: Half, whole."]);
}

#[tokio::test]
async fn a_flood_of_output_waits_on_disk_while_the_hub_is_away_and_follows_in_order() {
    let flood = "touch started; until [ -e go ]; do sleep 0.01; done; seq 1 20000; touch done";
    let model = model([
        Answer::new([Step::call("shell_exec", json!({ "command": flood }))]),
        Answer::new([Step::say("Done.")]),
    ]);
    let mut world = World::locked(model).await;
    world.hub.dispatch(order("flood")).await;
    world.made("started").await;
    world.hub.kill().await;
    std::fs::write(world.project().join("go"), "").unwrap();
    world.made("done").await;
    world.hub.restart().await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(world.story(), ["calls: shell_exec", "says: Done."]);
    assert_eq!(world.hub.look(|store| store.doubled), 0);
}

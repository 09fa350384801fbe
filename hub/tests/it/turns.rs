//! A turn from prompt to end.

use protocol::value::ChatTurnStatus;
use serde_json::{Value, json};

use crate::world::eventually;
use crate::world::hub::{Hub, lock_args};

#[tokio::test]
async fn a_prompt_becomes_a_turn_that_is_stored_and_shown() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    let answer = ide.submit("say hello").await;
    assert_eq!(answer[0], true, "{answer:?}");
    let turn = answer[1]["turnId"].as_str().unwrap().to_owned();
    let run = drone.work().await;
    assert_eq!((run.prompt.as_str(), run.attempt, run.first_seq), ("say hello", 1, 1));
    drone.say("hel");
    drone.say("lo");
    drone.complete(ChatTurnStatus::Finished);
    let complete = ide.wait_for("workOrderComplete", |args| args[0] == turn.as_str()).await;
    assert_eq!((&complete[1], &complete[3]["status"]), (&json!(true), &json!("finished")));
    assert_eq!(ide.numbered()[..2], [(1, "hel".to_owned()), (2, "lo".to_owned())]);
    let stored = hub.app.store.full_turn(&run.turn).await.unwrap().unwrap();
    assert_eq!(stored.status, ChatTurnStatus::Finished);
    assert_eq!(serde_json::to_value(&stored.blocks).unwrap()[0]["content"], "hello");
    assert!(stored.stats.time_to_first_token_ms.is_some());
    drone.done().await;
}

#[tokio::test]
async fn the_next_prompt_is_taken_as_soon_as_the_turn_is_shown_to_be_done() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    for number in 0..5_usize {
        assert_eq!(ide.submit("again").await[0], true, "prompt {number}");
        eventually("the work order comes", async || (drone.work().await.context == number).then_some(()))
            .await;
        drone.say("done");
        drone.complete(ChatTurnStatus::Finished);
        eventually("the turn is over", async || {
            (ide.named("workOrderComplete").len() > number).then_some(())
        })
        .await;
        drone.done().await;
    }
    assert_eq!(ide.seqs(), (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_second_prompt_is_refused_while_a_turn_is_processing() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("one").await;
    drone.work().await;
    let answer = ide.submit("two").await;
    assert_eq!((&answer[0], &answer[1]["code"]), (&json!(false), &json!("busy")));
}

#[tokio::test]
async fn a_session_without_a_name_is_named_after_its_first_prompt() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, _drone) = hub.opened(&ann).await;
    ide.submit("Fix the login test. It fails on Mondays.").await;
    let update = ide.wait_for("sessionUpdated", |args| args[0]["name"].is_string()).await;
    assert_eq!(update[0], json!({ "_id": ann.session, "name": "Fix the login test" }));
}

#[tokio::test]
async fn an_abort_is_acked_and_then_completes_the_turn() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    let refused = ide.request("abortWorkOrder", &json!([])).await;
    assert_eq!(refused[0], false);
    ide.submit("count").await;
    let run = drone.work().await;
    drone.say("one");
    ide.wait_seq(1).await;
    assert_eq!(ide.request("abortWorkOrder", &json!([])).await[0], true);
    let complete = ide.wait_for("workOrderComplete", |_| true).await;
    assert_eq!((&complete[1], &complete[2]), (&json!(true), &json!("aborted")));
    let stored = hub.app.store.full_turn(&run.turn).await.unwrap().unwrap();
    assert_eq!((stored.status, stored.blocks.len()), (ChatTurnStatus::Aborted, 1));
}

#[tokio::test]
async fn a_prompt_is_held_until_the_drone_is_there_and_can_be_aborted_meanwhile() {
    let hub =
        Hub::start_with(|config| config.sessions.lock_wait = std::time::Duration::from_millis(50)).await;
    let ann = hub.person("ann").await;
    let ide = hub.ide(&ann).await;
    assert_eq!(ide.request("requestSessionLock", &lock_args(&ann)).await[0], true);
    assert_eq!(ide.submit("early").await[0], true);
    assert_eq!(ide.request("abortWorkOrder", &json!([])).await[0], true);
    let complete = ide.wait_for("workOrderComplete", |_| true).await;
    assert_eq!(complete[2], "aborted");
    assert_eq!(ide.submit("later").await[0], true);
    let drone = hub.drone(&ann.session).await;
    assert_eq!(drone.work().await.prompt, "later");
}

#[tokio::test]
async fn files_are_asked_of_the_drone_and_written_in_user_mode_alone() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, _drone) = hub.opened(&ann).await;
    let tree = ide.request("fileTreeRequest", &json!([{ "path": "src" }])).await;
    assert_eq!((&tree[0], &tree[1]["entries"][0]["name"]), (&json!(true), &json!("a")));
    let event = ide.wait_for("fileTreeResponse", |_| true).await;
    assert_eq!(event[0], "src");
    let read = ide.request("fileReadRequest", &json!([{ "path": "a" }])).await;
    assert_eq!(read[1]["content"], "text");
    let write = json!([{ "path": "a", "content": "b" }]);
    let refused = ide.request("fileWriteRequest", &write).await;
    assert_eq!((&refused[0], &refused[1]["code"]), (&json!(false), &json!("mode")));
    let mode = json!([null, null, ann.session, "user"]);
    assert_eq!(ide.request("requestWorkspaceMode", &mode).await, [json!(true), json!("user")]);
    ide.wait_for("workspaceModeChanged", |args| args[0] == "user").await;
    assert_eq!(ide.request("fileWriteRequest", &write).await[0], true);
    let prompt = ide.submit("no").await;
    assert_eq!((&prompt[0], &prompt[1]["code"]), (&json!(false), &json!("mode")));
}

#[tokio::test]
async fn what_a_drone_says_besides_its_turn_reaches_those_who_watch() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    drone.tell("status", &json!(["Cloning"])).await;
    drone.tell("log", &json!(["2026-01-02T03:04:05Z", "drone", "info", "words", { "a": 1 }])).await;
    ide.wait_for("status", |args| args[0] == "Cloning").await;
    let log = ide.wait_for("log", |_| true).await;
    assert_eq!(log, json!(["2026-01-02T03:04:05Z", "drone", "info", "words", { "a": 1 }]));
    let status = ide.wait_for("droneStatus", |args| args[0]["phase"] == "Busy").await;
    assert_eq!(status[0]["registrationId"], drone.id.as_str());
}

#[tokio::test]
async fn a_dead_drone_s_turn_goes_on_as_the_next_attempt_and_is_told() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("work").await;
    drone.work().await;
    drone.say("one");
    drone.stored().await;
    drone.die().await;
    ide.wait_for("status", |args| args[0].as_str().unwrap().contains("connection is lost")).await;
    drone.come_back(&hub.url);
    let run = drone.attempt(2).await;
    assert_eq!(run.first_seq, 2);
    assert_eq!(drone.recoveries()[0]["action"], "retry");
    drone.say("two");
    drone.complete(ChatTurnStatus::Finished);
    ide.wait_for("workOrderComplete", |args| args[1] == true).await;
    assert_eq!(ide.seqs(), [1, 2, 3]);
    ide.wait_for("droneStatus", |args| args[0]["reason"] == "ProcessRestarted").await;
}

#[tokio::test]
async fn a_drone_that_crashes_again_and_again_ends_the_turn_with_the_reason() {
    let hub = Hub::start_with(|config| config.sessions.retry = std::time::Duration::from_millis(20)).await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("work").await;
    for attempt in 1..=3 {
        drone.attempt(attempt).await;
        drone.die().await;
        drone.come_back(&hub.url);
    }
    let complete = ide.wait_for("workOrderComplete", |_| true).await;
    assert_eq!(complete[1], false);
    assert!(complete[2].as_str().unwrap().contains("3 times in a row"), "{complete}");
    eventually("the work order is discarded", async || {
        drone.recoveries().iter().any(|answer| answer["action"] == "discard").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_turn_ends_when_the_fleet_says_that_its_drone_cannot_come_back() {
    let hub = Hub::start_with(|config| config.sessions.lost = std::time::Duration::from_millis(100)).await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("work").await;
    drone.work().await;
    drone.die().await;
    hub.fleet.say(&drone.id, protocol::value::DronePhase::Failed, "it crashed too often");
    let complete = ide.wait_for("workOrderComplete", |_| true).await;
    assert_eq!((&complete[1], &complete[2]), (&json!(false), &json!("it crashed too often")));
    ide.wait_for("droneStatus", |args| args[0]["phase"] == "Failed").await;
}

#[tokio::test]
async fn a_prompt_that_no_model_can_take_is_refused_with_words() {
    let hub = Hub::start_with(|config| config.demo = hub::config::Demo::Off).await;
    let ann = hub.person("ann").await;
    let (ide, _drone) = hub.opened(&ann).await;
    let answer = ide.submit("hello").await;
    assert_eq!((&answer[0], &answer[1]["code"]), (&json!(false), &json!("no_model")));
    assert!(answer[1]["message"].as_str().is_some_and(|words| !words.is_empty()), "{}", Value::from(answer));
}

//! Tabs and drones: taken together, by one at a time, and free again.

use std::time::Duration;

use protocol::value::ChatTurnStatus;
use serde_json::json;

use crate::world::eventually;
use crate::world::hub::{Hub, lock_args};
use crate::world::ide::Ide;

#[tokio::test]
async fn a_session_is_open_in_one_tab_and_a_refused_tab_may_follow() {
    let hub = Hub::start_with(|config| config.sessions.probe = Duration::from_millis(100)).await;
    let ann = hub.person("ann").await;
    let (first, drone) = hub.opened(&ann).await;
    let second = hub.ide(&ann).await;
    let refused = second.request("requestSessionLock", &lock_args(&ann)).await;
    assert_eq!((&refused[0], &refused[2]["code"]), (&json!(false), &json!("tab_locked")));
    second.wait_for("tabLockDenied", |_| true).await;
    assert_eq!(second.submit("mine").await[1]["code"], "no_session");
    let follow = second.request("followSession", &json!([{ "chatSessionId": ann.session }])).await;
    assert_eq!(follow[0], true);
    first.submit("work").await;
    drone.work().await;
    drone.say("for both");
    second.wait_seq(1).await;
    first.wait_seq(1).await;
    let unfollow = second.request("unfollowSession", &json!([{ "chatSessionId": ann.session }])).await;
    assert_eq!(unfollow[0], true);
    drone.say("for the first");
    first.wait_seq(2).await;
    assert_eq!(second.seqs(), [1]);
}

#[tokio::test]
async fn a_tab_takes_over_and_the_other_stays_as_a_follower() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (first, drone) = hub.opened(&ann).await;
    let second = hub.ide(&ann).await;
    let mut args = lock_args(&ann);
    args.as_array_mut().unwrap().push(json!({ "takeOver": true }));
    assert_eq!(second.request("requestSessionLock", &args).await[0], true);
    first.wait_for("tabLockDenied", |_| true).await;
    assert_eq!(first.submit("mine").await[1]["code"], "no_session");
    assert_eq!(second.submit("mine").await[0], true);
    drone.work().await;
    drone.say("seen by both");
    first.wait_seq(1).await;
    second.wait_seq(1).await;
}

#[tokio::test]
async fn neither_lock_is_taken_when_the_drone_refuses() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let ide = hub.ide(&ann).await;
    let args = lock_args(&ann);
    let lock = ide.request("requestSessionLock", &args);
    let refuse = async {
        let drone = hub.drone(&ann.session).await;
        drone.refuse_lock();
        drone
    };
    let (answer, _drone) = tokio::join!(lock, refuse);
    assert_eq!((&answer[0], &answer[2]["code"]), (&json!(false), &json!("drone_locked")));
    assert_eq!(ide.submit("x").await[1]["code"], "no_session");
}

#[tokio::test]
async fn a_tab_without_a_heartbeat_lets_both_locks_go() {
    let hub = Hub::start_with(|config| config.sessions.heartbeat = Duration::from_millis(600)).await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(ide.request("sessionHeartbeat", &json!([])).await, [json!(true)]);
    }
    assert!(drone.is_locked());
    ide.wait_for("tabLockDenied", |_| true).await;
    eventually("the drone is free", async || (!drone.is_locked()).then_some(())).await;
    assert_eq!(ide.request("sessionHeartbeat", &json!([])).await, [json!(false)]);
    assert_eq!(ide.request("requestSessionLock", &lock_args(&ann)).await[0], true);
}

#[tokio::test]
async fn a_released_session_frees_its_drone() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    assert_eq!(ide.request("releaseSessionLock", &lock_args(&ann)).await[0], true);
    assert!(!drone.is_locked());
    let again = ide.request("releaseSessionLock", &lock_args(&ann)).await;
    assert_eq!((&again[0], &again[1]["code"]), (&json!(false), &json!("no_session")));
}

#[tokio::test]
async fn a_prompt_sent_right_behind_the_lock_request_is_taken() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let drone_of = hub.person("bob").await;
    assert_ne!(ann.user, drone_of.user);
    let (ide, drone) = hub.opened(&ann).await;
    let other = hub.session(&ann).await;
    let mut elsewhere = ann.clone();
    elsewhere.session = other.clone();
    let connection = ide.connection();
    let wait = Duration::from_secs(30);
    let lock = connection.emit_with_ack("requestSessionLock", &lock_args(&elsewhere), wait).await.unwrap();
    let prompt = connection.emit_with_ack("submitPrompt", &("go",), wait).await.unwrap();
    let second = hub.drone(&other).await;
    let (lock, prompt) = tokio::join!(lock.answer(), prompt.answer());
    let (locked,): (bool,) = lock.unwrap().parse().unwrap();
    assert!(locked);
    let answer: Vec<serde_json::Value> = prompt.unwrap().parse().unwrap();
    // The lock was not there yet when the prompt came; it is refused by the right session, and not by the old one.
    assert!(answer[0] == true || answer[1]["code"] == "no_session", "{answer:?}");
    assert_eq!(ide.submit("go").await[0] == true, answer[0] == false);
    second.work().await;
    assert!(drone.commands("processWorkOrder").is_empty());
}

#[tokio::test]
async fn a_new_tab_keeps_the_session_that_it_asks_for_though_another_one_s_turn_runs() {
    let hub = Hub::start_with(|config| config.sessions.probe = Duration::from_mins(1)).await;
    let ann = hub.person("ann").await;
    let (first, running) = hub.opened(&ann).await;
    first.submit("work").await;
    running.work().await;
    // It names no session: for all that the hub knows, it is the first tab that comes back.
    let second = hub.ide(&ann).await;
    first.wait_for("status", |said| said[0] == "This chat session was asked for in another tab").await;
    let mut elsewhere = ann.clone();
    elsewhere.session = hub.session(&ann).await;
    let args = lock_args(&elsewhere);
    let lock = second.request("requestSessionLock", &args);
    let (answer, drone) = tokio::join!(lock, hub.drone(&elsewhere.session));
    assert_eq!(answer[0], true, "{answer:?}");

    first.close().await;
    let third = hub.ide(&ann).await;
    third.wait_for("status", |said| said[0] == "Re-attached to the chat session whose turn is running").await;
    assert_eq!(second.submit("go").await[0], true);
    drone.work().await;
    drone.say("for the second");
    second.wait_seq(1).await;
    assert!(second.named("status").is_empty(), "{:?}", second.named("status"));
}

#[tokio::test]
async fn a_client_comes_back_to_its_running_turn_and_sees_what_it_missed() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("work").await;
    drone.work().await;
    drone.say("one");
    ide.wait_seq(1).await;
    ide.close().await;
    drone.say("two");
    drone.stored().await;
    // One that knows nothing of numbers goes on where the last tab left.
    let back = hub.ide(&ann).await;
    back.wait_for("status", |args| args[0].as_str().unwrap().contains("Re-attached")).await;
    drone.say("three");
    back.wait_seq(3).await;
    assert_eq!(back.numbered(), [(2, "two".to_owned()), (3, "three".to_owned())]);
    assert_eq!(back.submit("more").await[1]["code"], "busy", "session, drone and project are there");
    drone.complete(ChatTurnStatus::Finished);
    back.wait_seq(4).await;
    drone.done().await;
    assert_eq!(back.submit("more").await[0], true);
}

#[tokio::test]
async fn the_same_tab_takes_its_own_lock_from_its_dead_connection_at_once() {
    let hub = Hub::start_with(|config| config.sessions.probe = Duration::from_secs(30)).await;
    let ann = hub.person("ann").await;
    let auth = json!({ "token": ann.token, "tabId": "tab-1" });
    let old = Ide::connect(&hub.url, auth.clone()).await;
    let args = lock_args(&ann);
    let (answer, drone) = tokio::join!(old.request("requestSessionLock", &args), hub.drone(&ann.session));
    assert_eq!(answer[0], true);
    old.submit("work").await;
    drone.work().await;
    drone.say("one");
    old.wait_seq(1).await;
    let mut auth = auth;
    auth["lastSeq"] = json!({ ann.session.as_str(): 0 });
    let new = Ide::connect(&hub.url, auth).await;
    new.wait_seq(1).await;
    new.wait_for("status", |args| args[0].as_str().unwrap().contains("Re-attached")).await;
    let replayed = new.named("response");
    assert_eq!(replayed[0][1]["replay"], true);
}

#[tokio::test]
async fn each_missed_event_is_replayed_once_and_in_order() {
    let hub = Hub::start_with(|config| {
        config.sessions.ring_events = 8;
        config.sessions.page = 16;
    })
    .await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("work").await;
    drone.work().await;
    for number in 1..=200 {
        drone.say(&number.to_string());
    }
    drone.stored().await;
    let other = hub.ide(&ann).await;
    let follow = json!([{ "chatSessionId": ann.session, "lastSeq": 20 }]);
    let answer = other.request("resume", &follow).await;
    assert_eq!((&answer[0], &answer[1]["fromSeq"]), (&json!(true), &json!(21)));
    for number in 201..=300 {
        drone.say(&number.to_string());
    }
    other.wait_seq(300).await;
    assert_eq!(other.seqs(), (21..=300).collect::<Vec<_>>());
}

//! Drones over REST: listed, started, stopped by a person, and looked into.

use std::time::Duration;

use serde_json::json;

use crate::world::drone::FakeDrone;
use crate::world::eventually;
use crate::world::hub::{Hub, lock_args};

#[tokio::test]
async fn drones_are_listed_as_they_are_now() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (_ide, drone) = hub.opened(&ann).await;
    let (status, list) = hub.rest("GET", "/drones", &ann.token, None).await;
    assert_eq!(status, 200);
    let item = &list["items"][0];
    assert_eq!(
        (&item["_id"], &item["status"], &item["chatSessionId"]),
        (&json!(drone.id), &json!("busy"), &json!(ann.session))
    );
    let (status, state) = hub.rest("GET", &format!("/drones/{}/workspace", drone.id), &ann.token, None).await;
    assert_eq!((status, &state["workspaceId"]), (200, &json!("w")));
}

#[tokio::test]
async fn a_person_starts_a_drone_without_a_session_and_picks_it_for_one() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (status, made) = hub.rest("POST", "/drones", &ann.token, Some(json!({}))).await;
    assert_eq!(status, 201, "{made}");
    let drone = FakeDrone::start(&hub.url, made["_id"].as_str().unwrap().into());
    drone.welcomed().await;
    let available = async || {
        let (_, list) = hub.rest("GET", "/drones", &ann.token, None).await;
        (list["items"][0]["status"] == "available").then_some(())
    };
    eventually("it is available", available).await;
    let ide = hub.ide(&ann).await;
    let mut args = lock_args(&ann);
    args[0] = json!({ "_id": drone.id, "user": "somebody else, who cares" });
    let answer = ide.request("requestSessionLock", &args).await;
    assert_eq!(answer[0], true, "{answer:?}");
    assert_eq!(ide.submit("work").await[0], true);
    drone.work().await;
}

#[tokio::test]
async fn a_drone_works_for_one_session_at_a_time() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (_ide, drone) = hub.opened(&ann).await;
    let mut other = ann.clone();
    other.session = hub.session(&ann).await;
    let mut args = lock_args(&other);
    args[0] = json!(drone.id);
    let answer = hub.ide(&ann).await.request("requestSessionLock", &args).await;
    assert_eq!((&answer[0], &answer[2]["code"]), (&json!(false), &json!("drone_locked")));
}

#[tokio::test]
async fn a_terminated_drone_was_asked_is_offline_and_stays_so_until_resumed() {
    let hub = Hub::start_with(|config| config.sessions.lost = Duration::from_millis(100)).await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("work").await;
    drone.work().await;
    let path = |action: &str| format!("/drone/registration/{}/{action}", drone.id);
    let (status, body) = hub.rest("POST", &path("terminate"), &ann.token, None).await;
    assert_eq!((status, &body["status"]), (200, &json!("offline")), "{body}");
    drone.die().await;
    assert_eq!(drone.commands("requestTermination").len(), 1);
    let complete = ide.wait_for("workOrderComplete", |_| true).await;
    assert_eq!(complete[1], false, "its turn does not wait for ever");
    let (status, problem) = hub.rest("POST", &path("terminate"), &ann.token, None).await;
    assert_eq!((status, &problem["code"]), (409, &json!("conflict")));
    assert_eq!(ide.submit("again").await[1]["code"], "suspended");
    assert!(!hub.fleet.is_running(&drone.id));
    let (status, _) = hub.rest("POST", &path("resume"), &ann.token, None).await;
    assert_eq!(status, 200);
    drone.come_back(&hub.url);
    drone.locked().await;
    assert_eq!(ide.submit("again").await[0], true);
}

#[tokio::test]
async fn a_drone_that_does_not_answer_is_offline_all_the_same() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (_ide, drone) = hub.opened(&ann).await;
    drone.be_silent();
    let path = format!("/drone/registration/{}/terminate", drone.id);
    let (status, body) = hub.rest("POST", &path, &ann.token, None).await;
    assert_eq!((status, &body["status"]), (200, &json!("offline")), "{body}");
}

#[tokio::test]
async fn an_idle_drone_is_suspended_and_the_next_prompt_wakes_it() {
    let hub = Hub::start_with(|config| config.sessions.idle = Duration::from_millis(300)).await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    eventually("it is suspended", async || (!hub.fleet.is_running(&drone.id)).then_some(())).await;
    ide.wait_for("droneStatus", |args| args[0]["phase"] == "Suspended").await;
    drone.die().await;
    assert_eq!(ide.submit("wake up").await[0], true);
    eventually("it is started again", async || hub.fleet.is_running(&drone.id).then_some(())).await;
    assert_eq!(hub.fleet.starts(&drone.id), 2);
    drone.come_back(&hub.url);
    assert_eq!(drone.work().await.prompt, "wake up");
}

#[tokio::test]
async fn a_session_s_metrics_add_up_its_turns() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("work").await;
    drone.work().await;
    let usage = protocol::event::Usage {
        input_tokens: 7,
        output_tokens: 5,
        thinking_tokens: 2,
        ..Default::default()
    };
    drone.say("text");
    drone.emit(protocol::event::TurnEvent::Usage(usage));
    drone.complete(protocol::value::ChatTurnStatus::Finished);
    ide.wait_for("workOrderComplete", |_| true).await;
    let (status, metrics) =
        hub.rest("GET", &format!("/sessions/{}/metrics", ann.session), &ann.token, None).await;
    assert_eq!(status, 200, "{metrics}");
    assert_eq!(metrics["turns"]["finished"], 1);
    assert_eq!((&metrics["tokens"]["input"], &metrics["tokens"]["output"]), (&json!(7), &json!(5)));
    assert!(metrics["timeToFirstTokenMs"]["median"].is_u64(), "{metrics}");
}

#[tokio::test]
async fn a_drone_that_nobody_takes_is_suspended_after_the_same_time() {
    let hub = Hub::start_with(|config| config.sessions.idle = Duration::from_millis(300)).await;
    let ann = hub.person("ann").await;
    let (_, made) = hub.rest("POST", "/drones", &ann.token, Some(json!({}))).await;
    let drone = FakeDrone::start(&hub.url, made["_id"].as_str().unwrap().into());
    drone.welcomed().await;
    eventually("it is suspended", async || (!hub.fleet.is_running(&drone.id)).then_some(())).await;
}

//! Malformed, oversized, unknown and too many events: answered, each in its own shape, and nobody else is harmed.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::hub::Hub;

#[tokio::test]
async fn malformed_and_unknown_events_are_answered_in_the_event_s_own_shape() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, _drone) = hub.opened(&ann).await;
    let code = |answer: &[Value]| -> String {
        let found = answer.iter().find_map(|arg| arg["code"].as_str());
        found.unwrap_or("none").to_owned()
    };
    for (event, args, expected) in [
        ("requestSessionLock", json!([]), "invalid"),
        ("requestSessionLock", json!([1, 2, 3]), "invalid"),
        ("submitPrompt", json!([{ "not": "text" }]), "invalid"),
        ("submitPrompt", json!(["  "]), "invalid"),
        ("fileReadRequest", json!([{}]), "invalid"),
        ("fileTreeRequest", json!(["x"]), "invalid"),
        ("resume", json!([{ "chatSessionId": ann.session, "lastSeq": -1 }]), "invalid"),
        ("authRefresh", json!([]), "invalid"),
        ("dropTables", json!(["please"]), "unknown_event"),
        ("processWorkOrder", json!([]), "unknown_event"),
        ("submitPrompt", json!(["x".repeat(300 * 1024)]), "too_large"),
        ("submitPrompt", json!(["x".repeat(2 * 1024 * 1024)]), "too_large"),
    ] {
        let answer = ide.request(event, &args).await;
        assert_eq!((&answer[0], code(&answer).as_str()), (&json!(false), expected), "{event}: {answer:?}");
    }
    let mode = ide.request("requestWorkspaceMode", &json!([null, null, null, "root"])).await;
    assert_eq!(mode[0], false);
    assert!(mode[2].as_str().unwrap().contains("one of idle, user, agent"));
    assert_eq!(ide.request("sessionHeartbeat", &json!([])).await, [json!(true)], "the session is untouched");
    assert_eq!(ide.connects(), 1, "and so is the connection");
}

#[tokio::test]
async fn a_user_has_so_many_prompts_a_minute() {
    let hub = Hub::start_with(|config| config.limits.prompts_per_minute = 2).await;
    let ann = hub.person("ann").await;
    let (ide, _drone) = hub.opened(&ann).await;
    assert_eq!(ide.submit("one").await[0], true);
    assert_eq!(ide.submit("two").await[1]["code"], "busy");
    assert_eq!(ide.submit("three").await[1]["code"], "rate_limited");
    let bob = hub.person("bob").await;
    let (other, _drone) = hub.opened(&bob).await;
    assert_eq!(other.submit("one").await[0], true, "another user is not harmed");
}

#[tokio::test]
async fn a_flood_of_requests_is_answered_and_slowed() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, _drone) = hub.opened(&ann).await;
    let connection = ide.connection();
    let mut waiting = Vec::new();
    for _ in 0..400 {
        waiting.push(
            connection.emit_with_ack("fileTreeRequest", &json!([]), Duration::from_secs(30)).await.unwrap(),
        );
    }
    let mut limited = 0;
    for ack in waiting {
        let answer: Vec<Value> = ack.answer().await.unwrap().parse().unwrap();
        if answer[0] == false {
            assert_eq!(answer[1]["code"], "rate_limited", "{answer:?}");
            limited += 1;
        }
    }
    assert!(limited > 0, "nothing slowed it");
    assert_eq!(ide.connects(), 1);
}

#[tokio::test]
async fn a_drone_s_bad_events_are_refused_and_its_good_ones_taken() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("work").await;
    let run = drone.work().await;
    let generation = drone.welcomed().await.generation;
    let meta = |seq: u64, attempt: u32, generation: u64| json!({ "turnId": run.turn, "attempt": attempt, "generation": generation, "seq": seq });
    for (event, args, code) in [
        ("response", json!(["no meta"]), "invalid"),
        ("response", json!([]), "invalid"),
        ("response", json!(["a", "b", meta(1, 1, generation)]), "invalid"),
        ("response", json!(["ahead", meta(5, 1, generation)]), "conflict"),
        ("response", json!(["old attempt", meta(1, 0, generation)]), "superseded"),
        ("response", json!(["old generation", meta(1, 1, 0)]), "superseded"),
        ("toolCall", json!([1, 2, 3, 4, meta(1, 1, generation)]), "invalid"),
        ("somethingElse", json!([meta(1, 1, generation)]), "unknown_event"),
        ("hello", json!([{ "workspaceId": 7 }]), "invalid"),
    ] {
        let answer = drone.raw(event, &args).await;
        assert_eq!((&answer[0], answer[1]["code"].as_str()), (&json!(false), Some(code)), "{event} {args}");
    }
    drone.say("good");
    ide.wait_seq(1).await;
    let again = drone.raw("response", &json!(["sent again", meta(1, 1, generation)])).await;
    assert_eq!(again[0], true, "a number that is stored is acked and ignored");
    assert_eq!(ide.numbered(), [(1, "good".to_owned())]);
}

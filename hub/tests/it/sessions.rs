//! Sessions that go, and connections that go from one to another.

use serde_json::json;

use crate::world::eventually;
use crate::world::hub::{Hub, Person, lock_args};

/// The same person, with another chat session.
async fn with_another_session(hub: &Hub, person: &Person) -> Person {
    Person { session: hub.session(person).await, ..person.clone() }
}

#[tokio::test]
async fn a_deleted_session_is_gone_for_those_who_have_it_open() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    let path = format!("/chat-sessions/{}", ann.session);
    assert_eq!(hub.rest("DELETE", &path, &ann.token, None).await.0, 204);
    let locked = ide.request("requestSessionLock", &lock_args(&ann)).await;
    assert_eq!((&locked[0], &locked[2]["code"]), (&json!(false), &json!("not_found")));
    let code = ide.submit("anybody there?").await[1]["code"].clone();
    assert!(code == "no_session" || code == "not_found", "{code}");
    eventually("its drone is ended", async || (!hub.fleet.is_running(&drone.id)).then_some(())).await;
    eventually("nothing of it is left", async || {
        let (_, list) = hub.rest("GET", "/drones", &ann.token, None).await;
        (list["items"] == json!([])).then_some(())
    })
    .await;
    assert_eq!(hub.fleet.drone_of(&ann.session), None, "no other drone was started for it");
}

#[tokio::test]
async fn a_tab_whose_wish_for_another_session_is_refused_stays_where_it_was() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("work").await;
    drone.work().await;
    let mut elsewhere = lock_args(&with_another_session(&hub, &ann).await);
    elsewhere[1] = json!({ "_id": "another project" });
    let eve = hub.person("eve").await;
    for args in [elsewhere, lock_args(&eve)] {
        let refused = ide.request("requestSessionLock", &args).await;
        assert_eq!((&refused[0], &refused[2]["code"]), (&json!(false), &json!("not_found")));
        assert_eq!(ide.request("sessionHeartbeat", &json!([])).await, [json!(true)]);
        assert_eq!(ide.submit("more").await[1]["code"], "busy", "the prompt is for the session that it has");
    }
    assert_eq!(ide.request("abortWorkOrder", &json!([])).await[0], true);
    ide.wait_for("workOrderComplete", |args| args[2] == "aborted").await;
}

#[tokio::test]
async fn one_connection_may_look_at_any_number_of_sessions_one_after_another() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let ide = hub.ide(&ann).await;
    for _ in 0..70 {
        let next = with_another_session(&hub, &ann).await;
        let session = json!([{ "chatSessionId": next.session }]);
        assert_eq!(ide.request("followSession", &session).await[0], true);
        assert_eq!(ide.request("unfollowSession", &session).await[0], true);
    }
    for _ in 0..60 {
        let next = with_another_session(&hub, &ann).await;
        assert_eq!(ide.request("followSession", &json!([{ "chatSessionId": next.session }])).await[0], true);
    }
    let full = async || {
        let next = with_another_session(&hub, &ann).await;
        ide.request("followSession", &json!([{ "chatSessionId": next.session }])).await
    };
    for _ in 60..64 {
        assert_eq!(full().await[0], true);
    }
    assert_eq!(full().await[1]["code"], "rate_limited", "so many at a time and no more");
}

#[tokio::test]
async fn a_drone_that_is_named_takes_the_place_of_the_session_s_own_or_nothing_changes() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, own) = hub.opened(&ann).await;
    let other = with_another_session(&hub, &ann).await;
    let (_other_ide, busy) = hub.opened(&other).await;
    let eve = hub.person("eve").await;
    let (_eve_ide, foreign) = hub.opened(&eve).await;
    let mut args = lock_args(&ann);
    for (drone, code) in
        [("nobody's", "not_found"), (foreign.id.as_str(), "not_found"), (busy.id.as_str(), "drone_locked")]
    {
        args[0] = json!(drone);
        let refused = ide.request("requestSessionLock", &args).await;
        assert_eq!((&refused[0], &refused[2]["code"]), (&json!(false), &json!(code)), "{drone}");
    }
    assert!(own.is_locked() && hub.fleet.is_running(&own.id));
    assert_eq!(ide.submit("work").await[0], true);
    own.work().await;
    own.complete(protocol::value::ChatTurnStatus::Finished);
    own.done().await;
    ide.wait_for("workOrderComplete", |_| true).await;
    let (_, made) = hub.rest("POST", "/drones", &ann.token, Some(json!({}))).await;
    let free = crate::world::drone::FakeDrone::start(&hub.url, made["_id"].as_str().unwrap().into());
    free.welcomed().await;
    args[0] = json!(free.id);
    let answer = ide.request("requestSessionLock", &args).await;
    assert_eq!((&answer[0], &answer[2]["registration"]["_id"]), (&json!(true), &json!(free.id)));
    eventually("the one before is let go", async || {
        (!own.is_locked() && !hub.fleet.is_running(&own.id)).then_some(())
    })
    .await;
    assert_eq!(ide.submit("more").await[0], true);
    free.work().await;
}

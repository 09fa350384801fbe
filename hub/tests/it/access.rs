//! Who gets in, and what they reach.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::world::drone::FakeDrone;
use crate::world::eventually;
use crate::world::fleet::TestFleet;
use crate::world::hub::{Hub, lock_args};
use crate::world::ide::Ide;

#[tokio::test]
async fn wrong_missing_and_foreign_tokens_are_refused_with_a_code() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (_ide, drone) = hub.opened(&ann).await;
    let session_token = drone.welcomed().await.session_token;
    let session_token = match session_token {
        Some(token) => token,
        None => eventually("a session token", async || drone.welcomed().await.session_token).await,
    };
    for (auth, code) in [
        (json!({ "token": "nonsense" }), "unauthorized"),
        (json!({}), "unauthorized"),
        (json!({ "token": 7 }), "protocol"),
        (json!({ "token": session_token }), "unauthorized"),
        (json!({ "token": ann.token.replace('.', "x") }), "unauthorized"),
        (json!({ "registrationId": drone.id, "token": ann.token }), "unauthorized"),
        (json!({ "registrationId": drone.id, "token": "stolen from another" }), "unauthorized"),
        (json!({ "registrationId": "nobody", "token": "x" }), "unauthorized"),
        (json!({ "registrationId": 1, "token": "x" }), "protocol"),
    ] {
        let refused = Ide::begin(&hub.url, auth.clone()).refused().await;
        assert!(refused.contains(&format!("code: {code:?}")), "{auth}: {refused}");
    }
}

#[tokio::test]
async fn nothing_of_another_user_is_reachable_by_any_id() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let eve = hub.person("eve").await;
    let (_ide, drone) = hub.opened(&ann).await;
    let ide = hub.ide(&eve).await;
    let (session, own) = (&ann.session, &eve.session);
    for (event, args) in [
        ("requestSessionLock", json!([null, ann.project, session])),
        ("requestSessionLock", json!([null, null, session, { "takeOver": true }])),
        ("requestSessionLock", json!([drone.id, null, own])),
        ("requestSessionLock", json!([null, ann.project, own])),
        ("releaseSessionLock", json!([null, null, session])),
        ("requestWorkspaceMode", json!([null, null, session, "user"])),
        ("resume", json!([{ "chatSessionId": session, "lastSeq": 0 }])),
        ("followSession", json!([{ "chatSessionId": session }])),
        ("unfollowSession", json!([{ "chatSessionId": session }])),
    ] {
        let answer = Value::from(ide.request(event, &args).await);
        assert_eq!(answer[0], false, "{event} {args}: {answer}");
        let text = answer.to_string();
        let told = ["not_found", "no_session", "holds no chat session", "holds another chat session"]
            .iter()
            .any(|words| text.contains(words));
        assert!(told, "{event} {args}: {text}");
    }
    for path in ["", "/workspace"] {
        let (status, _) = hub.rest("GET", &format!("/drones/{}{path}", drone.id), &eve.token, None).await;
        assert!([404, 405].contains(&status), "{status}");
    }
    for action in ["terminate", "suspend", "resume"] {
        let path = format!("/drone/registration/{}/{action}", drone.id);
        assert_eq!(hub.rest("POST", &path, &eve.token, None).await.0, 404, "{action}");
    }
    assert_eq!(hub.rest("GET", &format!("/sessions/{session}/metrics"), &eve.token, None).await.0, 404);
    let (_, list) = hub.rest("GET", "/drones", &eve.token, None).await;
    assert_eq!(list["items"], json!([]));
    assert!(drone.is_locked());
}

#[tokio::test]
async fn a_drone_cannot_speak_for_another_session_s_turn() {
    let hub = Hub::start().await;
    let (ann, eve) = (hub.person("ann").await, hub.person("eve").await);
    let (ide, drone) = hub.opened(&ann).await;
    let (_eve_ide, eve_drone) = hub.opened(&eve).await;
    ide.submit("work").await;
    let run = drone.work().await;
    let meta = json!({ "turnId": run.turn, "attempt": 1, "generation": 1, "seq": 1 });
    let answer = eve_drone.raw("response", &json!(["forged", meta])).await;
    assert_eq!((&answer[0], &answer[1]["code"]), (&json!(false), &json!("no_turn")));
    let recovery =
        json!([{ "workspaceId": "w", "turnId": run.turn, "chatSessionId": ann.session, "progress": 1 }]);
    eve_drone.tell("requestCrashRecovery", &recovery).await;
    eventually("the foreign work order is not wanted", async || {
        eve_drone.recoveries().iter().any(|answer| answer["action"] == "discard").then_some(())
    })
    .await;
    drone.say("true");
    ide.wait_seq(1).await;
    assert_eq!(ide.numbered(), [(1, "true".to_owned())]);
}

#[tokio::test]
async fn a_newer_connection_of_a_drone_shuts_out_the_older() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, first) = hub.opened(&ann).await;
    let before = first.welcomed().await.generation;
    first.die().await;
    let twin = FakeDrone::start_with(&hub.url, first.id.clone(), TestFleet::token(&first.id));
    assert!(twin.welcomed().await.generation > before);
    twin.locked().await;
    ide.submit("work").await;
    twin.work().await;
}

#[tokio::test]
async fn a_token_that_expires_is_warned_of_renewed_or_ends_the_connection() {
    let hub = Hub::start_with(|config| config.token_life = Duration::from_mins(1)).await;
    let ann = hub.person("ann").await;
    let token = Arc::new(Mutex::new(ann.token.clone()));
    let ide = Ide::begin_with(&hub.url, {
        let token = Arc::clone(&token);
        move || json!({ "token": *token.lock() })
    });
    ide.connected(1).await;
    let warning = ide.wait_for("authExpiring", |_| true).await;
    assert!(warning[0]["expiresAt"].is_string());
    let record = hub.app.store.user(&ann.user).await.unwrap().unwrap();
    let fresh = hub.app.auth.issue(&record.user).unwrap().token;
    let answer = ide.request("authRefresh", &json!([{ "token": fresh }])).await;
    assert_eq!(answer[0], true);
    let eve = hub.person("eve").await;
    let stolen = ide.request("authRefresh", &json!([{ "token": eve.token }])).await;
    assert_eq!((&stolen[0], &stolen[1]["code"]), (&json!(false), &json!("forbidden")));
    let wrong = ide.request("authRefresh", &json!([{ "token": "x" }])).await;
    assert_eq!(wrong[1]["code"], "unauthorized");
}

#[tokio::test]
async fn pages_of_strangers_are_turned_away_before_anything_is_made_for_them() {
    let hub = Hub::start().await;
    let http = reqwest::Client::new();
    let ask = |origin: &'static str, query: &'static str| {
        let url = format!("{}/socket.io/?EIO=4&transport={query}", hub.url);
        http.get(url).header("origin", origin).send()
    };
    assert_eq!(ask("http://evil.example", "polling").await.unwrap().status(), 403);
    assert_eq!(ask("http://evil.example", "websocket").await.unwrap().status(), 403);
    assert_eq!(ask("null", "polling").await.unwrap().status(), 403);
    let own: &'static str = Box::leak(hub.url.clone().into_boxed_str());
    assert_eq!(ask(own, "polling").await.unwrap().status(), 200);
}

#[tokio::test]
async fn one_account_has_a_bounded_number_of_connections() {
    let hub = Hub::start_with(|config| config.sockets.per_user = 2).await;
    let ann = hub.person("ann").await;
    let (first, _second) = (hub.ide(&ann).await, hub.ide(&ann).await);
    let third = Ide::begin(&hub.url, json!({ "token": ann.token }));
    eventually("the third is refused", async || {
        let text = hub.app.metrics.encode().unwrap();
        text.contains("gadget_connects_refused_total 1").then_some(())
    })
    .await;
    first.close().await;
    third.connected(1).await;
    let ide = hub.person("bob").await;
    hub.ide(&ide).await.request("requestSessionLock", &lock_args(&ann)).await;
}

#[tokio::test]
async fn whoever_is_signed_out_or_disabled_is_cut_off_at_once() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let record = hub.app.store.user(&ann.user).await.unwrap().unwrap();
    let elsewhere = hub.app.auth.issue(&record.user).unwrap().token;
    let here = Ide::connect(&hub.url, json!({ "token": ann.token })).await;
    let there = Ide::connect(&hub.url, json!({ "token": elsewhere })).await;
    assert_eq!(hub.rest("POST", "/auth/sign-out", &ann.token, None).await.0, 204);
    assert!(here.refused().await.contains("unauthorized"), "it came back with a token that is good no more");
    there.request("sessionHeartbeat", &json!([])).await;
    assert_eq!(there.connects(), 1, "another sign-in of the same user is not harmed");
    let admin = hub.admin().await;
    let path = format!("/users/{}", ann.user);
    let (status, _) = hub.rest("PATCH", &path, &admin, Some(json!({ "disabled": true }))).await;
    assert_eq!(status, 200);
    assert!(there.refused().await.contains("unauthorized"));
}

#[tokio::test]
async fn a_new_password_and_a_sign_out_by_an_administrator_end_open_connections() {
    let hub = Hub::start().await;
    let admin = hub.admin().await;
    for (name, method, path, body) in [
        ("ann", "PATCH", "", Some(json!({ "password": "a new and long one" }))),
        ("bob", "POST", "/sign-out", None),
    ] {
        let person = hub.person(name).await;
        let ide = hub.ide(&person).await;
        let (status, _) = hub.rest(method, &format!("/users/{}{path}", person.user), &admin, body).await;
        assert!([200, 204].contains(&status), "{status}");
        assert!(ide.refused().await.contains("unauthorized"), "{name}");
    }
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_token() {
    let hub = Hub::start_with(|config| config.sockets.expiry_grace = Duration::ZERO).await;
    let ann = hub.person("ann").await;
    let record = hub.app.store.user(&ann.user).await.unwrap().unwrap();
    // A token's end is a whole second: of one second hardly anything may be left.
    let short = hub.app.auth.issue_for(&record.user, Duration::from_secs(3)).unwrap().token;
    let ide = Ide::connect(&hub.url, json!({ "token": short })).await;
    eventually("the connection is ended", async || (ide.connects() > 1 || ide.is_refused()).then_some(()))
        .await;
}

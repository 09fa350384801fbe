use http::{Method, StatusCode};
use hub::auth::account::Role;
use hub::auth::invite;
use serde_json::json;

use crate::fixture::{Hub, PASSWORD};

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_answered_alike() {
    let hub = Hub::new().await;
    let _ada = hub.person("ada", vec![]).await;
    let wrong = hub.sign_in("ada@example.org", "not this one").await;
    let unknown = hub.sign_in("nobody@example.org", PASSWORD).await;
    assert_eq!(wrong.refusal(), (401, "unauthorized"));
    assert_eq!(wrong.text, unknown.text);
}

#[tokio::test]
async fn too_many_failures_are_stopped_with_the_time_to_wait() {
    let hub = Hub::with(|config| config.limits.sign_in_failures = 2).await;
    for _ in 0..2 {
        assert_eq!(hub.sign_in("ada@example.org", "x").await.refusal(), (401, "unauthorized"));
    }
    assert_eq!(hub.sign_in("ada@example.org", "x").await.refusal(), (429, "rate_limited"));
}

#[tokio::test]
async fn without_a_good_token_nothing_is_answered() {
    let hub = Hub::new().await;
    for path in
        ["/me", "/projects", "/chat-sessions", "/chat-sessions/x/turns", "/models", "/users", "/preferences"]
    {
        let path = format!("/api/v1{path}");
        for token in [None, Some(""), Some("nonsense"), Some("a.b.c")] {
            assert_eq!(
                hub.ask(Method::GET, &path, token, None).await.refusal(),
                (401, "unauthorized"),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn a_token_is_worthless_after_sign_out_and_a_renewed_one_is_not() {
    let hub = Hub::new().await;
    let ada = hub.person("ada", vec![]).await;
    let renewed = ada.post("/auth/renew-token", json!(null)).await;
    assert_eq!(renewed.body["success"], true);
    let token = renewed.body["token"].as_str().unwrap();
    assert_eq!(ada.post("/auth/sign-out", json!(null)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(ada.get("/me").await.refusal(), (401, "unauthorized"));
    let me = hub.ask(Method::GET, "/api/v1/me", Some(token), None).await;
    assert_eq!(me.body["handle"], "ada");
}

#[tokio::test]
async fn accounts_are_an_administrators_matter() {
    let hub = Hub::new().await;
    let admin = hub.person("root", vec![Role::Admin]).await;
    let ada = hub.person("ada", vec![]).await;
    assert_eq!(ada.get("/users").await.refusal(), (403, "forbidden"));
    assert_eq!(ada.get("/audit").await.refusal(), (403, "forbidden"));

    let new = json!({ "email": "bob@example.org", "password": PASSWORD });
    let bob = admin.make("/users", new.clone()).await;
    assert_eq!(admin.post("/users", new).await.refusal(), (409, "conflict"));
    assert_eq!(hub.sign_in("bob@example.org", PASSWORD).await.status, StatusCode::OK);

    let disable = admin.ask(Method::PATCH, &format!("/users/{bob}"), Some(json!({ "disabled": true }))).await;
    assert_eq!(disable.status, StatusCode::OK);
    assert_eq!(hub.sign_in("bob@example.org", PASSWORD).await.refusal(), (401, "unauthorized"));
    let audit = admin.get("/audit").await;
    let actions: Vec<_> =
        audit.body["items"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["user.change", "user.create"]);
}

#[tokio::test]
async fn a_new_password_signs_the_user_out_everywhere() {
    let hub = Hub::new().await;
    let admin = hub.person("root", vec![Role::Admin]).await;
    let ada = hub.person("ada", vec![]).await;
    let id = ada.get("/me").await.body["_id"].as_str().unwrap().to_owned();
    let change = json!({ "password": "another long password" });
    assert_eq!(admin.ask(Method::PATCH, &format!("/users/{id}"), Some(change)).await.status, StatusCode::OK);
    assert_eq!(ada.get("/me").await.refusal(), (401, "unauthorized"));
    assert_eq!(hub.sign_in("ada@example.org", "another long password").await.status, StatusCode::OK);
}

#[tokio::test]
async fn nobody_locks_the_last_door_behind_themselves() {
    let hub = Hub::new().await;
    let admin = hub.person("root", vec![Role::Admin]).await;
    let id = admin.get("/me").await.body["_id"].as_str().unwrap().to_owned();
    for change in [json!({ "disabled": true }), json!({ "roles": ["member"] })] {
        let answer = admin.ask(Method::PATCH, &format!("/users/{id}"), Some(change)).await;
        assert_eq!(answer.refusal(), (422, "invalid"));
    }
}

#[tokio::test]
async fn an_invitation_signs_in_who_is_there_makes_who_is_not_and_lets_no_disabled_account_in() {
    let hub = Hub::new().await;
    let admin = hub.person("root", vec![Role::Admin]).await;
    let redeem = async |account: &str| {
        let code = invite::issue(&hub.app.config.data_dir, account, jiff::Timestamp::now()).unwrap();
        hub.ask(Method::POST, "/api/v1/auth/redeem", None, Some(json!({ "invite": code }))).await
    };
    let made = redeem("Ada@example.org").await;
    assert_eq!(made.body["user"]["roles"], json!(["member"]), "{}", made.text);
    let again = redeem("ada@example.org").await;
    assert_eq!(again.body["user"]["_id"], made.body["user"]["_id"]);
    let user = format!("/users/{}", made.body["user"]["_id"].as_str().unwrap());
    let disabled = admin.ask(Method::PATCH, &user, Some(json!({ "disabled": true }))).await;
    assert_eq!(disabled.status, StatusCode::OK, "{}", disabled.text);
    assert_eq!(redeem("ada@example.org").await.status, StatusCode::FORBIDDEN);
    let wrong = hub.ask(Method::POST, "/api/v1/auth/redeem", None, Some(json!({ "invite": "0" }))).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
}

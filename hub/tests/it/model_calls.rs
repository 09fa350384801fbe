//! What a drone reaches of models and of git through the hub, and what it does not.

use std::time::Duration;

use hub::config::{ModelChoice, ProviderSetting};
use hub::store::ProviderKey;
use protocol::value::{ChatTurnStatus, Sdk};
use serde_json::{Value, json};

use crate::world::drone::FakeDrone;
use crate::world::eventually;
use crate::world::hub::Hub;

async fn post(hub: &Hub, path: &str, token: &str, body: &Value) -> (u16, Value) {
    let request = reqwest::Client::new().post(format!("{}/internal/{path}", hub.url)).bearer_auth(token);
    let response = request.json(body).timeout(Duration::from_mins(1)).send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn session_token(drone: &FakeDrone) -> String {
    eventually("a session token", async || drone.welcomed().await.session_token).await
}

fn call(model: &str) -> Value {
    json!({ "model": model, "stream": true, "messages": [{ "role": "user", "content": "list files" }] })
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_drone_calls_the_model_of_its_running_turn_and_no_other() {
    const PATH: &str = "model/demo/chat/completions";
    let hub = Hub::start().await;
    let (ann, eve) = (hub.person("ann").await, hub.person("eve").await);
    let (ide, drone) = hub.opened(&ann).await;
    let (_eve_ide, foreign) = hub.opened(&eve).await;
    let (token, foreign) = (session_token(&drone).await, session_token(&foreign).await);
    assert_eq!(post(&hub, PATH, &token, &call("tour")).await.0, 403, "no turn is running");
    ide.submit("list files").await;
    let run = drone.work().await;
    let model = hub.app.store.turn(&run.turn).await.unwrap().unwrap().model.model;
    let (status, answer) = post(&hub, PATH, &token, &call(&model)).await;
    assert_eq!(status, 200, "{answer}");
    for (path, token, body, expected) in [
        (PATH, foreign.as_str(), call(&model), (403, "forbidden")),
        (PATH, ann.token.as_str(), call(&model), (401, "unauthorized")),
        (PATH, "nonsense", call(&model), (401, "unauthorized")),
        (PATH, token.as_str(), call("another"), (403, "forbidden")),
        ("model/other/chat/completions", token.as_str(), call(&model), (403, "forbidden")),
        ("model/demo/files", token.as_str(), call(&model), (403, "forbidden")),
        (PATH, token.as_str(), json!([]), (400, "invalid")),
    ] {
        let (status, answer) = post(&hub, path, token, &body).await;
        assert_eq!((status, code(&answer)), expected, "{path} {body}: {answer}");
    }
    drone.complete(ChatTurnStatus::Finished);
    drone.done().await;
    ide.wait_for("workOrderComplete", |_| true).await;
    assert_eq!(post(&hub, PATH, &token, &call(&model)).await.0, 403, "the turn is over");
    drone.die().await;
    drone.come_back(&hub.url);
    eventually("the token of the connection before is good no more", async || {
        let (status, answer) = post(&hub, PATH, &token, &call(&model)).await;
        (status == 401 && code(&answer) == "superseded").then_some(())
    })
    .await;
    let metrics = hub.app.metrics.encode().unwrap();
    for line in [
        "gadget_model_call_seconds_count{provider=\"demo\"} 1",
        "gadget_model_first_byte_seconds_count{provider=\"demo\"} 1",
        "gadget_model_calls_total{provider=\"unknown\",outcome=\"refused\"} 1",
        "gadget_fleet_drones{phase=\"Starting\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_said_to_be() {
    let hub = Hub::start_with(|config| {
        config.providers = vec![ProviderSetting {
            name: "down".into(),
            sdk: Sdk::OpenAi,
            base_url: "http://127.0.0.1:1/v1".parse().unwrap(),
            key: ProviderKey::None,
        }];
        config.default_model = Some(ModelChoice { provider: "down".into(), model: Some("m".into()) });
    })
    .await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("work").await;
    drone.work().await;
    let token = session_token(&drone).await;
    let (status, answer) = post(&hub, "model/down/chat/completions", &token, &call("m")).await;
    assert_eq!((status, code(&answer)), (502, "provider_unreachable"), "{answer}");
}

#[tokio::test]
async fn a_git_credential_is_for_the_drone_of_its_project_and_for_its_host() {
    let hub = Hub::start().await;
    let (ann, eve) = (hub.person("ann").await, hub.person("eve").await);
    let path = format!("/projects/{}/credential", ann.project);
    let secret = json!({ "host": "git.example.org", "username": "ann", "password": "s3cret" });
    for method in ["PUT", "DELETE"] {
        let (status, _) = hub.rest(method, &path, &eve.token, Some(secret.clone())).await;
        assert_eq!(status, 404, "{method} by another user");
    }
    assert!(hub.rest("PUT", &path, &ann.token, Some(secret)).await.0 < 300);
    let (_ide, drone) = hub.opened(&ann).await;
    let (_eve_ide, foreign) = hub.opened(&eve).await;
    let (token, foreign) = (session_token(&drone).await, session_token(&foreign).await);
    let question = |host: &str| json!({ "protocol": "https", "host": host });
    let (status, answer) = post(&hub, "git-credential", &token, &question("git.example.org")).await;
    assert_eq!((status, &answer["password"]), (200, &json!("s3cret")));
    for (token, host, expected) in [
        (token.as_str(), "evil.example", 404),
        (foreign.as_str(), "git.example.org", 404),
        (ann.token.as_str(), "git.example.org", 401),
        ("nonsense", "git.example.org", 401),
    ] {
        let (status, answer) = post(&hub, "git-credential", token, &question(host)).await;
        assert_eq!(status, expected, "{host}: {answer}");
        assert!(!answer.to_string().contains("s3cret"));
    }
    let other = json!({ "chatSession": ann.session });
    assert_eq!(hub.rest("POST", "/drones", &eve.token, Some(other)).await.0, 404);
}

use http::{Method, StatusCode};
use hub::auth::account::Role;
use hub::config::Demo;
use scripted_model::ScriptedModel;
use scripted_model::script::Script;
use serde_json::json;

use crate::fixture::Hub;

#[tokio::test]
async fn a_provider_is_probed_and_its_key_never_shown() {
    let hub = Hub::new().await;
    let admin = hub.person("root", vec![Role::Admin]).await;
    let server = ScriptedModel::of(Script::default()).serve_here().await.unwrap();
    let new = json!({ "name": "local", "sdk": "openai", "baseUrl": server.url(), "apiKey": "sk-secret" });
    let made = admin.post("/providers", new).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let probed = admin.post("/providers/local/probe", json!(null)).await;
    assert_eq!(probed.body["models"][0]["id"], "scripted", "{}", probed.text);
    assert_eq!(probed.body["key"], "sealed");
    let models = admin.get("/models").await;
    assert_eq!(models.body["items"][0]["provider"], "local");
    for answer in [made, probed, models, admin.get("/providers").await] {
        assert!(!answer.text.contains("sk-secret"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_key_does_not_follow_to_another_address() {
    let hub = Hub::new().await;
    let admin = hub.person("root", vec![Role::Admin]).await;
    let new =
        json!({ "name": "a", "sdk": "openai", "baseUrl": "https://api.example.org/v1", "apiKey": "sk" });
    assert_eq!(admin.post("/providers", new).await.status, StatusCode::CREATED);
    let moved = json!({ "baseUrl": "https://evil.example/v1" });
    assert_eq!(admin.ask(Method::PATCH, "/providers/a", Some(moved)).await.refusal(), (422, "invalid"));
    let with_key = json!({ "baseUrl": "https://api2.example.org/v1", "apiKey": "sk2" });
    assert_eq!(admin.ask(Method::PATCH, "/providers/a", Some(with_key)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_failed_probe_says_why_and_is_remembered() {
    let hub = Hub::new().await;
    let admin = hub.person("root", vec![Role::Admin]).await;
    let new = json!({ "name": "a", "sdk": "ollama", "baseUrl": "http://127.0.0.1:1" });
    assert_eq!(admin.post("/providers", new).await.status, StatusCode::CREATED);
    assert_eq!(admin.post("/providers/a/probe", json!(null)).await.refusal(), (409, "no_model"));
    let shown = admin.get("/providers/a").await;
    assert!(shown.body["probeError"].as_str().unwrap().contains("refused"), "{}", shown.text);
}

#[tokio::test]
async fn members_choose_models_and_see_no_provider() {
    let hub = Hub::with(|config| config.demo = Demo::On).await;
    let ada = hub.person("ada", vec![]).await;
    assert_eq!(ada.get("/providers").await.refusal(), (403, "forbidden"));
    let models = ada.get("/models").await.body;
    assert_eq!(models["items"][0]["simulated"], true);
    assert_eq!(models["items"][0]["name"], "Demo tour, scripted, no AI");
    let project = ada.make("/projects", json!({ "name": "p" })).await;
    let unknown = json!({ "project": project, "provider": "nobody" });
    assert_eq!(ada.post("/chat-sessions", unknown).await.refusal(), (422, "invalid"));
}

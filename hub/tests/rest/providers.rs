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

#[tokio::test]
async fn a_rule_chooses_the_model_of_a_prompt_whose_session_names_none() {
    let hub = Hub::new().await;
    let admin = hub.person("root", vec![Role::Admin]).await;
    let server = ScriptedModel::of(Script::default()).serve_here().await.unwrap();
    for name in ["a", "b", "c"] {
        let new = json!({ "name": name, "sdk": "openai", "baseUrl": server.url() });
        assert_eq!(admin.post("/providers", new).await.status, StatusCode::CREATED);
        assert_eq!(admin.post(&format!("/providers/{name}/probe"), json!(null)).await.status, 200);
    }
    let rule = |name: &str, priority: i32, value: &str, provider: &str| {
        let condition = json!({ "field": "prompt", "operator": "includes", "value": value });
        json!({ "name": name, "priority": priority, "conditions": [condition], "action": { "provider": provider } })
    };
    admin.make("/routing/rules", rule("late", 10, "refactor", "c")).await;
    let first = admin.make("/routing/rules", rule("first", 1, "Refactor", "b")).await;
    let project = admin.make("/projects", json!({ "name": "p" })).await;
    let session = admin.make("/chat-sessions", json!({ "project": project })).await;
    let chosen = async |prompt: &str| {
        let session = hub.app.store.session(&session.as_str().into()).await.unwrap().unwrap();
        hub.app.providers.resolve(&session, prompt).await.unwrap().provider
    };
    assert_eq!((chosen("please refactor").await, chosen("hello").await), ("b".to_owned(), "a".to_owned()));
    let path = format!("/routing/rules/{first}");
    let off = admin.ask(Method::PATCH, &path, Some(json!({ "enabled": false }))).await;
    assert_eq!((off.status, &off.body["enabled"]), (StatusCode::OK, &json!(false)));
    assert_eq!(chosen("please refactor").await, "c");
    let names = admin.get("/routing/rules").await.body["items"].clone();
    assert_eq!((&names[0]["name"], &names[1]["name"]), (&json!("first"), &json!("late")));
    assert_eq!(admin.ask(Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(admin.get(&path).await.refusal(), (404, "not_found"));
    let choice = json!({ "provider": "a" });
    admin.ask(Method::PATCH, &format!("/chat-sessions/{session}"), Some(choice)).await;
    assert_eq!(chosen("please refactor").await, "a", "what the session names holds");
    let bad = rule("bad", 0, "x", "nobody");
    assert_eq!(admin.post("/routing/rules", bad).await.refusal(), (422, "invalid"));
    let ada = hub.person("ada", vec![]).await;
    for (method, path) in [(Method::GET, "/routing/rules"), (Method::POST, "/admin/reload")] {
        assert_eq!(ada.ask(method, path, None).await.refusal(), (403, "forbidden"));
    }
}

#[tokio::test]
async fn a_reload_reads_keys_and_models_anew_and_says_what_changed() {
    let hub = Hub::new().await;
    let admin = hub.person("root", vec![Role::Admin]).await;
    let server = ScriptedModel::of(Script::default()).serve_here().await.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "sk-one").unwrap();
    let new = json!({ "name": "a", "sdk": "openai", "baseUrl": server.url(), "keyFile": file.path() });
    assert_eq!(admin.post("/providers", new).await.status, StatusCode::CREATED);
    let reload = async || admin.post("/admin/reload", json!(null)).await.body["items"].clone();
    let expected = json!([{
        "name": "a", "keyChanged": false, "modelsAdded": ["scripted"], "modelsRemoved": [],
    }]);
    assert_eq!(reload().await, expected);
    assert_eq!(reload().await, json!([]), "nothing has changed since");
    std::fs::write(file.path(), "sk-two").unwrap();
    let changed = reload().await;
    assert_eq!((&changed[0]["keyChanged"], &changed[0]["modelsAdded"]), (&json!(true), &json!([])));
    assert!(!changed.to_string().contains("sk-"), "{changed}");
}

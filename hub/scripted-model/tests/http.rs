//! The scripted model over a real connection.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::time::Duration;

use http::HeaderMap;
use scripted_model::script::{Answer, Script, Step};
use scripted_model::settings::Settings;
use scripted_model::{Observed, ScriptedModel, Server};
use serde_json::{Value, json};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().retry(reqwest::retry::never()).build().unwrap()
}

fn faults() -> ScriptedModel {
    let text = include_str!("../examples/faults.json");
    ScriptedModel::new(serde_json::from_str::<Settings>(text).unwrap())
}

fn body(messages: Value) -> Value {
    let read = json!({ "type": "function", "function": { "name": "read", "parameters": {} } });
    json!({ "model": "scripted", "messages": messages, "tools": [read], "stream": true })
}

fn prompt(text: &str) -> Value {
    body(json!([{ "role": "user", "content": text }]))
}

async fn post(server: &Server, body: &Value) -> reqwest::Result<reqwest::Response> {
    let url = format!("{}/some/prefix/v1/chat/completions", server.url());
    client().post(url).body(body.to_string()).send().await
}

async fn ask(server: &Server, body: &Value) -> (u16, reqwest::Result<String>) {
    let response = post(server, body).await.unwrap();
    (response.status().as_u16(), response.text().await)
}

async fn wait_for(model: &ScriptedModel, is_there: impl FnMut(&Observed) -> bool) {
    timeout(LIMIT, model.observed().wait_for(is_there)).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_marker_in_the_prompt_chooses_the_script() {
    let model = faults();
    let server = model.serve_here().await.unwrap();
    let (status, text) = ask(&server, &prompt("[[script:hello]] hi")).await;
    let text = text.unwrap();
    assert_eq!(status, 200);
    assert!(text.contains("\"reasoning_content\":\"A \"") && text.ends_with("data: [DONE]\n\n"), "{text}");
    let (_, none) = ask(&server, &prompt("hi")).await;
    assert!(none.unwrap().contains("No "), "a prompt without script is answered too");
    assert_eq!(model.requests().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_marker_in_what_the_agent_loop_adds_to_a_prompt_means_nothing() {
    let server = faults().serve_here().await.unwrap();
    let noted = "go on\n\n<environment>\nsession: [[script:hello]] hi\n</environment>";
    let (_, text) = ask(&server, &prompt(noted)).await;
    assert!(text.unwrap().contains("\"No \""));
}

#[tokio::test]
async fn the_conversation_says_which_answer_is_due() {
    let model = faults();
    let server = model.serve_here().await.unwrap();
    let user = json!({ "role": "user", "content": "[[script:read-and-tell]]" });
    let (_, first) = ask(&server, &body(json!([user]))).await;
    assert!(first.unwrap().contains("\"name\":\"read\""));
    let call = json!({ "id": "call_0_0", "type": "function", "function": {
        "name": "read", "arguments": "{\"path\":\"README.md\"}" } });
    let history = json!([
        user,
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "tool_call_id": "call_0_0", "content": "calc" },
    ]);
    let (_, second) = ask(&server, &body(history)).await;
    assert!(second.unwrap().contains("read "));
    assert_eq!(model.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn each_try_of_an_answer_has_its_own_fault() {
    let server = faults().serve_here().await.unwrap();
    let body = prompt("[[script:patience]]");
    let first = post(&server, &body).await.unwrap();
    assert_eq!((first.status().as_u16(), first.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    let (_, cut) = ask(&server, &body).await;
    assert!(cut.is_err(), "{cut:?}");
    let (_, garbage) = ask(&server, &body).await;
    assert!(garbage.unwrap().contains("\"br\n"));
    for _ in 0..2 {
        let (_, whole) = ask(&server, &body).await;
        assert!(whole.unwrap().contains("answer."));
    }
}

#[tokio::test]
async fn a_connection_can_break_before_it_has_answered() {
    let model = faults();
    let server = model.serve_here().await.unwrap();
    let error = post(&server, &prompt("[[script:refused]]")).await.unwrap_err();
    assert!(!error.is_connect() && error.status().is_none(), "{error:?}");
    wait_for(&model, |observed| observed.finished == 1).await;
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed_at_once() {
    let model = faults();
    let server = model.serve_here().await.unwrap();
    let mut response = post(&server, &prompt("[[script:silence]]")).await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    wait_for(&model, |observed| observed.abandoned == 1).await;
}

#[tokio::test]
async fn a_broken_rule_is_refused_and_reported() {
    let model = faults();
    let server = model.serve_here().await.unwrap();
    let (status, text) = ask(&server, &prompt("[[script:hello]] my key is sk-secret")).await;
    assert_eq!(status, 400);
    assert!(text.unwrap().contains("secret number 0 is in the request"));
    let report = client().get(format!("{}/report", server.url())).send().await.unwrap();
    let report: Value = serde_json::from_str(&report.text().await.unwrap()).unwrap();
    assert_eq!(report["violations"], json!(["secret number 0 is in the request"]));
}

#[tokio::test]
async fn a_conversation_over_the_window_is_refused_in_the_endpoints_words() {
    let model = ScriptedModel::new(Settings { context_window: Some(50), ..Settings::default() });
    let server = model.serve_here().await.unwrap();
    let (status, text) = ask(&server, &prompt(&"long ".repeat(100))).await;
    assert_eq!(status, 400);
    assert!(text.unwrap().contains("context_length_exceeded"));
}

#[tokio::test]
async fn a_rule_answers_before_the_scripts() {
    let script = Script::new([Answer::new([Step::say("script")])]);
    let settings = Settings { scripts: [("default".to_owned(), script)].into(), ..Settings::default() };
    let model = ScriptedModel::with_rule(settings, |request| {
        (request.prompt() == Some("rule")).then(|| vec![Step::say("rule")])
    });
    let server = model.serve_here().await.unwrap();
    for text in ["rule", "script"] {
        assert!(ask(&server, &prompt(text)).await.1.unwrap().contains(&format!("\"content\":\"{text}\"")));
    }
}

#[tokio::test]
async fn the_demo_is_answered_in_process() {
    let model = ScriptedModel::tour(scripted_model::Pace::default());
    let request = prompt("list files").to_string();
    let response = model.respond("/chat/completions", &HeaderMap::new(), request.into()).await;
    assert_eq!(response.status(), 200);
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert!(String::from_utf8(bytes.to_vec()).unwrap().contains("\"name\":\"list\""));
    assert_eq!(model.requests().len(), 0, "the demo keeps nothing of what people say");
}

#[tokio::test]
async fn models_are_listed_in_each_dialect() {
    let server = faults().serve_here().await.unwrap();
    for (path, pointer) in [("/v1/models", "/data/0/id"), ("/api/tags", "/models/0/name")] {
        let response = client().get(format!("{}{path}", server.url())).send().await.unwrap();
        let list: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(list.pointer(pointer), Some(&json!("scripted")), "{path}: {list}");
    }
}

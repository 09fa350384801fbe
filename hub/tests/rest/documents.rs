use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::fixture::{Hub, Person};

async fn project(person: &Person<'_>) -> String {
    person.make("/projects", json!({ "name": "Shop" })).await
}

#[tokio::test]
async fn a_project_gets_a_slug_that_is_free() {
    let hub = Hub::new().await;
    let ada = hub.person("ada", vec![]).await;
    for slug in ["my-shop", "my-shop-2"] {
        let answer = ada.post("/projects", json!({ "name": "My Shop!" })).await;
        assert_eq!(answer.body["slug"], slug);
    }
    let taken = ada.post("/projects", json!({ "name": "x", "slug": "my-shop" })).await;
    assert_eq!(taken.refusal(), (409, "conflict"));
}

#[tokio::test]
async fn a_document_of_another_user_is_not_there() {
    let hub = Hub::new().await;
    let ada = hub.person("ada", vec![]).await;
    let eve = hub.person("eve", vec![]).await;
    let project = project(&ada).await;
    let session = ada.make("/chat-sessions", json!({ "project": project })).await;
    for path in [
        format!("/projects/{project}"),
        format!("/projects/{project}/credential"),
        format!("/chat-sessions/{session}"),
        format!("/chat-sessions/{session}/turns"),
        format!("/chat-sessions/{session}/events"),
        format!("/chat-sessions/{session}/export"),
    ] {
        assert_eq!(ada.get(&path).await.status, StatusCode::OK, "{path}");
        assert_eq!(eve.get(&path).await.refusal(), (404, "not_found"), "{path}");
    }
    for (method, path) in [
        (Method::PATCH, format!("/projects/{project}")),
        (Method::DELETE, format!("/projects/{project}")),
        (Method::PUT, format!("/chat-sessions/{session}")),
        (Method::DELETE, format!("/chat-sessions/{session}")),
    ] {
        assert_eq!(eve.ask(method, &path, Some(json!({}))).await.refusal(), (404, "not_found"), "{path}");
    }
    assert_eq!(eve.post("/chat-sessions", json!({ "project": project })).await.refusal(), (404, "not_found"));
    assert_eq!(eve.get("/chat-sessions").await.body, json!({ "items": [] }));
    assert_eq!(eve.get("/projects").await.body, json!({ "items": [] }));
}

#[tokio::test]
async fn lists_come_in_parts_without_gap_or_double() {
    let hub = Hub::new().await;
    let ada = hub.person("ada", vec![]).await;
    let project = project(&ada).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(ada.make("/chat-sessions", json!({ "project": project })).await);
    }
    let mut seen: Vec<String> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = ada.get(&format!("/chat-sessions?projectId={project}&limit=2{cursor}")).await.body;
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["_id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    made.reverse();
    assert_eq!(seen, made, "newest first");
    assert_eq!(ada.get("/chat-sessions?limit=0").await.refusal(), (422, "invalid"));
    assert_eq!(ada.get("/chat-sessions?limit=many").await.refusal(), (422, "invalid"));
}

#[tokio::test]
async fn a_session_starts_with_the_defaults_and_can_be_changed() {
    let hub = Hub::new().await;
    let ada = hub.person("ada", vec![]).await;
    let project = project(&ada).await;
    let session = ada.post("/chat-sessions", json!({ "project": project })).await.body;
    assert_eq!(session["name"], "New Chat Session");
    assert_eq!(session["mode"], "build");
    let path = format!("/chat-sessions/{}", session["_id"].as_str().unwrap());
    let change = json!({ "name": "Login", "mode": "plan", "reasoningEffort": "high", "archived": true });
    let changed = ada.ask(Method::PATCH, &path, Some(change)).await.body;
    assert_eq!(
        (&changed["name"], &changed["mode"], &changed["reasoningEffort"]),
        (&json!("Login"), &json!("plan"), &json!("high"))
    );
    assert!(changed["archivedAt"].is_string());
    let back = ada.ask(Method::PATCH, &path, Some(json!({ "archived": false }))).await.body;
    assert_eq!(back["archivedAt"], Value::Null);
}

#[tokio::test]
async fn a_project_with_sessions_is_kept_until_they_are_gone() {
    let hub = Hub::new().await;
    let ada = hub.person("ada", vec![]).await;
    let project = project(&ada).await;
    let session = ada.make("/chat-sessions", json!({ "project": project })).await;
    let path = format!("/projects/{project}");
    assert_eq!(ada.ask(Method::DELETE, &path, None).await.refusal(), (409, "conflict"));
    let gone = ada.ask(Method::DELETE, &format!("/chat-sessions/{session}"), None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(ada.ask(Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn bad_bodies_are_refused_with_what_is_wrong() {
    let hub = Hub::with(|config| config.limits.rest_body = 2048).await;
    let ada = hub.person("ada", vec![]).await;
    for (body, words) in [
        (json!({ "name": " " }), "name"),
        (json!({ "name": "a", "slug": "../up" }), "slug"),
        (json!({ "name": "a", "gitUrl": "--upload-pack=x" }), "gitUrl"),
        (json!({ "name": "a", "gitURL": "x" }), "gitURL"),
        (json!([]), "body"),
    ] {
        let answer = ada.post("/projects", body).await;
        assert_eq!(answer.refusal(), (422, "invalid"));
        assert!(answer.body["detail"].as_str().unwrap().contains(words), "{}", answer.text);
    }
    let long = json!({ "name": "a", "instructions": "x".repeat(4096) });
    assert_eq!(ada.post("/projects", long).await.refusal(), (413, "too_large"));
}

#[tokio::test]
async fn preferences_are_merged_and_null_removes_one() {
    let hub = Hub::new().await;
    let ada = hub.person("ada", vec![]).await;
    assert_eq!(ada.get("/preferences").await.body, json!({}));
    let merge = |change| ada.ask(Method::PATCH, "/preferences", Some(change));
    merge(json!({ "theme": "dark", "provider": "a" })).await;
    assert_eq!(merge(json!({ "theme": null })).await.body, json!({ "provider": "a" }));
    assert_eq!(ada.get("/preferences").await.body, json!({ "provider": "a" }));
}

#[tokio::test]
async fn a_git_credential_is_never_shown_again() {
    let hub = Hub::new().await;
    let ada = hub.person("ada", vec![]).await;
    let path = format!("/projects/{}/credential", project(&ada).await);
    let put = json!({ "host": "git.example.org", "username": "ada", "password": "s3cret-token" });
    let answer = ada.ask(Method::PUT, &path, Some(put)).await;
    assert_eq!(answer.body["host"], "git.example.org");
    let shown = ada.get(&path).await;
    assert_eq!(shown.body["items"][0]["host"], "git.example.org");
    assert!(!answer.text.contains("s3cret") && !shown.text.contains("s3cret"));
}

#[tokio::test]
async fn the_api_describes_every_route_that_it_has() {
    let hub = Hub::new().await;
    let openapi = hub.ask(Method::GET, "/api/openapi.json", None, None).await.body;
    let routes = hub.routes();
    assert!(routes.iter().any(|route| route == "/api/v1/sessions/{id}/metrics"), "{routes:?}");
    for route in &routes {
        assert!(openapi["paths"][route].is_object(), "{route} is not described");
    }
    assert_eq!(openapi["paths"].as_object().unwrap().len(), routes.len());
    assert!(openapi["components"]["schemas"]["ChatTurn"].is_object());
    let unknown = hub.ask(Method::GET, "/api/v1/nonsense", None, None).await;
    assert_eq!(unknown.refusal(), (404, "not_found"));
}

#[tokio::test]
async fn a_healthy_hub_says_so() {
    let hub = Hub::new().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(hub.ask(Method::GET, path, None, None).await.text, "ok", "{path}");
    }
    assert!(hub.ask(Method::GET, "/metrics", None, None).await.text.contains("# EOF"));
    hub.app.draining.cancel();
    assert_eq!(hub.ask(Method::GET, "/readyz", None, None).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(hub.ask(Method::GET, "/healthz", None, None).await.text, "ok");
}

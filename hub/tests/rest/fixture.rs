//! A hub in a directory of its own, and somebody to ask it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Method, Request, StatusCode};
use hub::app::{SharedApp, build};
use hub::auth::account::{NewAccount, Role};
use hub::config::HubConfig;
use hub::fleet::process::{Layout, ProcessConfig, ProcessFleet, Program, RestartPolicy};
use hub::router::router;
use hub::store::lock::DataLock;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

pub(crate) struct Hub {
    pub(crate) app: SharedApp,
    router: Router,
    _data: TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    pub(crate) body: Value,
    pub(crate) text: String,
}

/// Somebody who is signed in.
pub(crate) struct Person<'a> {
    hub: &'a Hub,
    token: String,
}

pub(crate) const PASSWORD: &str = "correct horse battery";

impl Hub {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut HubConfig)) -> Self {
        let data = TempDir::new().unwrap();
        let mut config = HubConfig::new(data.path().to_owned(), "http://127.0.0.1:1".parse().unwrap());
        change(&mut config);
        let lock = DataLock::acquire(data.path()).unwrap();
        // A fleet whose drones end at once: what a drone does is tested elsewhere.
        let fleet = ProcessFleet::open(ProcessConfig {
            layout: Layout::new(data.path()),
            program: Program::new("/bin/false".into(), Vec::new()),
            hub: config.public_url.to_string(),
            grace: Duration::from_millis(100),
            restarts: RestartPolicy::default(),
        })
        .unwrap();
        let app = build(config, lock, Arc::new(fleet)).await.unwrap();
        Self { router: router(app.clone()), app, _data: data }
    }

    /// The paths of the API that the router answers, as the router itself says.
    pub(crate) fn routes(&self) -> Vec<String> {
        let all = format!("{:?}", self.router);
        let mut routes: Vec<String> =
            all.split('"').filter(|text| text.starts_with("/api/v1/")).map(str::to_owned).collect();
        routes.sort();
        routes.dedup();
        routes
    }

    /// Makes an account and signs in with its password, over the wire.
    pub(crate) async fn person(&self, name: &str, roles: Vec<Role>) -> Person<'_> {
        let account = NewAccount {
            email: format!("{name}@example.org"),
            handle: None,
            display_name: None,
            persona: None,
            roles,
        };
        self.app.auth.create_account(account, Some(PASSWORD)).await.unwrap();
        let answer = self.sign_in(&format!("{name}@example.org"), PASSWORD).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        Person { hub: self, token: answer.body["token"].as_str().unwrap().to_owned() }
    }

    pub(crate) async fn sign_in(&self, email: &str, password: &str) -> Answer {
        let body = serde_json::json!({ "email": email, "password": password });
        self.ask(Method::POST, "/api/v1/auth/sign-in", None, Some(body)).await
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let content_type = response
            .headers()
            .get("content-type")
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default();
        let text =
            String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap();
        Answer { status, content_type, body: serde_json::from_str(&text).unwrap_or(Value::Null), text }
    }
}

impl Person<'_> {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// POSTs and gives the id of what was made.
    pub(crate) async fn make(&self, path: &str, body: Value) -> String {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        answer.body["_id"].as_str().expect("what is made has an id").to_owned()
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.hub.ask(method, &format!("/api/v1{path}"), Some(&self.token), body).await
    }
}

impl Answer {
    /// Status and code of a refusal, after a check that it is a problem document.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        assert_eq!(self.content_type, "application/problem+json", "{}", self.text);
        assert_eq!(self.body["status"], self.status.as_u16());
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{}", self.text);
        (self.status.as_u16(), self.body["code"].as_str().unwrap())
    }
}

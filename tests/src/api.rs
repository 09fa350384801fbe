//! The hub's REST interface, as a client with the owner's token sees it.

use anyhow::{Context, Result, bail};
use protocol::document::{ChatSession, ChatTurn, DroneRegistration, Model, Project};
use protocol::ids::{ChatSessionId, TurnId};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::deadline::{DEADLINE, eventually};
use crate::gadget::Gadget;

#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    origin: String,
    token: String,
}

#[derive(Debug, Deserialize)]
struct Page<T> {
    items: Vec<T>,
}

impl Api {
    pub fn new(gadget: &Gadget) -> Result<Self> {
        Self::at(&gadget.origin(), gadget.token())
    }

    /// Of any hub, as whoever has the token.
    pub fn at(origin: &str, token: &str) -> Result<Self> {
        // Another test of this process may have done it already.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build()?;
        Ok(Self { http, origin: origin.to_owned(), token: token.to_owned() })
    }

    /// As somebody else, whose account is made for it.
    pub async fn as_new_user(&self, email: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Signed {
            token: String,
        }
        let account = json!({ "email": email, "password": "correct horse battery staple" });
        let _user: Value = self.call(Method::POST, "/users", Some(&account)).await?;
        let Signed { token } = self.call(Method::POST, "/auth/sign-in", Some(&account)).await?;
        Ok(Self { token, ..self.clone() })
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    pub async fn create_project(&self, name: &str, git_url: Option<&str>) -> Result<Project> {
        let mut body = json!({ "name": name });
        if let Some(url) = git_url {
            body["gitUrl"] = url.into();
        }
        self.call(Method::POST, "/projects", Some(&body)).await
    }

    /// With whatever model is the default.
    pub async fn create_session(&self, project: &Project) -> Result<ChatSession> {
        self.call(Method::POST, "/chat-sessions", Some(&json!({ "project": project.id }))).await
    }

    pub async fn session(&self, id: &ChatSessionId) -> Result<ChatSession> {
        self.call(Method::GET, &format!("/chat-sessions/{id}"), None).await
    }

    pub async fn turns(&self, session: &ChatSessionId) -> Result<Vec<ChatTurn>> {
        let page: Page<ChatTurn> =
            self.call(Method::GET, &format!("/chat-sessions/{session}/turns"), None).await?;
        Ok(page.items)
    }

    pub async fn turn(&self, session: &ChatSessionId, id: &TurnId) -> Result<ChatTurn> {
        let turns = self.turns(session).await?;
        turns
            .into_iter()
            .find(|turn| turn.id == *id)
            .with_context(|| format!("turn {id} is not in the store"))
    }

    /// Waits until the turn is over in the store.
    pub async fn finished_turn(&self, session: &ChatSessionId, id: &TurnId) -> Result<ChatTurn> {
        eventually("the turn's end in the store", || async {
            let turn = self.turn(session, id).await?;
            Ok(turn.status.is_over().then_some(turn))
        })
        .await
    }

    pub async fn drones(&self) -> Result<Vec<DroneRegistration>> {
        let page: Page<DroneRegistration> = self.call(Method::GET, "/drones", None).await?;
        Ok(page.items)
    }

    /// Ends the drone of a session for good, where it has one that runs.
    pub async fn terminate_drone(&self, session: &ChatSessionId) -> Result<()> {
        for drone in self.drones().await? {
            if drone.chat_session_id.as_ref() == Some(session) {
                let path = format!("/drone/registration/{}/terminate", drone.id);
                let (status, text) = self.send(Method::POST, &path, None).await?;
                if !status.is_success() && status != StatusCode::CONFLICT {
                    bail!("{path}: {status} {text}");
                }
            }
        }
        Ok(())
    }

    pub async fn models(&self) -> Result<Vec<Model>> {
        let page: Page<Model> = self.call(Method::GET, "/models", None).await?;
        Ok(page.items)
    }

    /// A call that must succeed.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T> {
        let (status, text) = self.send(method.clone(), path, body).await?;
        if !status.is_success() {
            bail!("{method} {path}: {status} {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{method} {path}: strange answer {text}"))
    }

    /// Any call, for what is refused.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, String)> {
        let url = format!("{}/api/v1{path}", self.origin);
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| format!("failed to ask for {path}"))?;
        Ok((answer.status(), answer.text().await?))
    }
}

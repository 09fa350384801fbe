//! The hub, as a person's client uses it: REST, and Socket.IO for the prompt.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use client::{AuthError, Client, Config, Connection, Incoming};
use protocol::document::{ChatSession, ChatTurn};
use protocol::ide::name;
use protocol::ids::{ChatSessionId, TurnId};
use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::Url;

const ANSWER: Duration = Duration::from_secs(15);
/// The hub may wait for the drone before it gives the session.
const LOCK: Duration = Duration::from_mins(1);
/// The hub takes in a session that it sees within moments.
const TAKEN_IN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(250);

pub(super) struct Hub {
    http: reqwest::Client,
    url: String,
    token_file: PathBuf,
    token: Option<String>,
    turn: Option<(ChatSessionId, TurnId)>,
    /// Open to the end, as a person's tab would be.
    tab: Option<Tab>,
}

struct Tab {
    client: Client,
    reader: JoinHandle<()>,
}

#[derive(Deserialize)]
struct SignedIn {
    token: String,
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Submitted {
    turn_id: Option<TurnId>,
    message: Option<String>,
}

impl Hub {
    pub(super) fn new(url: Url, token_file: PathBuf) -> anyhow::Result<Self> {
        // A proxy of the site has no business between two pods.
        let http =
            reqwest::Client::builder().no_proxy().timeout(ANSWER).build().context("failed to set up HTTP")?;
        let url = url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http, url, token_file, token: None, turn: None, tab: None })
    }

    pub(super) async fn sign_in(&mut self) -> anyhow::Result<()> {
        let file = &self.token_file;
        let token =
            std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        let request = self.request(Method::POST, "/auth/tester").json(&json!({ "token": token.trim() }));
        let SignedIn { token } = answer(request).await?;
        self.token = Some(token);
        Ok(())
    }

    pub(super) async fn sign_out(&mut self) -> anyhow::Result<()> {
        if let Some(Tab { client, reader }) = self.tab.take() {
            client.close().await;
            reader.await.context("the connection's reader failed")?;
        }
        if self.token.is_some() {
            send(self.request(Method::POST, "/auth/sign-out")).await?;
            self.token = None;
        }
        Ok(())
    }

    /// Opens the session in a tab and gives it a prompt.
    pub(super) async fn prompt(&mut self, session: &ChatSessionId, text: &str) -> anyhow::Result<TurnId> {
        let ChatSession { project, .. } = self.taken_in(session).await?;
        let connection = self.open_tab().await?;
        let lock = (Value::Null, json!({ "_id": project }), json!({ "_id": session }), json!({}));
        let locked = connection.request(name::REQUEST_SESSION_LOCK, &lock, LOCK).await;
        let (given, _session, detail): (bool, Value, Option<Value>) = locked.context("no lock")?.parse()?;
        if !given {
            bail!("the hub does not give the session: {}", detail.unwrap_or_default());
        }
        let submitted = connection.request(name::SUBMIT_PROMPT, &(text,), ANSWER).await;
        let (taken, Submitted { turn_id, message }): (bool, Submitted) =
            submitted.context("no turn")?.parse()?;
        match turn_id {
            Some(turn) if taken => {
                self.turn = Some((session.clone(), turn.clone()));
                Ok(turn)
            }
            _ => bail!("the hub refuses the prompt: {}", message.unwrap_or_default()),
        }
    }

    pub(super) async fn turn(&self) -> anyhow::Result<ChatTurn> {
        let (session, turn) = self.turn.as_ref().context("there is no turn yet")?;
        let path = format!("/chat-sessions/{session}/turns");
        let Page { items } = answer::<Page<ChatTurn>>(self.request(Method::GET, &path)).await?;
        items.into_iter().find(|one| one.id == *turn).with_context(|| format!("the hub has no turn {turn}"))
    }

    async fn taken_in(&self, session: &ChatSessionId) -> anyhow::Result<ChatSession> {
        let deadline = Instant::now() + TAKEN_IN;
        loop {
            match answer(self.request(Method::GET, &format!("/chat-sessions/{session}"))).await {
                Err(error) if Instant::now() >= deadline => {
                    return Err(error.context("the hub has not taken the session in"));
                }
                Err(_) => tokio::time::sleep(LOOK).await,
                Ok(session) => return Ok(session),
            }
        }
    }

    async fn open_tab(&mut self) -> anyhow::Result<Connection> {
        let token = self.token.clone().context("not signed in")?;
        let auth =
            move |_| std::future::ready(Ok::<_, AuthError>(json!({ "token": token, "tabId": "helm-test" })));
        let (client, mut incoming) = client::connect(Config::new(&self.url)?, auth)?;
        let (first, opened) = tokio::sync::oneshot::channel();
        let reader = tokio::spawn(async move {
            let mut first = Some(first);
            // What is not read would hold the connection up.
            while let Some(next) = incoming.recv().await {
                let told = match next {
                    Incoming::Connected(connection) => Ok(connection),
                    Incoming::Fatal(fatal) => Err(anyhow::Error::new(fatal)),
                    _ => continue,
                };
                if let Some(first) = first.take() {
                    // Nobody waits any more.
                    let _ = first.send(told);
                }
            }
        });
        self.tab = Some(Tab { client, reader });
        let opened = tokio::time::timeout(ANSWER, opened).await.context("the hub takes no connection")?;
        opened.context("the connection was closed")?.context("the hub refuses the connection")
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}

async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> anyhow::Result<T> {
    send(request).await?.json().await.context("the hub's answer is not as expected")
}

async fn send(request: RequestBuilder) -> anyhow::Result<reqwest::Response> {
    let response = request.send().await.context("no answer from the hub")?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let problem: Value = response.json().await.unwrap_or_default();
    bail!("the hub says {status}: {}", problem["detail"].as_str().unwrap_or("nothing more"))
}

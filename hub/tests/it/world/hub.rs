//! A hub that can be stopped and started again on the same data.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hub::app::{SharedApp, build};
use hub::auth::account::NewAccount;
use hub::config::{Demo, HubConfig};
use hub::router::router;
use hub::serve;
use hub::store::lock::DataLock;
use jiff::Timestamp;
use protocol::document::{ChatSession, NEW_SESSION_NAME, Project, SessionStats};
use protocol::ids::{ChatSessionId, DroneId, ProjectId, UserId};
use protocol::value::{ChatSessionMode, ReasoningEffort};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::drone::FakeDrone;
use super::eventually;
use super::fleet::TestFleet;
use super::ide::Ide;

pub(crate) struct Hub {
    pub(crate) app: SharedApp,
    pub(crate) fleet: Arc<TestFleet>,
    pub(crate) url: String,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    data: Arc<TempDir>,
}

/// Somebody with an account, a project and a chat session.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) user: UserId,
    pub(crate) token: String,
    pub(crate) project: ProjectId,
    pub(crate) session: ChatSessionId,
}

impl Hub {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut HubConfig)) -> Self {
        let data = Arc::new(TempDir::new().unwrap());
        Self::on(data, Arc::new(TestFleet::new()), "127.0.0.1:0", change).await
    }

    async fn on(
        data: Arc<TempDir>,
        fleet: Arc<TestFleet>,
        address: &str,
        change: impl FnOnce(&mut HubConfig),
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut config = HubConfig::new(PathBuf::from(data.path()), url.parse().unwrap());
        config.demo = Demo::On;
        change(&mut config);
        let lock = DataLock::acquire(data.path()).unwrap();
        let shared: hub::fleet::SharedFleet = fleet.clone();
        let app = build(config, lock, shared).await.unwrap();
        let shutdown = CancellationToken::new();
        let serving = serve::run(app.clone(), router(app.clone()), listener, shutdown.clone());
        let serving = tokio::spawn(async move { serving.await.unwrap() });
        Self { app, fleet, url, shutdown, serving, data }
    }

    /// Stops the hub in good order, and the next one takes its place at the same address.
    pub(crate) async fn restart(self) -> Self {
        let Self { app, fleet, url, shutdown, serving, data } = self;
        shutdown.cancel();
        serving.await.unwrap();
        app.store.close().await;
        eventually("everything of the old hub is gone", async || {
            (Arc::strong_count(&app) == 1).then_some(())
        })
        .await;
        drop(app);
        let address = url.trim_start_matches("http://").to_owned();
        Self::on(data, fleet, &address, |_| {}).await
    }

    pub(crate) async fn stop(self) -> Duration {
        let begin = tokio::time::Instant::now();
        self.shutdown.cancel();
        self.serving.await.unwrap();
        begin.elapsed()
    }

    /// The token of an administrator.
    pub(crate) async fn admin(&self) -> String {
        let account = NewAccount::admin("root@example.org".to_owned());
        let record = self.app.auth.create_account(account, None).await.unwrap();
        self.app.auth.issue(&record.user).unwrap().token
    }

    pub(crate) async fn person(&self, name: &str) -> Person {
        let account = NewAccount {
            email: format!("{name}@example.org"),
            handle: None,
            display_name: None,
            persona: None,
            roles: Vec::new(),
        };
        let record = self.app.auth.create_account(account, None).await.unwrap();
        let token = self.app.auth.issue(&record.user).unwrap().token;
        let project = Project {
            id: ProjectId::generate(),
            created_at: Timestamp::now(),
            user: record.user.id.clone(),
            name: "Project".into(),
            slug: "project".into(),
            git_url: None,
            instructions: None,
        };
        self.app.store.insert_project(project.clone()).await.unwrap();
        let mut person =
            Person { user: record.user.id, token, project: project.id, session: ChatSessionId::generate() };
        person.session = self.session(&person).await;
        person
    }

    /// One more chat session of the person.
    pub(crate) async fn session(&self, person: &Person) -> ChatSessionId {
        let session = ChatSession {
            id: ChatSessionId::generate(),
            created_at: Timestamp::now(),
            user: person.user.clone(),
            project: person.project.clone(),
            name: NEW_SESSION_NAME.into(),
            mode: ChatSessionMode::Build,
            provider: None,
            selected_model: None,
            reasoning_effort: ReasoningEffort::Off,
            workspace_id: None,
            stats: SessionStats::default(),
            archived_at: None,
        };
        self.app.store.insert_session(session.clone()).await.unwrap();
        session.id
    }

    pub(crate) async fn ide(&self, person: &Person) -> Ide {
        Ide::connect(&self.url, serde_json::json!({ "token": person.token })).await
    }

    /// The drone that the fleet was asked for, for this session.
    pub(crate) async fn wanted_drone(&self, session: &ChatSessionId) -> DroneId {
        eventually("the fleet is asked for a drone", async || self.fleet.drone_of(session)).await
    }

    /// Plays the session's drone once the fleet is asked for it.
    pub(crate) async fn drone(&self, session: &ChatSessionId) -> FakeDrone {
        let id = self.wanted_drone(session).await;
        FakeDrone::start(&self.url, id)
    }

    /// An IDE that holds the session, and the drone that works for it.
    pub(crate) async fn opened(&self, person: &Person) -> (Ide, FakeDrone) {
        let ide = self.ide(person).await;
        let args = lock_args(person);
        let lock = ide.request("requestSessionLock", &args);
        let (answer, drone) = tokio::join!(lock, self.drone(&person.session));
        assert_eq!(answer[0], true, "{answer:?}");
        (ide, drone)
    }

    pub(crate) async fn rest(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let client = reqwest::Client::new();
        let mut request = client
            .request(method.parse().unwrap(), format!("{}/api/v1{path}", self.url))
            .bearer_auth(token)
            .timeout(Duration::from_mins(1));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }
}

pub(crate) fn lock_args(person: &Person) -> Value {
    serde_json::json!([null, { "_id": person.project }, { "_id": person.session }])
}

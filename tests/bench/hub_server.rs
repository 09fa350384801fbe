//! The hub under load: a process of its own, whose fleet takes any drone that a bench plays itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use hub::app::{self, SharedApp};
use hub::config::{Demo, HubConfig};
use hub::fleet::{DroneIdentity, DroneSpec, Fleet, FleetError, FleetEvent};
use hub::store::DroneRecord;
use hub::store::lock::DataLock;
use hub::{router, serve};
use jiff::Timestamp;
use protocol::document::{ChatSession, DroneRegistration, NEW_SESSION_NAME, Project, SessionStats, User};
use protocol::ids::{ChatSessionId, DroneId, ProjectId, UserId};
use protocol::value::{ChatSessionMode, DronePhase, DroneStatus, ReasoningEffort};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::process::Server;
use crate::relay::{Pair, Target};

/// The first argument with which this program is a hub.
pub(crate) const SUBCOMMAND: &str = "serve-hub";

/// Starts a hub with so many sessions, each with a drone, on processor `cpu`. Its first line is a [`Target`].
pub(crate) fn start(cpu: Option<usize>, pairs: usize, workers: usize) -> Result<Server> {
    let program = std::env::current_exe().context("failed to find this program")?.display().to_string();
    Server::start(cpu, &program, &[SUBCOMMAND.to_owned(), pairs.to_string(), workers.to_string()])
}

/// The same on a data directory and an address that outlive it. Without pairs it makes none: it has those of before.
pub(crate) fn start_at(place: &Place, pairs: usize) -> Result<Server> {
    let program = std::env::current_exe().context("failed to find this program")?.display().to_string();
    let Place { data, listen } = place;
    let data = data.display().to_string();
    let arguments = [SUBCOMMAND, &pairs.to_string(), "2", &data, listen].map(str::to_owned);
    Server::start(None, &program, &arguments)
}

/// Where a hub is, that may be killed and started again.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) data: PathBuf,
    /// `address:port`
    pub(crate) listen: String,
}

impl Place {
    /// What [`start_at`] and [`start`] put behind the sub-command.
    pub(crate) fn parse(arguments: &[String]) -> Result<Option<Self>> {
        match arguments {
            [] => Ok(None),
            [data, listen] => Ok(Some(Self { data: data.into(), listen: listen.clone() })),
            other => bail!("a hub is at a data directory and an address, not at {other:?}"),
        }
    }
}

/// Runs the hub in this process until it is killed.
#[expect(clippy::print_stdout, reason = "the first line tells the bench where the hub is")]
pub(crate) fn serve(pairs: usize, workers: usize, place: Option<Place>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async {
        let own = tempfile::tempdir().context("failed to make a data directory")?;
        let place =
            place.unwrap_or_else(|| Place { data: own.path().to_owned(), listen: "127.0.0.1:0".to_owned() });
        let listener = TcpListener::bind(&place.listen).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let app = hub_at(&place.data, &url).await?;
        let target = Target { url, pairs: make_pairs(&app, pairs).await? };
        let serving = serve::run(
            Arc::clone(&app),
            router::router(Arc::clone(&app)),
            listener,
            CancellationToken::new(),
        );
        println!("{}", serde_json::to_string(&target)?);
        serving.await.context("the hub stopped serving")
    })
}

async fn hub_at(data: &Path, url: &str) -> Result<SharedApp> {
    let mut config = HubConfig::new(data.to_owned(), url.parse()?);
    config.demo = Demo::On;
    // One user at one address plays everybody.
    config.limits.prompts_per_minute = u32::MAX;
    config.sockets.per_user = usize::MAX;
    config.listener.per_address = usize::MAX;
    let lock = DataLock::acquire(data)?;
    let (events, _) = broadcast::channel(16);
    Ok(app::build(config, lock, Arc::new(PlayedFleet { events })).await?)
}

async fn make_pairs(app: &SharedApp, count: usize) -> Result<Vec<Pair>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let owner = app.auth.ensure_owner().await?;
    let token = app.auth.issue(&owner.user)?.token;
    let project = project(&owner.user);
    app.store.insert_project(project.clone()).await?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        let session = session(&owner.user, &project);
        app.store.insert_session(session.clone()).await?;
        let drone = drone(&owner.user);
        let registration = drone.registration.id.clone();
        app.store.put_drone(drone).await?;
        pairs.push(Pair {
            // The fleet reads the owner of a drone out of its token.
            drone_auth: json!({ "registrationId": registration, "token": owner.user.id }),
            ide_auth: json!({ "token": token }),
            registration: registration.to_string(),
            project: project.id.to_string(),
            session: session.id.to_string(),
        });
    }
    Ok(pairs)
}

fn project(user: &User) -> Project {
    Project {
        id: ProjectId::generate(),
        created_at: Timestamp::now(),
        user: user.id.clone(),
        name: "bench".into(),
        slug: "bench".into(),
        git_url: None,
        instructions: None,
    }
}

fn session(user: &User, project: &Project) -> ChatSession {
    ChatSession {
        id: ChatSessionId::generate(),
        created_at: Timestamp::now(),
        user: user.id.clone(),
        project: project.id.clone(),
        // Not the name that asks for a better one.
        name: format!("not {NEW_SESSION_NAME}"),
        mode: ChatSessionMode::Build,
        provider: Some(hub::provider::DEMO.into()),
        selected_model: None,
        reasoning_effort: ReasoningEffort::Off,
        workspace_id: None,
        stats: SessionStats::default(),
        archived_at: None,
    }
}

fn drone(user: &User) -> DroneRecord {
    let registration = DroneRegistration {
        id: DroneId::generate(),
        user: user.id.clone(),
        status: DroneStatus::Available,
        workspace_id: None,
        chat_session_id: None,
        hostname: "bench".into(),
        created_at: Timestamp::now(),
        phase: DronePhase::Available,
        pod_name: None,
        node_name: None,
        restarts: 0,
        last_seen_at: None,
        reason: None,
    };
    DroneRecord { registration, generation: 0, held: false, token_sha256: None }
}

/// Runs nothing: the bench plays the drones.
struct PlayedFleet {
    events: broadcast::Sender<FleetEvent>,
}

#[async_trait]
impl Fleet for PlayedFleet {
    async fn start(&self, _spec: DroneSpec) -> Result<(), FleetError> {
        Ok(())
    }

    async fn suspend(&self, _drone: &DroneId) -> Result<(), FleetError> {
        Ok(())
    }

    async fn terminate(&self, _drone: &DroneId) -> Result<(), FleetError> {
        Ok(())
    }

    async fn delete_workspace(&self, _spec: DroneSpec) -> Result<(), FleetError> {
        Ok(())
    }

    async fn authenticate(&self, drone: &DroneId, token: &str) -> Result<Option<DroneIdentity>, FleetError> {
        Ok(Some(DroneIdentity { drone: drone.clone(), user: UserId::from(token) }))
    }

    fn watch(&self) -> broadcast::Receiver<FleetEvent> {
        self.events.subscribe()
    }

    async fn snapshot(&self) -> Vec<FleetEvent> {
        Vec::new()
    }

    async fn close(&self, _stop_drones: bool) {}
}

//! The one owner of a drone's state: its lock, its workspace mode, its turn. Takes what happens, one thing after the
//! other, and never waits for the hub, a turn or git meanwhile.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use protocol::drone::HelloTurn;
use protocol::error::Refusal;
use protocol::value::{Component, DroneStatus, LogLevel, WorkspaceMode};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use url::Url;

use self::lock::Syncing;
use self::running::{Attempt, RunningTurn};
use super::config::{Exit, RunConfig, RunError};
use super::health;
use crate::connection::{FromHub, Link, LinkConfig};
use crate::job::JobSettings;
use crate::metrics::Metrics;
use crate::model::endpoint;
use crate::project::credential::{CredentialServer, HubCredentials};
use crate::session_token::TokenKeeper;
use crate::turn::{Memory, TurnEnd, Wish};
use crate::workspace::Workspace;
use crate::workspace::document::{Registration, WorkOrderDocument, WorkspaceDocument};

mod access;
mod commands;
mod lock;
mod running;
mod turns;
mod welcome;

/// How long a turn may take to leave when the process ends, the hub to take the last events after that.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(8);
const LAST_EVENTS_TIMEOUT: Duration = Duration::from_secs(1);
/// What happens inside the process and waits to be taken.
const INSIDE: usize = 64;
const STATUS_LINES: usize = 64;

/// What happened inside this process.
#[derive(Debug)]
enum Inside {
    /// The turn does not run any more.
    TurnEnded { attempt: Attempt, end: TurnEnd },
    /// The hub has stored everything of it.
    TurnStored(Attempt),
    Synced {
        /// Which synchronisation it was.
        number: u64,
        checkout: Result<(), Refusal>,
    },
}

pub(super) struct Drone {
    config: RunConfig,
    hub: Url,
    workspace: Workspace,
    link: Link,
    http: reqwest::Client,
    metrics: Arc<Metrics>,
    jobs: Arc<JobSettings>,
    /// What shell jobs find in their environment besides the usual.
    job_env: Arc<BTreeMap<String, String>>,

    mode: WorkspaceMode,
    turn: Option<RunningTurn>,
    /// The turn before it, whose end is told and whose last calls are being stopped.
    closing: Option<RunningTurn>,
    /// A work order that crashed with an earlier process; the hub says what becomes of it.
    interrupted: Option<WorkOrderDocument>,
    syncing: Option<Syncing>,
    /// The conversation so far.
    memory: Memory,
    /// How many synchronisations this process has begun.
    syncs: u64,
    /// Commits in the checkout have an author.
    has_author: bool,

    /// Of the newest hello.
    generation: Arc<AtomicU64>,
    /// The hub has answered our hello on the living connection.
    online: watch::Sender<bool>,
    token: TokenKeeper,
    /// The turn that was named in the hello that waits for its answer.
    hello_turn: Option<HelloTurn>,
    hello_again: Option<Instant>,
    /// When the session token is to be renewed, by the clock on the wall: the other one stands still while a machine sleeps.
    renewal: Option<Timestamp>,
    hello_failures: u32,

    /// When the session's owner was last known to be there.
    last_heartbeat: Instant,
    /// Since when the hub is away; none: it is there.
    away_since: Option<Instant>,
    /// The hub has asked for the end.
    is_terminating: bool,

    inside: mpsc::Sender<Inside>,
    inside_queue: mpsc::Receiver<Inside>,
    status: mpsc::Sender<String>,
    status_queue: mpsc::Receiver<String>,
    /// File requests that are being answered.
    requests: TaskTracker,
    /// Answers git's questions for credentials.
    credentials: CredentialServer,
    _health: Option<AbortOnDropHandle<()>>,
}

impl Drone {
    /// Opens the workspace and begins to connect.
    pub(super) async fn start(config: RunConfig) -> Result<Self, RunError> {
        let mut workspace = Workspace::claim(config.workspace.clone()).await.map_err(RunError::Workspace)?;
        let hub = Url::parse(&config.hub)
            .map_err(|source| RunError::HubAddress { address: config.hub.clone(), source })?;
        register(&mut workspace, &config)?;
        let interrupted = workspace.work_order().map_err(RunError::Workspace)?;
        let metrics = Arc::new(Metrics::default());
        let (online, is_online) = watch::channel(false);
        let health = match config.health_listen {
            Some(address) => Some(health::serve(address, is_online, metrics.clone()).await?),
            None => None,
        };
        let link = Link::start(LinkConfig {
            hub: config.hub.clone(),
            registration: config.registration.clone(),
            workspace: workspace.document().workspace_id.clone(),
            token_file: config.token_file.clone(),
        })
        .map_err(RunError::Connection)?;
        let http = endpoint::http_client(&hub).map_err(|error| RunError::Http(Box::new(error)))?;
        let token = TokenKeeper::new(None);
        let hub_credentials =
            HubCredentials::new(http.clone(), &hub, token.tokens()).map_err(RunError::Credentials)?;
        let credentials = CredentialServer::start(
            workspace.paths().root(),
            &config.job_program,
            &config.job_prefix,
            hub_credentials,
        )
        .map_err(RunError::Credentials)?;
        let mut jobs = JobSettings::new(config.job_program.clone(), config.job_prefix.clone());
        jobs.limits.more_tasks = Some(config.job_tasks);
        let (inside, inside_queue) = mpsc::channel(INSIDE);
        let (status, status_queue) = mpsc::channel(STATUS_LINES);
        let now = Instant::now();
        Ok(Self {
            jobs: Arc::new(jobs),
            job_env: Arc::new(credentials.git_environment()),
            http,
            config,
            hub,
            workspace,
            link,
            metrics,
            mode: WorkspaceMode::Idle,
            turn: None,
            closing: None,
            interrupted,
            syncing: None,
            memory: Memory::default(),
            syncs: 0,
            has_author: false,
            generation: Arc::default(),
            online,
            token,
            hello_turn: None,
            hello_again: None,
            renewal: None,
            hello_failures: 0,
            last_heartbeat: now,
            away_since: Some(now),
            is_terminating: false,
            inside,
            inside_queue,
            status,
            status_queue,
            requests: TaskTracker::new(),
            credentials,
            _health: health,
        })
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) -> Result<Exit, RunError> {
        let result = self.work(&shutdown).await;
        self.leave().await;
        result
    }

    async fn work(&mut self, shutdown: &CancellationToken) -> Result<Exit, RunError> {
        self.resync_if_needed();
        loop {
            if self.is_terminating {
                return Ok(Exit::Terminated);
            }
            let deadline = self.next_deadline();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(Exit::Terminated),
                what = self.link.next() => self.on_hub(what).await?,
                Some(inside) = self.inside_queue.recv() => self.on_inside(inside).await,
                Some(line) = self.status_queue.recv() => self.say(&line),
                () = self.token.refused() => self.renew_token(),
                () = sleep_until(deadline) => {
                    if self.is_orphaned() {
                        tracing::info!("the hub stays away and there is nothing to do");
                        return Ok(Exit::Orphaned);
                    }
                    self.on_time();
                }
            }
        }
    }

    async fn on_hub(&mut self, what: FromHub) -> Result<(), RunError> {
        match what {
            FromHub::Connected => {
                self.metrics.connections.inc();
                self.say_hello();
            }
            FromHub::Welcome(ack) => self.welcomed(ack).await,
            FromHub::HelloFailed(why) => self.hello_failed(&why),
            FromHub::Disconnected => {
                self.online.send_replace(false);
                self.hello_turn = None;
                self.hello_again = None;
                self.renewal = None;
                self.away_since.get_or_insert_with(Instant::now);
            }
            FromHub::Command(command) => self.command(command).await,
            FromHub::EventsRefused(refusal) => {
                tracing::warn!(code = refusal.code.as_str(), %refusal, "the hub does not take the turn's events");
                self.log(LogLevel::Warn, &format!("The hub did not take an event: {refusal}"));
                self.link.stop_sending();
                self.hello_soon();
            }
            FromHub::EventsStuck => return Err(RunError::EventsStuck),
            FromHub::Refused(refusal) => return Err(RunError::Refused(refusal)),
        }
        Ok(())
    }

    async fn on_inside(&mut self, inside: Inside) {
        match inside {
            Inside::TurnEnded { attempt, end } => self.turn_ended(&attempt, end).await,
            Inside::TurnStored(attempt) => self.turn_stored(&attempt),
            Inside::Synced { number, checkout } => self.synced(number, checkout).await,
        }
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if self.hello_again.take_if(|at| *at <= now).is_some() || self.is_renewal_due() {
            self.say_hello();
        }
        if self.is_locked() && self.turn.is_none() && self.is_online() && self.heartbeat_deadline() <= now {
            tracing::info!("no heartbeat for too long: the session's lock is let go");
            self.log(LogLevel::Info, "No heartbeat for too long: the lock is let go");
            if let Err(refusal) = self.unlock() {
                tracing::error!(%refusal, "failed to let the lock go");
                // Not again at once.
                self.last_heartbeat = now;
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let heartbeat =
            (self.is_locked() && self.turn.is_none() && self.is_online()).then(|| self.heartbeat_deadline());
        let orphan = self.away_since.map(|since| since + self.config.orphan_timeout);
        let orphan = orphan.filter(|_| self.is_without_work());
        [self.hello_again, self.renewal_look(), heartbeat, orphan].into_iter().flatten().min()
    }

    fn heartbeat_deadline(&self) -> Instant {
        self.last_heartbeat + self.config.heartbeat_timeout
    }

    fn is_orphaned(&self) -> bool {
        let is_over = |since: Instant| since.elapsed() >= self.config.orphan_timeout;
        self.away_since.is_some_and(is_over) && self.is_without_work()
    }

    /// Nothing runs. What a turn that has ended still has to tell is in its journal.
    fn is_without_work(&self) -> bool {
        self.syncing.is_none() && !self.has_live_turn()
    }

    /// Something of a turn runs, or will.
    fn has_live_turn(&self) -> bool {
        self.closing.is_some() || self.turn.as_ref().is_some_and(|turn| !turn.has_ended())
    }

    fn is_online(&self) -> bool {
        *self.online.borrow()
    }

    fn is_locked(&self) -> bool {
        self.workspace.document().chat_session.is_some()
    }

    /// Tells the user something.
    fn say(&self, line: &str) {
        self.link.announce(protocol::ide::name::STATUS, &(line,));
    }

    /// Tells whoever reads the session's log.
    fn log(&self, level: LogLevel, message: &str) {
        let line = (Timestamp::now(), Component::Drone, level, message);
        self.link.announce(protocol::ide::name::LOG, &line);
    }

    fn set_mode(&mut self, mode: WorkspaceMode) {
        if self.mode != mode {
            self.mode = mode;
            self.link.announce(protocol::ide::name::WORKSPACE_MODE_CHANGED, &(mode,));
        }
    }

    /// Ends everything. A turn that runs stays as it is on disk.
    async fn leave(mut self) {
        self.syncing = None;
        let outbox = self.turn.as_ref().map(|turn| turn.outbox.clone());
        let leaving = self.closing.take().into_iter().chain(self.turn.take()).map(|turn| {
            turn.ask(Wish::Leave);
            turn.gone()
        });
        if tokio::time::timeout(LEAVE_TIMEOUT, join_all(leaving)).await.is_err() {
            tracing::error!("the turn does not stop; it is given up");
        }
        let is_connected = *self.online.borrow();
        if let Some(outbox) = outbox.filter(|_| is_connected) {
            // The connection goes on while its last events are taken.
            let taken = async {
                tokio::select! {
                    () = outbox.drained() => {}
                    () = async { loop { self.link.next().await; } } => {}
                }
            };
            if tokio::time::timeout(LAST_EVENTS_TIMEOUT, taken).await.is_err() {
                tracing::info!("the hub has not taken all events; it is told the rest later");
            }
        }
        let offline = |document: &mut WorkspaceDocument| {
            if let Some(registration) = &mut document.registration {
                registration.status = DroneStatus::Offline;
            }
        };
        if let Err(error) = self.workspace.update(offline) {
            tracing::warn!(%error, "failed to note that this drone is offline");
        }
        self.requests.close();
        if tokio::time::timeout(LAST_EVENTS_TIMEOUT, self.requests.wait()).await.is_err() {
            tracing::info!("a file request is left unanswered");
        }
        if tokio::time::timeout(LAST_EVENTS_TIMEOUT, self.credentials.stop()).await.is_err() {
            tracing::info!("a question of git is left unanswered");
        }
        self.link.close().await;
    }
}

/// Notes in `workspace.json` whose workspace this is.
fn register(workspace: &mut Workspace, config: &RunConfig) -> Result<(), RunError> {
    let id = config.registration.clone();
    let status = lock::status(workspace.document());
    workspace
        .update(|document| {
            let registered_at = match &document.registration {
                Some(known) if known.id == id => known.registered_at,
                _ => Timestamp::now(),
            };
            document.registration = Some(Registration { id, status, registered_at });
        })
        .map_err(RunError::Workspace)
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}

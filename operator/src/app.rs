//! An operator: watches, leader, and reconciles of what has changed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crds::{ChatSession, DroneClass, DroneRegistration};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::Client;
use kube::core::DeserializeGuard;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::clock::Clock;
use crate::config::{Config, DEFAULT_CLASS};
use crate::events::{Events, Sender};
use crate::index::Index;
use crate::leader::{Elector, Leadership, Term};
use crate::ledger::{Ledger, Made};
use crate::metrics::{Metrics, Outcome, SharedMetrics};
use crate::parts::Parts;
use crate::queue::{Key, Next, Queue};
use crate::server::{self, Readiness, Shown};
use crate::watches::{Watched, Watches};
use crate::{chat_session, class, drone};

const SESSIONS: Watched = Watched { kind: "ChatSession", fields: None, made: None };
const DRONES: Watched = Watched { kind: "DroneRegistration", fields: None, made: Some(Made::Drone) };
const CLASSES: Watched = Watched { kind: "DroneClass", fields: None, made: None };
const PODS: Watched = Watched { kind: "Pod", fields: None, made: Some(Made::Pod) };
const CLAIMS: Watched = Watched { kind: "PersistentVolumeClaim", fields: None, made: Some(Made::Claim) };
/// Warnings of others: what we say ourselves is no news.
const WARNINGS: Watched =
    Watched { kind: "Event", fields: Some("type=Warning,reportingComponent!=gadget-operator"), made: None };

/// How long work that is under way may take after the operator was told to stop.
const DRAIN: Duration = Duration::from_secs(2);

pub struct App {
    parts: Parts,
    watches: Watches,
    readiness: Arc<Readiness>,
    elector: Elector,
    leadership: Leadership,
    events: Sender,
}

/// The parts of an operator. Nothing runs yet.
pub fn build(config: Config, client: Client) -> App {
    let metrics: SharedMetrics = Arc::new(Metrics::default());
    let (index, ledger, queue) = (Arc::<Index>::default(), Arc::<Ledger>::default(), Arc::<Queue>::default());
    let kinds = [SESSIONS, DRONES, CLASSES, PODS, CLAIMS, WARNINGS].map(|watched| watched.kind);
    let readiness = Arc::new(Readiness::waiting_for(kinds));
    let namespace: Arc<str> = config.namespace.as_str().into();
    let (elector, leadership) =
        Elector::new(client.clone(), &namespace, config.lease.clone(), Arc::clone(&metrics));
    let (events, sender) =
        Events::new(client.clone(), &namespace, &config.lease.identity, config.call, Arc::clone(&metrics));
    let api = Api::new(
        client.clone(),
        Arc::clone(&namespace),
        leadership.clone(),
        config.call,
        Arc::clone(&metrics),
    );
    App {
        watches: Watches {
            client,
            namespace,
            index: Arc::clone(&index),
            ledger: Arc::clone(&ledger),
            queue: Arc::clone(&queue),
            readiness: Arc::clone(&readiness),
            metrics: Arc::clone(&metrics),
        },
        parts: Parts {
            config: Arc::new(config),
            index,
            ledger,
            queue,
            api,
            events,
            metrics,
            clock: Clock::System,
        },
        readiness,
        elector,
        leadership,
        events: sender,
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("failed to serve health and metrics")]
    Serve(#[source] io::Error),
    #[error("a part of the operator has broken down")]
    Part(#[source] JoinError),
    #[error("a part of the operator has ended by itself")]
    Ended,
}

impl App {
    /// Works until `shutdown` is cancelled; then what is under way is finished and the lease handed over.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) -> Result<(), RunError> {
        let Self { parts, watches, readiness, elector, leadership, events } = self;
        let shown = Shown {
            readiness: Arc::clone(&readiness),
            metrics: Arc::clone(&parts.metrics),
            index: Arc::clone(&parts.index),
            queue: Arc::clone(&parts.queue),
        };
        let stop_server = CancellationToken::new();
        let mut server = tokio::spawn(server::run(listener, server::router(shown), stop_server.clone()));
        let mut background = JoinSet::new();
        background.spawn(watches.clone().run::<DeserializeGuard<ChatSession>>(SESSIONS));
        background.spawn(watches.clone().run::<DeserializeGuard<DroneRegistration>>(DRONES));
        background.spawn(watches.clone().run::<DeserializeGuard<DroneClass>>(CLASSES));
        background.spawn(watches.clone().run::<Pod>(PODS));
        background.spawn(watches.clone().run::<PersistentVolumeClaim>(CLAIMS));
        background.spawn(watches.run::<Event>(WARNINGS));
        background.spawn(events.run());
        let hand_over = CancellationToken::new();
        let mut elector = tokio::spawn(elector.run(hand_over.clone()));
        let ended = tokio::select! {
            () = work(&parts, &readiness, leadership, &shutdown) => Ok(()),
            ended = &mut server => {
                Err(ended.map_err(RunError::Part)?.map_err(RunError::Serve).err().unwrap_or(RunError::Ended))
            }
            ended = background.join_next() => Err(part(ended.unwrap_or(Ok(())))),
            ended = &mut elector => Err(part(ended)),
        };
        hand_over.cancel();
        stop_server.cancel();
        if !elector.is_finished() {
            elector.await.map_err(RunError::Part)?;
        }
        background.shutdown().await;
        server.abort();
        ended
    }
}

fn part(ended: Result<(), JoinError>) -> RunError {
    ended.map_or_else(RunError::Part, |()| RunError::Ended)
}

/// Reconciles while we lead.
async fn work(
    parts: &Parts,
    readiness: &Readiness,
    mut leadership: Leadership,
    shutdown: &CancellationToken,
) {
    loop {
        let term = tokio::select! {
            term = leadership.begins() => term,
            () = shutdown.cancelled() => return,
        };
        let Some(term) = term else { return };
        let is_over = tokio::select! {
            // Nothing is decided before everything has been seen once.
            () = readiness.complete() => false,
            () = term.ended() => true,
            () = shutdown.cancelled() => return,
        };
        if is_over {
            continue;
        }
        parts.ledger.clear();
        let work = parts.index.everything().into_iter().chain([Key::Class(DEFAULT_CLASS.into())]);
        parts.queue.open(work);
        lead(parts, &term, shutdown).await;
        parts.queue.close();
        if shutdown.is_cancelled() {
            return;
        }
    }
}

async fn lead(parts: &Parts, term: &Term, shutdown: &CancellationToken) {
    let mut running = JoinSet::new();
    loop {
        let is_full = running.len() >= parts.config.workers;
        tokio::select! {
            biased;
            () = term.ended() => {
                // Another may lead by now: nothing of ours goes out any more.
                running.shutdown().await;
                return;
            }
            () = shutdown.cancelled() => break,
            Some(_) = running.join_next() => {}
            key = parts.queue.take(), if !is_full => {
                running.spawn(reconcile(parts.clone(), key));
            }
        }
    }
    let finished = async { while running.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, finished).await;
}

async fn reconcile(parts: Parts, key: Key) {
    let began = Instant::now();
    let result: anyhow::Result<Next> = match &key {
        Key::Session(name) => chat_session::reconcile(&parts, name).await.map_err(Into::into),
        Key::Drone(name) => drone::reconcile(&parts, name).await.map_err(Into::into),
        Key::Class(name) => class::reconcile(&parts, name).await.map_err(Into::into),
    };
    let (next, outcome) = match result {
        Ok(next) => (next, Outcome::Ok),
        Err(error) => {
            tracing::warn!(
                kind = key.kind(),
                name = %key.name(),
                error = format!("{error:#}"),
                "failed to reconcile {} {}; tried again",
                key.kind(),
                key.name()
            );
            (Next::BackOff, Outcome::Failed)
        }
    };
    parts.metrics.reconciled(key.kind(), outcome, began.elapsed());
    parts.queue.done(key, next);
}

//! Who leads: one operator at a time, by a Lease. Others keep their indexes warm and wait.
//!
//! [`candidate`] decides from what was seen; here it is done. A leader that cannot renew stops to write a second before
//! another may begin. Clocks of different machines are never compared: what counts is how long a lease did not change.

mod candidate;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::candidate::{Candidate, Step, View};
use crate::config::LeaseConfig;
use crate::metrics::SharedMetrics;

/// The right to write, for as long as it lasts.
#[derive(Clone, Debug)]
pub struct Term {
    ended: CancellationToken,
    /// Until when the last renewal holds. Read before each write, moved by each renewal; never over an await.
    until: Arc<Mutex<Instant>>,
}

impl Term {
    pub fn new(until: Instant) -> Self {
        Self { ended: CancellationToken::new(), until: Arc::new(Mutex::new(until)) }
    }

    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    fn holds(&self) -> bool {
        !self.ended.is_cancelled() && Instant::now() < *self.until.lock()
    }
}

/// Says whether we lead.
#[derive(Clone, Debug)]
pub struct Leadership {
    term: watch::Receiver<Option<Term>>,
}

impl Leadership {
    pub fn new(term: watch::Receiver<Option<Term>>) -> Self {
        Self { term }
    }

    /// The term that holds right now.
    pub fn term(&self) -> Option<Term> {
        self.term.borrow().clone().filter(Term::holds)
    }

    /// Waits until we lead.
    pub async fn begins(&mut self) -> Option<Term> {
        loop {
            if let Some(term) = self.term() {
                return Some(term);
            }
            self.term.changed().await.ok()?;
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("another operator has changed the lease")]
    Changed,
    #[error("the API server did not answer in time")]
    TimedOut,
    #[error(transparent)]
    Failed(kube::Error),
}

pub struct Elector {
    pub api: Api<Lease>,
    pub config: LeaseConfig,
    pub term: watch::Sender<Option<Term>>,
    pub metrics: SharedMetrics,
}

impl Elector {
    pub fn new(
        client: Client,
        namespace: &str,
        config: LeaseConfig,
        metrics: SharedMetrics,
    ) -> (Self, Leadership) {
        let (term, leadership) = watch::channel(None);
        let api = Api::namespaced(client, namespace);
        (Self { api, config, term, metrics }, Leadership::new(leadership))
    }

    /// Stands for election until told to stop, and hands the lease over then, so that another begins at once.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let held = tokio::select! {
                held = self.elect() => held,
                () = stop.cancelled() => return,
            };
            let left = self.lead(held, &stop).await;
            if let Some(held) = left {
                self.hand_over(held).await;
                return;
            }
        }
    }

    /// Waits until the lease is ours.
    async fn elect(&self) -> Lease {
        let mut candidate = Candidate::new(&self.config.identity);
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.config.name));
        let mut changes = std::pin::pin!(watcher::watcher(self.api.clone(), only));
        let mut listed = None;
        loop {
            let wait = match candidate.step(Instant::now()) {
                Step::Wait(until) => until,
                Step::Acquire => match self.acquire(&candidate).await {
                    Ok(lease) => return lease,
                    Err(error) => {
                        tracing::debug!(%error, "failed to take the lease {}; tried again", self.config.name);
                        // The watch says it when somebody else has it. It says nothing when the API server has failed,
                        // or when the namespace is not there.
                        Some(Instant::now() + self.config.renew)
                    }
                },
            };
            let change = tokio::select! {
                change = changes.next() => change,
                () = sleep_until(wait) => continue,
            };
            match change {
                Some(Ok(Event::Init)) => listed = None,
                Some(Ok(Event::InitApply(lease))) => listed = Some(lease),
                Some(Ok(Event::InitDone)) => candidate.see(listed.take().map(view), Instant::now()),
                Some(Ok(Event::Apply(lease))) => candidate.see(Some(view(lease)), Instant::now()),
                Some(Ok(Event::Delete(_))) => candidate.see(None, Instant::now()),
                Some(Err(error)) => {
                    tracing::warn!(%error, "failed to watch the lease {}", self.config.name);
                    tokio::time::sleep(self.config.renew).await;
                }
                None => tokio::time::sleep(self.config.renew).await,
            }
        }
    }

    async fn acquire(&self, candidate: &Candidate) -> Result<Lease, LeaseError> {
        let now = MicroTime(Timestamp::now());
        let seen = candidate.seen();
        let spec = LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: i32::try_from(self.config.duration.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(seen.map_or(0, |seen| seen.transitions.saturating_add(1))),
            ..LeaseSpec::default()
        };
        let metadata = ObjectMeta {
            name: Some(self.config.name.clone()),
            resource_version: seen.map(|seen| seen.version.clone()),
            ..ObjectMeta::default()
        };
        let lease = Lease { metadata, spec: Some(spec) };
        match seen {
            Some(_) => self.replace(&lease, self.config.deadline()).await,
            None => {
                self.in_time(self.api.create(&PostParams::default(), &lease), self.config.deadline()).await
            }
        }
    }

    /// Leads until the lease is lost, or until told to stop: then the lease is handed back.
    async fn lead(&self, mut held: Lease, stop: &CancellationToken) -> Option<Lease> {
        let term = Term::new(Instant::now() + self.config.deadline());
        self.term.send_replace(Some(term.clone()));
        self.metrics.leads(true);
        tracing::info!(identity = %self.config.identity, "leads: holds the lease {}", self.config.name);
        let left = loop {
            tokio::select! {
                () = tokio::time::sleep(self.config.renew) => {}
                () = stop.cancelled() => break Some(held),
            }
            match self.renew(&mut held, &term).await {
                Ok(()) => {}
                Err(error) => {
                    tracing::error!(%error, "lost the lease {}: stops to write", self.config.name);
                    break None;
                }
            }
        };
        term.ended.cancel();
        self.term.send_replace(None);
        self.metrics.leads(false);
        left
    }

    /// Tries until the term's end.
    async fn renew(&self, held: &mut Lease, term: &Term) -> Result<(), LeaseError> {
        loop {
            let began = Instant::now();
            let until = *term.until.lock();
            if began >= until {
                return Err(LeaseError::TimedOut);
            }
            if let Some(spec) = &mut held.spec {
                spec.renew_time = Some(MicroTime(Timestamp::now()));
            }
            // A call may be lost: there must be time for another.
            let patience = (until - began).min(self.config.renew);
            match self.replace(held, patience).await {
                Ok(lease) => {
                    *held = lease;
                    *term.until.lock() = began + self.config.deadline();
                    return Ok(());
                }
                Err(LeaseError::Changed) => return Err(LeaseError::Changed),
                Err(error) => {
                    tracing::warn!(%error, "failed to renew the lease {}; tried again", self.config.name);
                    let pause = (self.config.renew / 4).min(until.saturating_duration_since(Instant::now()));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn hand_over(&self, mut held: Lease) {
        if let Some(spec) = &mut held.spec {
            spec.holder_identity = Some(String::new());
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        match self.replace(&held, self.config.renew).await {
            Ok(_) => tracing::info!("handed the lease {} over", self.config.name),
            Err(error) => tracing::warn!(%error, "failed to hand the lease {} over", self.config.name),
        }
    }

    async fn replace(&self, lease: &Lease, patience: Duration) -> Result<Lease, LeaseError> {
        let params = PostParams::default();
        self.in_time(self.api.replace(&self.config.name, &params, lease), patience).await
    }

    async fn in_time(
        &self,
        call: impl Future<Output = kube::Result<Lease>>,
        patience: Duration,
    ) -> Result<Lease, LeaseError> {
        match tokio::time::timeout(patience, call).await {
            Err(_) => Err(LeaseError::TimedOut),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => Err(LeaseError::Changed),
            Ok(Err(error)) => Err(LeaseError::Failed(error)),
            Ok(Ok(lease)) => Ok(lease),
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn view(lease: Lease) -> View {
    let version = lease.resource_version().unwrap_or_default();
    let spec = lease.spec.unwrap_or_default();
    View {
        version,
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        transitions: spec.lease_transitions.unwrap_or_default(),
        duration: Duration::from_secs(
            spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(4),
        ),
    }
}

//! The hub of `gadget local`: put together, served, stopped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hub::app::{self, SharedApp};
use hub::config::{AllowedHosts, Demo, HubConfig};
use hub::fleet::SharedFleet;
use hub::fleet::process::{Layout, ProcessConfig, ProcessFleet, Program, RestartPolicy};
use hub::store::lock::{DataLock, LockError};
use hub::{router, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::models::Wishes;

/// How long drones may take to stop; their keepers add three quarters of a second. With the abort of a turn before it
/// ([`crate::turn::ABORT_PATIENCE`]) and what the hub itself needs after it, all is over within five seconds.
const DRONE_GRACE: Duration = Duration::from_millis(1750);
/// How long the hub may take to end its connections.
const HUB_GRACE: Duration = Duration::from_millis(750);

pub(super) struct LocalHub {
    pub app: SharedApp,
    /// Without a slash at the end.
    pub url: String,
    fleet: SharedFleet,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// Takes the data directory for this process alone.
pub(super) fn lock(data: &Path) -> anyhow::Result<DataLock> {
    DataLock::acquire(data).map_err(|error| match error {
        LockError::Held(_) => anyhow::Error::new(error),
        LockError::Io { .. } => anyhow::Error::new(error)
            .context("the data directory cannot be used: choose another with --data DIR"),
    })
}

impl LocalHub {
    pub(super) async fn start(
        data: &Path,
        lock: DataLock,
        listener: TcpListener,
        wishes: &Wishes,
    ) -> anyhow::Result<Self> {
        let address = listener.local_addr().context("failed to read the address listened on")?;
        let url = format!("http://{address}");
        let mut config = HubConfig::new(data.to_owned(), url.parse()?);
        if address.ip().is_loopback() {
            config.hosts = AllowedHosts::loopback();
        }
        config.providers.clone_from(&wishes.providers);
        config.default_model = wishes.default_model();
        config.demo = Demo::On;
        let itself = std::env::current_exe().context("failed to find this program's own file")?;
        let fleet: SharedFleet = Arc::new(ProcessFleet::open(ProcessConfig {
            layout: Layout::new(data),
            program: Program::new(itself, vec!["drone".into()]),
            hub: url.clone(),
            grace: DRONE_GRACE,
            restarts: RestartPolicy::default(),
        })?);
        let app = app::build(config, lock, Arc::clone(&fleet)).await?;
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let serving =
            serve::run(Arc::clone(&app), router::router(Arc::clone(&app)), listener, shutdown.clone());
        tasks.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the hub cannot serve any more");
            }
        });
        tasks.close();
        Ok(Self { app, url, fleet, shutdown, tasks })
    }

    /// Resolves when the hub serves no more though nobody stopped it.
    pub(super) async fn failed(&self) {
        self.tasks.wait().await;
    }

    /// Drones first, while they can still tell the hub how far they came; then the hub.
    pub(super) async fn stop(self) {
        let Self { app, url: _, fleet, shutdown, tasks } = self;
        app.draining.cancel();
        fleet.close(true).await;
        shutdown.cancel();
        if tokio::time::timeout(HUB_GRACE, tasks.wait()).await.is_err() {
            tracing::warn!("connections did not end in time and are cut");
        }
        app.store.close().await;
    }
}

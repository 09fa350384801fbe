//! The parts of a hub, put together once and shared by everything that serves.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::{JoinError, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::auth::generation::Generations;
use crate::auth::keys::{Keys, KeysError};
use crate::auth::seal::Sealer;
use crate::auth::{Auth, AuthSettings};
use crate::config::HubConfig;
use crate::fleet::SharedFleet;
use crate::metrics::Metrics;
use crate::model_proxy::ModelProxy;
use crate::provider::{Providers, ProvidersError};
use crate::session::drones::present::Drones;
use crate::session::registry::Sessions;
use crate::socket::sockets::Sockets;
use crate::store::SharedStore;
use crate::store::lock::DataLock;
use crate::store::sqlite::{OpenError, SqliteOptions, SqliteStore, StoreMetrics};

/// Everything that handlers, actors and the proxy work with.
pub struct App {
    pub config: HubConfig,
    pub store: SharedStore,
    pub auth: Auth,
    pub generations: Generations,
    pub sealer: Sealer,
    pub metrics: Metrics,
    pub providers: Providers,
    pub model_proxy: ModelProxy,
    pub fleet: SharedFleet,
    pub sessions: Sessions,
    pub drones: Drones,
    pub sockets: Sockets,
    /// Cancelled when the hub begins to go away: nothing new is taken on.
    pub draining: CancellationToken,
    /// Held for as long as anything of this hub lives.
    _lock: DataLock,
}

/// Shared handle of a hub's parts.
pub type SharedApp = Arc<App>;

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("failed to load the hub's keys")]
    Keys(#[source] KeysError),
    #[error("failed to open the store")]
    Store(#[source] OpenError),
    #[error("failed to load the model providers")]
    Providers(#[source] ProvidersError),
    #[error("failed to finish opening the store")]
    Aborted(#[source] JoinError),
}

/// Puts a hub together in a data directory that is this process's alone.
pub async fn build(config: HubConfig, lock: DataLock, fleet: SharedFleet) -> Result<SharedApp, BuildError> {
    let metrics = Metrics::default();
    let options = SqliteOptions { metrics: StoreMetrics::registered(&metrics), ..SqliteOptions::default() };
    let dir = lock.dir().to_owned();
    let store: SharedStore = spawn_blocking(move || SqliteStore::open(&dir, options))
        .await
        .map_err(BuildError::Aborted)?
        .map(Arc::new)
        .map_err(BuildError::Store)?;
    let keys =
        Keys::load_or_create(lock.dir(), config.token_life, Timestamp::now()).map_err(BuildError::Keys)?;
    let auth = Auth::new(
        Arc::clone(&store),
        &keys,
        AuthSettings {
            token_life: config.token_life,
            drone_token_life: config.drone_token_life,
            sign_in_failures: config.limits.sign_in_failures,
        },
    );
    let sealer = Sealer::new(&keys.sealing);
    let providers = Providers::load(
        Arc::clone(&store),
        sealer.clone(),
        &config.providers,
        config.demo,
        config.default_model.clone(),
    )
    .await
    .map_err(BuildError::Providers)?;
    let app = App {
        store,
        auth,
        generations: Generations::default(),
        sealer,
        model_proxy: ModelProxy::new(config.limits.model_calls, &metrics),
        fleet,
        sessions: Sessions::new(config.sessions.clone()),
        drones: Drones::default(),
        sockets: Sockets::new(config.sockets.clone(), config.limits.prompts_per_minute, &metrics),
        metrics,
        providers,
        draining: CancellationToken::new(),
        config,
        _lock: lock,
    };
    Ok(Arc::new(app))
}

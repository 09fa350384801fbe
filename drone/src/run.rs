//! A drone process from its start to its end: workspace, connection, the turn that a crash left behind, and then
//! whatever the hub asks for.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::config::{Exit, RunConfig, RunError};
use self::drone::Drone;

pub mod config;
mod drone;
mod health;
mod mode;

/// Runs until a signal, the hub or loneliness ends it. A turn that runs then is left to go on later.
pub async fn run(config: RunConfig) -> Result<Exit, RunError> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let stop = shutdown.clone();
    let listening = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = run_until(config, shutdown) => result,
        () = listening => Ok(Exit::Terminated),
    }
}

/// The same, but that `shutdown` is the signal.
pub async fn run_until(config: RunConfig, shutdown: CancellationToken) -> Result<Exit, RunError> {
    Box::pin(Drone::start(config).await?.run(shutdown)).await
}

//! Serves a hub until it is told to stop.

mod exchange;

use std::io;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::SharedApp;
use crate::http::cors;
use crate::socket::guard::Guard;
use crate::socket::listener::GuardedListener;
use crate::store::StoreError;
use crate::{session, socket};

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("failed to take up what the last hub left behind")]
    Begin(#[source] StoreError),
    #[error("failed to accept connections")]
    Accept(#[source] io::Error),
}

/// Ends when `shutdown` is cancelled and what was under way is answered, or cut after a short time. Socket.IO is put
/// before `router` here.
pub async fn run(
    app: SharedApp,
    router: Router,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    session::begin(&app).await.map_err(ServeError::Begin)?;
    let (router, sockets) = socket::attach(&app, router);
    let router = router.layer(cors::layer(&app.config)).layer(axum::middleware::from_fn(exchange::watch));
    let listener = GuardedListener::new(listener, app.config.listener);
    let service = router.into_make_service_with_connect_info::<Guard>();
    let cut = CancellationToken::new();
    let (closing, ended) = (Arc::clone(&app), cut.clone());
    let serving = axum::serve(listener, service).with_graceful_shutdown(async move {
        shutdown.cancelled().await;
        sockets.close(&closing).await;
        ended.cancel();
    });
    let grace = app.config.sockets.close;
    let served = tokio::select! {
        served = serving.into_future() => served.map_err(ServeError::Accept),
        () = async { cut.cancelled().await; tokio::time::sleep(grace).await } => Ok(()),
    };
    app.sessions.close().await;
    served
}

//! `/healthz`, `/readyz` and `/metrics`, on a port of their own.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::config::RunError;
use crate::metrics::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Health {
    /// Whether the hub is connected. The workspace is held as long as the process lives.
    online: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
}

/// Answers until the handle is dropped.
pub(super) async fn serve(
    address: SocketAddr,
    online: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
) -> Result<AbortOnDropHandle<()>, RunError> {
    let failed = |source| RunError::HealthListen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(%bound, "answering health checks");
    let router = router(online, metrics);
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "health checks are not answered any more");
        }
    })))
}

fn router(online: watch::Receiver<bool>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(encoded))
        .with_state(Health { online, metrics })
}

async fn readyz(State(health): State<Health>) -> Response {
    if *health.online.borrow() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the hub is not connected\n").into_response()
    }
}

async fn encoded(State(health): State<Health>) -> Response {
    match health.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "failed to write the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_means_connected_to_the_hub() {
        let (sender, online) = watch::channel(false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = router(online, Arc::default());
        let _server =
            AbortOnDropHandle::new(tokio::spawn(async move { axum::serve(listener, router).await }));
        let client = crate::model::endpoint::http_client(&url.parse().unwrap()).unwrap();
        let status = |path: &str| {
            let request = client.get(format!("{url}{path}"));
            async move { request.send().await.unwrap().status().as_u16() }
        };
        assert_eq!(status("/healthz").await, 200);
        assert_eq!(status("/readyz").await, 503);
        sender.send_replace(true);
        assert_eq!(status("/readyz").await, 200);
        assert_eq!(status("/metrics").await, 200);
    }
}

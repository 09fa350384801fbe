//! For those who watch over a hub: is it alive, is it ready, what does it count.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::app::SharedApp;

pub(super) fn routes() -> Router<SharedApp> {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

/// Ready: takes new work. A hub that goes away, or whose store fails, does not.
async fn ready(State(app): State<SharedApp>) -> Response {
    if app.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining").into_response();
    }
    match app.store.check().await {
        Ok(()) if app.sessions.is_store_failing() => {
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not take events").into_response()
        }
        // What is there can still be read, and what runs still works.
        Ok(()) => match app.fleet.trouble() {
            Some(trouble) => format!("ok, but no drone can be started: {trouble}\n").into_response(),
            None => "ok".into_response(),
        },
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer").into_response()
        }
    }
}

async fn metrics(State(app): State<SharedApp>) -> Response {
    match app.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

//! `/healthz`, `/readyz` and `/metrics`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::index::Index;
use crate::metrics::SharedMetrics;
use crate::queue::Queue;

/// Which watches are there, and what keeps the others.
#[derive(Debug)]
pub struct Readiness {
    /// By kind: what is wrong with its watch, in words. Short; never held over an await.
    missing: Mutex<BTreeMap<&'static str, String>>,
    changed: Notify,
}

impl Readiness {
    pub fn waiting_for(kinds: impl IntoIterator<Item = &'static str>) -> Self {
        let missing = kinds.into_iter().map(|kind| (kind, "not listed yet".to_owned())).collect();
        Self { missing: Mutex::new(missing), changed: Notify::new() }
    }

    pub fn is_there(&self, kind: &'static str) {
        self.missing.lock().remove(kind);
        self.changed.notify_waiters();
    }

    /// Says whether that is news.
    pub fn fails(&self, kind: &'static str, why: String) -> bool {
        self.missing.lock().insert(kind, why.clone()) != Some(why)
    }

    /// Waits until everything is there.
    pub async fn complete(&self) {
        loop {
            let changed = self.changed.notified();
            if self.missing.lock().is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn words(&self) -> Option<String> {
        let missing = self.missing.lock();
        let lines: Vec<String> = missing.iter().map(|(kind, why)| format!("{kind}: {why}")).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

#[derive(Clone, Debug)]
pub struct Shown {
    pub readiness: Arc<Readiness>,
    pub metrics: SharedMetrics,
    pub index: Arc<Index>,
    pub queue: Arc<Queue>,
}

pub fn router(shown: Shown) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(shown)
}

pub async fn run(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn ready(State(shown): State<Shown>) -> Response {
    match shown.readiness.words() {
        None => "ok\n".into_response(),
        Some(words) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready:\n{words}\n")).into_response(),
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match shown.metrics.encode(shown.queue.depth(), shown.index.phases()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(router: &Router, path: &str) -> (StatusCode, String) {
        let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_missing_kind_is_named_and_nobody_is_restarted_for_it() {
        let readiness = Arc::new(Readiness::waiting_for(["ChatSession", "Pod"]));
        let router = router(Shown {
            readiness: Arc::clone(&readiness),
            metrics: SharedMetrics::default(),
            index: Arc::default(),
            queue: Arc::default(),
        });
        readiness.is_there("Pod");
        assert!(readiness.fails("ChatSession", "is not installed".to_owned()));
        assert!(!readiness.fails("ChatSession", "is not installed".to_owned()));
        let (status, body) = get(&router, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("ChatSession: is not installed") && !body.contains("Pod"), "{body}");
        assert_eq!(get(&router, "/healthz").await.0, StatusCode::OK);
        readiness.is_there("ChatSession");
        readiness.complete().await;
        assert_eq!(get(&router, "/readyz").await, (StatusCode::OK, "ok\n".to_owned()));
        assert!(get(&router, "/metrics").await.1.contains("gadget_operator_queue_depth 0"));
    }
}

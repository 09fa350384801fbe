//! Model calls of drones, passed on to providers: `POST /internal/model/<provider>/<path of the dialect>`.
//!
//! A drone has no key. It shows its session token; the hub sees to it that the token is the live drone's, that the
//! session's running turn uses this very provider and model, swaps in the key, and streams the answer as it comes.
//! Dropping the connection on one side drops it on the other at once.

mod admit;
mod forward;
mod refusal;
mod usage;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::Semaphore;

use crate::app::SharedApp;
use crate::metrics::Metrics;
use crate::model_proxy::refusal::ProxyRefusal;

pub(crate) use crate::model_proxy::admit::live_drone;

/// In answers that the hub itself made, so that a drone can tell them from the provider's.
pub const HUB_HEADER: &str = "x-gadget-hub";

/// What the proxy keeps between calls.
#[derive(Debug)]
pub struct ModelProxy {
    /// Calls under way are bounded: each holds two connections.
    calls: Arc<Semaphore>,
    counts: Counts,
}

/// Metrics by provider.
#[derive(Clone, Debug)]
struct Counts {
    calls: Family<CallLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    first_byte: Timings,
    total: Timings,
}

/// By provider, in seconds.
type Timings = Family<ProviderLabels, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabels {
    provider: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    provider: String,
    /// `2xx` … `5xx`, `refused` by the hub, `unreachable`.
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    provider: String,
    /// `input`, `output`.
    kind: &'static str,
}

impl ModelProxy {
    pub fn new(calls: usize, metrics: &Metrics) -> Self {
        let timings = |name, help| metrics.register(name, help, Timings::new_with_constructor(buckets));
        let counts = Counts {
            calls: metrics.register("model_calls", "Model calls by provider and outcome", Family::default()),
            tokens: metrics.register("model_tokens", "Tokens that providers counted", Family::default()),
            first_byte: timings(
                "model_first_byte_seconds",
                "From a model call to the first byte of its answer",
            ),
            total: timings("model_call_seconds", "From a model call to the end of its answer"),
        };
        Self { calls: Arc::new(Semaphore::new(calls)), counts }
    }
}

fn buckets() -> Histogram {
    Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0])
}

pub fn router() -> Router<SharedApp> {
    Router::new().route("/internal/model/{provider}/{*path}", post(call))
}

async fn call(
    State(app): State<SharedApp>,
    Path((provider, path)): Path<(String, String)>,
    request: Request,
) -> Response {
    let outcome = answer(&app, &provider, &path, request).await;
    let (response, outcome) = match outcome {
        Ok(response) => {
            let class = match response.status().as_u16() {
                200..=299 => "2xx",
                400..=499 => "4xx",
                500..=599 => "5xx",
                _ => "other",
            };
            (response, class)
        }
        Err(refusal) => {
            let class =
                if matches!(refusal, ProxyRefusal::Unreachable { .. }) { "unreachable" } else { "refused" };
            (refusal.into_response(), class)
        }
    };
    // The label is bounded: a name that is no provider's is not counted under itself.
    let provider = if app.providers.get(&provider).is_some() { provider } else { "unknown".to_owned() };
    app.model_proxy.counts.calls.get_or_create(&CallLabels { provider, outcome }).inc();
    response
}

async fn answer(
    app: &SharedApp,
    provider: &str,
    path: &str,
    request: Request,
) -> Result<Response, ProxyRefusal> {
    if app.draining.is_cancelled() {
        return Err(ProxyRefusal::Draining);
    }
    let permit = Arc::clone(&app.model_proxy.calls).try_acquire_owned().map_err(|_| ProxyRefusal::Full)?;
    let call = admit::admit(app, provider, path, request).await?;
    forward::forward(app, call, permit).await
}

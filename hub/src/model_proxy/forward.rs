//! Sends an admitted call and streams the answer back, counting tokens on the way.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::app::SharedApp;
use crate::model_proxy::admit::AdmittedCall;
use crate::model_proxy::refusal::ProxyRefusal;
use crate::model_proxy::usage::UsageReader;
use crate::model_proxy::{Counts, ProviderLabels, Timings, TokenLabels};
use crate::provider::probe::below;

/// What a drone is told of the provider's headers.
const PASSED: [HeaderName; 4] = [CONTENT_TYPE, RETRY_AFTER, DATE, HeaderName::from_static("retry-after-ms")];

pub(super) async fn forward(
    app: &SharedApp,
    call: AdmittedCall,
    permit: OwnedSemaphorePermit,
) -> Result<Response, ProxyRefusal> {
    let AdmittedCall { provider, path, headers, body } = call;
    let tap = Tap {
        reader: UsageReader::default(),
        counts: app.model_proxy.counts.clone(),
        provider: provider.record.name.clone(),
        began: Instant::now(),
        answers: false,
        _permit: permit,
    };
    let Some(base_url) = &provider.base_url else {
        let answer = app.providers.demo().respond(&format!("/{}", path.join("/")), &headers, body).await;
        let (head, body) = answer.into_parts();
        return Ok(Response::from_parts(head, Body::from_stream(tap.over(body.into_data_stream()))));
    };
    let key = provider.key.as_ref().map_err(|why| ProxyRefusal::Key(why.clone()))?;
    let mut request = app
        .providers
        .http()
        .post(below(base_url, path))
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .body(body);
    if let Some(accept) = headers.get(ACCEPT) {
        request = request.header(ACCEPT, accept);
    }
    if let Some(key) = key {
        request = request.header(AUTHORIZATION, key.bearer());
    }
    // No time-out from here on: models think for minutes, and the drone has clocks for each stage.
    let answer = request.send().await.map_err(|error| ProxyRefusal::Unreachable { why: cause(&error) })?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    copy(answer.headers(), response.headers_mut());
    *response.body_mut() = Body::from_stream(tap.over(answer.bytes_stream()));
    Ok(response)
}

fn copy(from: &HeaderMap, to: &mut HeaderMap) {
    for name in PASSED {
        if let Some(value) = from.get(&name) {
            to.insert(name, value.clone());
        }
    }
}

/// Innermost cause: it says what happened, and names no URL with what may stand in it.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Looks at the pieces of an answer as they pass, and counts when it is over or given up.
struct Tap {
    reader: UsageReader,
    counts: Counts,
    provider: String,
    began: Instant,
    /// A piece has come.
    answers: bool,
    _permit: OwnedSemaphorePermit,
}

impl Tap {
    fn over<E>(
        mut self,
        pieces: impl Stream<Item = Result<Bytes, E>>,
    ) -> impl Stream<Item = Result<Bytes, E>> {
        pieces.map(move |piece| {
            if let Ok(bytes) = &piece {
                if !std::mem::replace(&mut self.answers, true) {
                    self.time(&self.counts.first_byte);
                }
                self.reader.read(bytes);
            }
            piece
        })
    }
}

impl Tap {
    fn time(&self, timings: &Timings) {
        let labels = ProviderLabels { provider: self.provider.clone() };
        timings.get_or_create(&labels).observe(self.began.elapsed().as_secs_f64());
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if self.answers {
            self.time(&self.counts.total);
        }
        let tokens = self.reader.finish();
        for (kind, count) in [("input", tokens.input), ("output", tokens.output)] {
            if count > 0 {
                let labels = TokenLabels { provider: self.provider.clone(), kind };
                self.counts.tokens.get_or_create(&labels).inc_by(count);
            }
        }
    }
}

//! Tells a connection's guard where its requests are, so that one that is never sent whole does not hold it for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;
use http_body_util::BodyExt as _;

use crate::socket::guard::Guard;

/// Stands before everything else: what it does not see is not known to the guard.
pub(super) async fn watch(request: Request, next: Next) -> Response {
    let Some(ConnectInfo(guard)) = request.extensions().get::<ConnectInfo<Guard>>().cloned() else {
        return next.run(request).await;
    };
    let exchange = Arc::new(Exchange { guard, is_read: AtomicBool::new(false) });
    let answering = Answering(Arc::clone(&exchange));
    let reading = Reading(exchange);
    let request = if request.body().is_end_stream() {
        drop(reading);
        request
    } else {
        request.map(|body| with_body(body, reading))
    };
    let response = next.run(request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // What comes now is no request, and has clocks of its own.
        answering.0.guard.upgraded();
        return response;
    }
    response.map(|body| with_body(body, answering))
}

/// One request and its answer.
struct Exchange {
    guard: Guard,
    is_read: AtomicBool,
}

impl Exchange {
    fn read(&self) {
        if !self.is_read.swap(true, Ordering::AcqRel) {
            self.guard.request_read();
        }
    }
}

/// Dropped when the request is read whole, or not wanted any more.
struct Reading(Arc<Exchange>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.read();
    }
}

/// Dropped when the answer is out, or given up.
struct Answering(Arc<Exchange>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.read();
        self.0.guard.answered();
    }
}

/// Keeps something for as long as the body lives.
fn with_body<E: Send + 'static>(body: Body, end: E) -> Body {
    Body::new(body.inspect_frame(move |_| {
        let _kept = &end;
    }))
}

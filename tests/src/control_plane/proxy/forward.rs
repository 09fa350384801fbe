//! One request: what the rules make of it, and its way to the API server and back.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;
use tokio::sync::broadcast;

use crate::control_plane::proxy::{Fault, Request, Seen, State, WatchCommand, When};

type Body = UnsyncBoxBody<Bytes, reqwest::Error>;

/// Ends the connection without an answer.
#[derive(Debug)]
pub(super) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut by the test")
    }
}

impl std::error::Error for Cut {}

pub(super) async fn answer(
    state: Arc<State>,
    request: http::Request<Incoming>,
) -> Result<Response<Body>, Cut> {
    let about = Request::new(request.method(), request.uri(), request.headers());
    let crash = state.crash_point(&about);
    let fault = state.fault(&about);
    let told = |code: Option<u16>| {
        state.log.push(Seen { request: about.clone(), code, fault: fault.clone() });
    };
    if let Some(point) = crash {
        if point.when == When::After {
            let _done = forward(&state, &about, request).await;
        }
        told(None);
        (point.act)(&about);
        return std::future::pending().await;
    }
    match &fault {
        None => {}
        Some(Fault::Refused { code, reason, retry_after }) => {
            told(Some(*code));
            return Ok(refusal(*code, reason, *retry_after));
        }
        Some(Fault::Late(time)) => tokio::time::sleep(*time).await,
        Some(Fault::Lost) => {
            told(None);
            return std::future::pending().await;
        }
        Some(Fault::AnswerLost) => {
            let _done = forward(&state, &about, request).await;
            told(None);
            return std::future::pending().await;
        }
        Some(Fault::Reset) => {
            told(None);
            return Err(Cut);
        }
        Some(Fault::AnswerReset) => {
            let _done = forward(&state, &about, request).await;
            told(None);
            return Err(Cut);
        }
    }
    let answer = forward(&state, &about, request).await;
    told(answer.as_ref().ok().map(|answer| answer.status().as_u16()));
    answer
}

/// To the API server. One that cannot be reached looks the same to the client: the connection ends.
async fn forward(
    state: &State,
    about: &Request,
    request: http::Request<Incoming>,
) -> Result<Response<Body>, Cut> {
    // Before it begins, so that no command is missed.
    let commands = state.watches.subscribe();
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let answer = state
        .upstream
        .request(parts.method, format!("{}{path}", state.server))
        .headers(passed_on(&parts.headers))
        .body(body)
        .send()
        .await
        .map_err(|_| Cut)?;
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        *headers = passed_on(answer.headers());
    }
    let bytes = answer.bytes_stream();
    let body: Body = if about.verb == "watch" {
        StreamBody::new(watched(bytes, commands).map(|bytes| bytes.map(Frame::data))).boxed_unsync()
    } else {
        StreamBody::new(bytes.map(|bytes| bytes.map(Frame::data))).boxed_unsync()
    };
    response.body(body).map_err(|_| Cut)
}

/// Until a command ends it, which is obeyed between two events.
fn watched(
    bytes: impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static,
    commands: broadcast::Receiver<WatchCommand>,
) -> impl Stream<Item = reqwest::Result<Bytes>> + Send {
    struct Watched<S> {
        bytes: std::pin::Pin<Box<S>>,
        commands: broadcast::Receiver<WatchCommand>,
        ordered: Option<WatchCommand>,
        between_events: bool,
        over: bool,
    }
    let start =
        Watched { bytes: Box::pin(bytes), commands, ordered: None, between_events: true, over: false };
    futures_util::stream::unfold(start, async |mut watched| {
        if watched.over {
            return None;
        }
        loop {
            match watched.ordered {
                Some(WatchCommand::Close) if watched.between_events => return None,
                Some(WatchCommand::Expire) if watched.between_events => {
                    watched.over = true;
                    return Some((Ok(expired()), watched));
                }
                _ => {}
            }
            tokio::select! {
                bytes = watched.bytes.next() => {
                    let bytes = bytes?;
                    if let Ok(bytes) = &bytes {
                        watched.between_events = bytes.last() == Some(&b'\n');
                    }
                    return Some((bytes, watched));
                }
                Ok(command) = watched.commands.recv() => watched.ordered = Some(command),
            }
        }
    })
}

/// What the API server sends where the history that a watch needs is gone.
fn expired() -> Bytes {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version: 1 (2)",
    });
    Bytes::from(format!("{}\n", json!({ "type": "ERROR", "object": status })))
}

fn refusal(code: u16, reason: &str, retry_after: Option<u32>) -> Response<Body> {
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": format!("{reason}: a fault of the test"),
    });
    if let Some(seconds) = retry_after {
        status["details"] = json!({ "retryAfterSeconds": seconds });
    }
    let body = Full::new(Bytes::from(status.to_string()));
    let mut response = Response::new(body.map_err(|never: Infallible| match never {}).boxed_unsync());
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// All but what is about one connection.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in
        [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE]
    {
        headers.remove(name);
    }
    headers
}

//! Stands before the Socket.IO library: who may not connect is turned away before anything is made for them.

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use crate::app::SharedApp;
use crate::http::host;
use crate::socket::guard::Guard;
use crate::socket::lifeline::Passage;

pub(super) async fn gate(State(app): State<SharedApp>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path != "/socket.io" && !path.starts_with("/socket.io/") {
        return next.run(request).await;
    }
    let refuse = |status: StatusCode, why: &'static str| (status, why).into_response();
    let session = session_id(request.uri().query());
    // Not a refused CONNECT, which clients do not try again. Those who are here may still fetch what they are told last.
    if app.draining.is_cancelled() && session.is_none() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the hub is going away; try again in a moment");
    }
    if let Err(refusal) = host::decide(&app.config, request.uri(), request.headers()) {
        return (StatusCode::FORBIDDEN, refusal.message).into_response();
    }
    let Some(ConnectInfo(guard)) = request.extensions().get::<ConnectInfo<Guard>>().cloned() else {
        tracing::error!("a connection came through a listener without a guard");
        return refuse(StatusCode::INTERNAL_SERVER_ERROR, "this listener cannot carry Socket.IO");
    };
    let passage = session.map(|sid| app.sockets.lifelines.carried(sid, &guard));
    match passage {
        Some(Passage::Dead) => refuse(StatusCode::BAD_REQUEST, "this connection was ended; connect again"),
        Some(Passage::Pass) | None => next.run(request).await,
    }
}

fn session_id(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|pair| pair.strip_prefix("sid="))
}

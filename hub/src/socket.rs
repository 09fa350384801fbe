//! The Socket.IO side of the hub: who is connected, what they send, what is sent to them.
//!
//! The rules of this house, each learned the hard way: handlers are plain closures that do their work at once, since the
//! library spawns futures and loses the order of events; they are registered before CONNECT is answered, or first
//! events find none; connections are guarded, or one that stops reading stays for ever; what does not fit into a
//! socket's buffer waits in its outbox; nothing is dropped silently, neither an event nor an ack.

mod connect;
pub mod drone;
mod expiry;
pub mod frame;
mod gate;
pub mod guard;
pub mod ide;
mod incoming;
pub mod lifeline;
pub mod listener;
pub mod metrics;
pub mod outbox;
mod rate;
pub mod sockets;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use protocol::ide::name;
use serde_json::json;
use socketioxide::extract::SocketRef;
use socketioxide::handler::ConnectHandler as _;
use socketioxide::{ParserConfig, SocketIo};

use crate::app::SharedApp;
use crate::socket::connect::{AuthPayload, Owned};
use crate::socket::frame::Frame;
use crate::socket::outbox::OutboxLimits;

/// Bounds of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSettings {
    /// Connections of one user.
    pub per_user: usize,
    /// Packets that the library holds for one connection; more wait in its outbox.
    pub buffer: usize,
    pub outbox: OutboxLimits,
    pub connect_timeout: Duration,
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// How long a connection may stay after its token has ended.
    pub expiry_grace: Duration,
    /// Over how long they are told, one after another, that the hub goes away.
    pub farewell: Duration,
    /// How long connections may take to end after that.
    pub close: Duration,
}

impl Default for SocketSettings {
    fn default() -> Self {
        Self {
            per_user: 256,
            buffer: 512,
            outbox: OutboxLimits::default(),
            connect_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            expiry_grace: Duration::from_secs(30),
            farewell: Duration::from_millis(500),
            close: Duration::from_secs(1),
        }
    }
}

/// The Socket.IO server of a hub.
#[derive(Clone, Debug)]
pub struct Server {
    io: SocketIo,
}

/// Puts Socket.IO before a router.
pub fn attach(app: &SharedApp, router: Router) -> (Router, Server) {
    let settings = &app.sockets.settings;
    // Larger than one event may be, so that one that is too large gets an answer and not a lost connection.
    let message = app.config.limits.event * 4;
    let parser = ParserConfig::common().max_incoming_binaries(8).max_incoming_binary_buf_size(1024 * 1024);
    let (layer, io) = SocketIo::builder()
        .with_parser(parser)
        .max_buffer_size(settings.buffer)
        .max_payload(app.config.limits.event as u64)
        .ws_max_message_size(message)
        .ws_max_frame_size(message)
        .connect_timeout(settings.connect_timeout)
        .ping_interval(settings.ping_interval)
        .ping_timeout(settings.ping_timeout)
        .build_layer();
    let (before, after) = (Arc::downgrade(app), Arc::downgrade(app));
    let handler = move |socket: SocketRef| {
        if let Some(app) = after.upgrade() {
            connect::connected(&app, &socket);
        }
        ready(())
    };
    let middleware = move |socket: SocketRef, owned: Owned, AuthPayload { 0: auth }: AuthPayload| {
        connect::authenticate(before.clone(), socket, owned, auth)
    };
    io.ns("/", handler.with(middleware));
    let router = router.layer(layer).layer(axum::middleware::from_fn_with_state(Arc::clone(app), gate::gate));
    (router, Server { io })
}

/// How long a client that polls may take to come for the last that it is told.
const LAST_POLL: Duration = Duration::from_millis(250);

/// Tells each at a time of its own, in no order that means anything: the hash by which connections are kept, another one
/// in each process, has mixed them.
async fn tell_in_turn<T>(mut all: Vec<T>, over: Duration, tell: impl Fn(&T)) {
    let pause = pause_between(all.len(), over);
    while let Some(one) = all.pop() {
        tell(&one);
        if !all.is_empty() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Spreads so many evenly: the first at once, the last at the end.
fn pause_between(count: usize, over: Duration) -> Duration {
    let pauses = u32::try_from(count).unwrap_or(u32::MAX).saturating_sub(1);
    over.checked_div(pauses).unwrap_or_default()
}

impl Server {
    /// Tells everybody, ends connections in good order, then the rest.
    pub async fn close(&self, app: &SharedApp) {
        app.draining.cancel();
        let away =
            Frame::built(vec![json!({ "reason": "the hub is going away; connect again in a moment" })]);
        let SocketSettings { close: limit, farewell, .. } = app.sockets.settings;
        let outboxes = app.sockets.all_ides().into_iter().map(|conn| Arc::clone(&conn.outbox));
        let outboxes =
            outboxes.chain(app.sockets.all_drones().into_iter().map(|conn| Arc::clone(&conn.outbox)));
        // One by one over a while: told all at once, they would all come to the next hub at once.
        tell_in_turn(outboxes.collect(), farewell, |outbox| outbox.event(name::GOING_AWAY, away.clone()))
            .await;
        // Who polls may be just between two requests.
        if !app.sockets.all_ides().is_empty() {
            tokio::time::sleep(LAST_POLL).await;
        }
        // The library waits for peers; one that does not read would be waited for for ever.
        if tokio::time::timeout(limit, self.io.close()).await.is_err() {
            tracing::info!("connections did not end in time and are cut");
        }
        // It tells nobody of those that it has ended itself.
        for conn in app.sockets.all_ides() {
            conn.outbox.kill();
            conn.closed(app);
        }
        for conn in app.sockets.all_drones() {
            conn.outbox.kill();
            conn.closed(app);
        }
        app.sockets.tasks.close();
        if tokio::time::timeout(limit, app.sockets.tasks.wait()).await.is_err() {
            tracing::warn!("work for connections did not end in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_are_told_that_the_hub_goes_away_are_told_one_after_another() {
        let over = Duration::from_millis(500);
        let pause = |count| pause_between(count, over).as_millis();
        assert_eq!([0, 1, 2, 3, 501].map(pause), [0, 0, 500, 250, 1]);
    }
}

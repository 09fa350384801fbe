//! CONNECT: who is it, and what do they reach. Runs before CONNECT is answered, so that a refusal is one that the client
//! sees, and so that every handler is there before the first event.

use std::fmt;
use std::future::ready;
use std::sync::{Arc, Weak};

use axum::extract::ConnectInfo;
use protocol::drone::DroneAuth;
use protocol::error::{Code, Refusal};
use protocol::ide::{IdeAuth, name};
use protocol::ids::ChatSessionId;
use serde_json::{Value, json};
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::FromConnectParts;
use socketioxide::socket::Socket;
use socketioxide::{ParserError, TransportType};
use socketioxide_core::Value as PacketValue;

use crate::app::{App, SharedApp};
use crate::fleet::DroneIdentity;
use crate::session::drones;
use crate::session::responder::Responder;
use crate::session::state::input::{AttachAs, Input};
use crate::socket::drone::DroneConn;
use crate::socket::expiry;
use crate::socket::frame::Frame;
use crate::socket::guard::Guard;
use crate::socket::ide::{IdeConn, IdeHello, Reached};
use crate::socket::lifeline::Lifeline;
use crate::socket::outbox::Outbox;
use crate::store::refuse;

/// Longest name of a tab that is taken.
const LONGEST_TAB: usize = 128;

/// What a client reads in `CONNECT_ERROR`: JSON, since there is no other field to carry a code.
#[derive(Debug)]
pub(super) struct Refused(Refusal);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&json!(self.0).to_string())
    }
}

/// Who has connected; kept beside the socket for the handler that runs once CONNECT is answered.
#[derive(Clone)]
pub(super) enum Connected {
    Ide(Arc<IdeConn>),
    Drone(Arc<DroneConn>),
}

impl Connected {
    fn outbox(&self) -> &Outbox {
        match self {
            Self::Ide(conn) => &conn.outbox,
            Self::Drone(conn) => &conn.outbox,
        }
    }

    fn closed(&self, app: &SharedApp, sid: &str) {
        app.sockets.lifelines.remove(sid);
        match self {
            Self::Ide(conn) => conn.closed(app),
            Self::Drone(conn) => conn.closed(app),
        }
    }
}

/// The library's own handle, which its extractors do not give.
pub(super) struct Owned(Arc<Socket>);

impl FromConnectParts<socketioxide::adapter::LocalAdapter> for Owned {
    type Error = std::convert::Infallible;

    fn from_connect_parts(socket: &Arc<Socket>, _: &Option<PacketValue>) -> Result<Self, Self::Error> {
        Ok(Self(Arc::clone(socket)))
    }
}

pub(super) async fn authenticate(
    app: Weak<App>,
    socket: SocketRef,
    owned: Owned,
    auth: Result<Value, ParserError>,
) -> Result<(), Refused> {
    let Some(app) = app.upgrade() else {
        if let Some(guard) = guard_of(&socket) {
            guard.kill();
        }
        return Err(Refused(Refusal::new(Code::Draining, "the hub is going away")));
    };
    let connected = match admit(&app, &socket, owned, auth).await {
        Ok(connected) => connected,
        Err(refusal) => {
            let refusal = refusal.shortened();
            app.sockets.metrics.refused.inc();
            tracing::info!(code = refusal.code.as_str(), "refused a connection: {refusal}");
            if !is_final(refusal.code) {
                break_off(&app, &socket).await;
            }
            return Err(Refused(refusal));
        }
    };
    socket.extensions.insert(connected.clone());
    // A client that goes away in this very moment never becomes connected, and the library tells nobody.
    let (sid, limit) = (socket.id.to_string(), app.sockets.settings.connect_timeout);
    let tasks = app.sockets.tasks.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(limit) => {}
            () = app.draining.cancelled() => return,
        }
        if !connected.outbox().is_open() {
            connected.closed(&app, &sid);
        }
    });
    Ok(())
}

/// Whether it is of no use to come again.
fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::Unauthorized | Code::TokenExpired | Code::Forbidden | Code::Superseded | Code::Protocol
    )
}

/// Ends the connection without an answer. A client that is refused stays away for good; one whose connection breaks
/// comes back.
async fn break_off(app: &SharedApp, socket: &SocketRef) {
    let Some(guard) = guard_of(socket) else { return };
    let (sid, lifeline) = (socket.id.to_string(), Lifeline::new(guard));
    lifeline.kill();
    app.sockets.lifelines.insert(sid.clone(), lifeline);
    // By then the library has given it up, also where another TCP connection waits for the answer.
    tokio::select! {
        () = tokio::time::sleep(app.sockets.settings.connect_timeout * 2) => {}
        () = app.draining.cancelled() => {}
    }
    app.sockets.lifelines.remove(&sid);
}

fn guard_of(socket: &SocketRef) -> Option<Guard> {
    socket.req_parts().extensions.get::<ConnectInfo<Guard>>().map(|ConnectInfo(guard)| guard.clone())
}

async fn admit(
    app: &SharedApp,
    socket: &SocketRef,
    Owned(owned): Owned,
    auth: Result<Value, ParserError>,
) -> Result<Connected, Refusal> {
    let auth = auth.map_err(|_| Refusal::new(Code::Protocol, "the CONNECT payload must be an object"))?;
    let guard = guard_of(socket)
        .ok_or_else(|| Refusal::new(Code::Internal, "this listener cannot carry Socket.IO"))?;
    let lifeline = Lifeline::new(guard);
    let limits = app.sockets.settings.outbox;
    let outbox = Outbox::new(owned, lifeline.clone(), app.sockets.tasks.clone(), limits);
    let connected = if auth.get("registrationId").is_some() {
        drone(app, socket, &auth, outbox).await.map(Connected::Drone)?
    } else {
        ide(app, socket, &auth, outbox).await.map(Connected::Ide)?
    };
    let sid = socket.id.to_string();
    app.sockets.lifelines.insert(sid.clone(), lifeline);
    let (app, gone) = (Arc::downgrade(app), connected.clone());
    socket.on_disconnect(move || {
        if let Some(app) = app.upgrade() {
            gone.closed(&app, &sid);
        }
        ready(())
    });
    Ok(connected)
}

async fn ide(
    app: &SharedApp,
    socket: &SocketRef,
    auth: &Value,
    outbox: Arc<Outbox>,
) -> Result<Arc<IdeConn>, Refusal> {
    let IdeAuth { token, tab_id, last_seq } = serde_json::from_value(auth.clone()).map_err(|error| {
        let missing = auth.get("token").is_none();
        let code = if missing { Code::Unauthorized } else { Code::Protocol };
        Refusal::new(code, format!("the CONNECT payload must carry a token: {error}"))
    })?;
    let tab = tab_id.filter(|tab| !tab.is_empty() && tab.len() <= LONGEST_TAB);
    let principal = app.auth.authenticate(&token).await?;
    if !app.sockets.admit(principal.id()) {
        return Err(Refusal::new(Code::RateLimited, "too many connections of this account; close some"));
    }
    let hello = IdeHello { principal, tab, last_seq };
    let conn = IdeConn::new(app.sockets.next_id(), hello, outbox);
    app.sockets.add_ide(&conn);
    conn.register(app, socket);
    Ok(conn)
}

async fn drone(
    app: &SharedApp,
    socket: &SocketRef,
    auth: &Value,
    outbox: Arc<Outbox>,
) -> Result<Arc<DroneConn>, Refusal> {
    let DroneAuth { registration_id, token, workspace_id: _ } = serde_json::from_value(auth.clone())
        .map_err(|error| Refusal::new(Code::Protocol, format!("the CONNECT payload of a drone: {error}")))?;
    // Back-pressure stops reading the connection, which polling has none of.
    if socket.transport_type() != TransportType::Websocket {
        return Err(Refusal::new(Code::Protocol, "a drone connects by WebSocket"));
    }
    let identity = match app.fleet.authenticate(&registration_id, &token).await {
        Ok(Some(identity)) => identity,
        Ok(None) => return Err(Refusal::new(Code::Unauthorized, "the token is not good for this drone")),
        Err(error) => {
            let (drone, error) = (&registration_id, &error as &dyn std::error::Error);
            tracing::warn!(%drone, error, "a drone cannot be let in now; it is to come back");
            // A refusal could be taken for the last word.
            outbox.kill();
            return Err(Refusal::new(Code::Internal, "the token cannot be checked now; try again"));
        }
    };
    let DroneIdentity { drone, user } = identity;
    let generation = drones::next_generation(app, &drone).await.map_err(refuse)?;
    app.generations.set(&drone, generation);
    let conn = DroneConn::new(app.sockets.next_id(), drone, user, generation, outbox);
    app.drones.connect(&conn)?;
    app.sockets.add_drone(&conn);
    conn.register(app, socket);
    Ok(conn)
}

/// Runs once CONNECT has been answered.
pub(super) fn connected(app: &SharedApp, socket: &SocketRef) {
    match socket.extensions.get::<Connected>() {
        Some(Connected::Ide(conn)) => {
            conn.outbox.open();
            let (app, task_conn) = (Arc::clone(app), Arc::clone(&conn));
            app.sockets.tasks.clone().spawn(async move {
                tokio::join!(
                    expiry::watch(Arc::clone(&app), Arc::clone(&task_conn)),
                    reattach(&app, &task_conn)
                );
            });
        }
        Some(Connected::Drone(conn)) => conn.outbox.open(),
        None => tracing::error!("a socket is connected that nobody let in"),
    }
}

/// Brings a client back to where it was: to the sessions that it names, else to the newest of its user's sessions whose
/// turn is processing and whose tab nobody holds.
async fn reattach(app: &SharedApp, conn: &Arc<IdeConn>) {
    if !conn.comes_back {
        return;
    }
    let named = conn.named_sessions();
    let processing = match app.store.processing_turns(Some(&conn.user)).await {
        // Oldest first in the store.
        Ok(turns) => turns.into_iter().rev().map(|turn| turn.session).collect::<Vec<_>>(),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "failed to look for turns to come back to"
            );
            Vec::new()
        }
    };
    if named.is_empty() {
        let mut held = false;
        for session in processing {
            if conn.has_tab() {
                return;
            }
            match attach(app, conn, &session, AttachAs::TabOfProcessing).await {
                Attached::Tab => return,
                Attached::Held => held = true,
                Attached::Not => {}
            }
        }
        if held && !conn.has_tab() {
            let message =
                "Your session with a running turn is open in another tab; follow it, or take it over";
            conn.outbox.event(name::TAB_LOCK_DENIED, Frame::built(vec![json!({ "message": message })]));
        }
        return;
    }
    // Those whose turn runs come first, the newest before the others: one of them gets the tab.
    let rank =
        |session: &ChatSessionId| processing.iter().position(|one| one == session).unwrap_or(usize::MAX);
    let mut named = named;
    named.sort_by_key(rank);
    for session in named {
        let want = if conn.has_tab() { AttachAs::Follower } else { AttachAs::TabOrFollower };
        attach(app, conn, &session, want).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attached {
    Tab,
    Held,
    Not,
}

async fn attach(app: &SharedApp, conn: &Arc<IdeConn>, session: &ChatSessionId, want: AttachAs) -> Attached {
    let Some(Reached { handle, peer, last_seq }) = conn.come_back(app, session) else { return Attached::Not };
    let (answer, outcome) = Responder::channel();
    handle.tell(Input::Attach { peer, last_seq, want, answer });
    let answered = outcome.await.unwrap_or_default();
    conn.came_back();
    match answered.as_slice() {
        [Value::Bool(true), ..] => Attached::Tab,
        [_, Value::String(why)] if why == "held" => Attached::Held,
        _ => Attached::Not,
    }
}

/// What the handler before CONNECT takes.
pub(super) type AuthPayload = TryData<Value>;

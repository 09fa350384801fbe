//! One connection of an IDE: which sessions it reaches, and the way of its requests to them.
//!
//! Handlers run inside the connection's reader, in order, and only parse and hand over: what must wait waits in a
//! session's actor. Requests that name no session go to the session whose tab this connection holds or has just asked
//! for, so a prompt sent right after a lock request reaches the same actor behind it.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use protocol::error::{Code, Refusal};
use protocol::ide::{IdeRequest, name, refusal_ack};
use protocol::ids::{ChatSessionId, UserId};
use protocol::value::WorkspaceMode;
use socketioxide::extract::SocketRef;
use tokio::time::Instant;

use crate::app::SharedApp;
use crate::auth::Principal;
use crate::session::ConnId;
use crate::session::registry::Handle;
use crate::session::responder::Responder;
use crate::session::state::input::{Input, Peer};
use crate::session::state::request::event_of;
use crate::socket::expiry::Expiry;
use crate::socket::incoming::Incoming;
use crate::socket::outbox::Outbox;
use crate::socket::rate::Bucket;

/// Sessions that one connection may follow at a time.
const MOST_FOLLOWED: usize = 64;
/// Requests of one connection: at once, and per second for long.
const REQUEST_BURST: u32 = 200;
const REQUESTS_PER_SECOND: f64 = 50.0;

pub struct IdeConn {
    pub id: ConnId,
    pub user: UserId,
    pub tab: Option<Arc<str>>,
    pub outbox: Arc<Outbox>,
    pub(super) expiry: Expiry,
    /// Whether it wants its session back. A client that names no session on purpose, with an empty `lastSeq`, only
    /// reads along somewhere: it must not get the tab of one that another client has not come back to yet.
    pub(super) comes_back: bool,
    /// Locked for a look only, never across an await: the reader and session actors change it.
    routes: Mutex<Routes>,
    rate: Mutex<Bucket>,
    complained: AtomicBool,
}

#[derive(Default)]
struct Routes {
    /// The session whose tab this connection holds.
    tab: Option<Handle>,
    /// The session whose tab it has asked for.
    wanted: Option<Handle>,
    /// The session to which it is coming back by itself.
    coming_back_to: Option<Handle>,
    /// Sessions that know this connection, or are asked something by it; the above among them.
    known: HashMap<ChatSessionId, Known>,
    /// How much has been asked of sessions.
    asked: u64,
    /// What it said at its connect to have seen; each is good for the first use.
    last_seq: HashMap<ChatSessionId, u64>,
    /// The connection is gone: nothing may be told of it to a session any more.
    closed: bool,
}

struct Known {
    handle: Handle,
    /// The number of the last thing that was asked of it: what it decides by an older one is out of date.
    asked: u64,
}

/// A session that is about to be asked something.
pub(super) struct Reached {
    pub(super) handle: Handle,
    /// Who asks.
    pub(super) peer: Peer,
    /// What the client said at its connect to have seen of it; good for one use.
    pub(super) last_seq: Option<u64>,
}

/// What an IDE said at its connect.
pub(super) struct IdeHello {
    pub(super) principal: Principal,
    pub(super) tab: Option<String>,
    pub(super) last_seq: Option<HashMap<ChatSessionId, u64>>,
}

impl IdeConn {
    pub(super) fn new(id: ConnId, hello: IdeHello, outbox: Arc<Outbox>) -> Arc<Self> {
        let IdeHello { principal, tab, last_seq } = hello;
        let comes_back = last_seq.as_ref().is_none_or(|named| !named.is_empty());
        let last_seq = last_seq.unwrap_or_default();
        Arc::new(Self {
            id,
            user: principal.id().clone(),
            tab: tab.map(Into::into),
            outbox,
            expiry: Expiry::new(&principal),
            comes_back,
            routes: Mutex::new(Routes { last_seq, ..Routes::default() }),
            rate: Mutex::new(Bucket::new(REQUEST_BURST, REQUESTS_PER_SECOND, Instant::now())),
            complained: AtomicBool::new(false),
        })
    }

    /// Registers every handler. Called before CONNECT is answered: events that come first would find none later.
    pub(super) fn register(self: &Arc<Self>, app: &SharedApp, socket: &SocketRef) {
        // The library can outlive the hub with its handlers; they must not keep the hub alive.
        let app = Arc::downgrade(app);
        for event in name::REQUESTS {
            let (app, conn) = (app.clone(), Arc::clone(self));
            socket.on(*event, move |incoming: Incoming| {
                if let Some(app) = app.upgrade() {
                    conn.receive(&app, event, &incoming);
                }
                ready(())
            });
        }
        let conn = Arc::clone(self);
        socket.on_fallback(move |incoming: Incoming| {
            if let Some(app) = app.upgrade() {
                conn.receive(&app, &incoming.name(), &incoming);
            }
            ready(())
        });
    }

    fn receive(self: &Arc<Self>, app: &SharedApp, event: &str, incoming: &Incoming) {
        let answer = Responder::ack(Arc::clone(&self.outbox), incoming.ack);
        app.sockets.metrics.ide_requests.inc();
        let request = if self.rate.lock().take(Instant::now()) {
            incoming
                .values(app.config.limits.event)
                .and_then(|args| IdeRequest::parse(event, &args))
                .and_then(|request| self.limit(app, request))
        } else {
            Err(Refusal::new(Code::RateLimited, "too many requests; slow down"))
        };
        match request {
            Ok(request) => self.dispatch(app, request, answer),
            Err(refusal) => {
                self.complain(event, &refusal);
                refuse(event, &refusal.shortened(), answer);
            }
        }
    }

    fn limit(&self, app: &SharedApp, request: IdeRequest) -> Result<IdeRequest, Refusal> {
        if let IdeRequest::SubmitPrompt { content } = &request {
            let most = app.config.limits.prompt;
            if content.len() > most {
                let words = format!("the prompt has {} bytes, {most} are allowed", content.len());
                return Err(Refusal::new(Code::TooLarge, words));
            }
            if !app.sockets.prompts.take(&self.user, Instant::now()) {
                return Err(Refusal::new(
                    Code::RateLimited,
                    "too many prompts in a minute; wait a moment before the next one",
                ));
            }
        }
        Ok(request)
    }

    fn dispatch(self: &Arc<Self>, app: &SharedApp, request: IdeRequest, answer: Responder) {
        let event = event_of(&request);
        let wanted = match &request {
            IdeRequest::AuthRefresh { token } => return self.refresh(app, token.clone(), answer),
            IdeRequest::RequestSessionLock { chat_session, .. } => Some(chat_session.clone()),
            _ => None,
        };
        let reached = match &request {
            IdeRequest::RequestSessionLock { chat_session, .. }
            | IdeRequest::UnfollowSession { chat_session } => self.reach(app, chat_session),
            IdeRequest::Resume(follow) | IdeRequest::FollowSession(follow) => {
                self.reach(app, &follow.chat_session_id)
            }
            IdeRequest::ReleaseSessionLock { chat_session: Some(chat_session) }
            | IdeRequest::RequestWorkspaceMode { chat_session: Some(chat_session), .. } => {
                self.target(Some(chat_session))
            }
            _ => self.target(None),
        };
        let Reached { handle, peer, last_seq } = match reached {
            Ok(reached) => reached,
            Err(refusal) => return refuse(event, &refusal, answer),
        };
        // Before the session can answer.
        let before = wanted.is_some().then(|| self.routes.lock().wanted.replace(handle.clone()));
        let input = Input::Ide { peer, request, last_seq, answer };
        if let Err(Input::Ide { answer, .. }) = handle.ask(input) {
            if let Some(before) = before {
                self.routes.lock().wanted = before;
            }
            refuse(event, &Refusal::new(Code::RateLimited, "the session is too busy; try again"), answer);
        } else if let Some(wanted) = wanted {
            self.come_back_no_more(&wanted);
        }
    }

    /// The client has asked for this session: it gets no other one any more by coming back to it.
    fn come_back_no_more(&self, wanted: &ChatSessionId) {
        let other = self.routes.lock().coming_back_to.take_if(|other| other.session() != wanted);
        if let Some(other) = other {
            other.tell(Input::Withdrawn { conn: self.id });
        }
    }

    /// Begins to come back to a session, until [`Self::came_back`].
    pub(super) fn come_back(&self, app: &SharedApp, session: &ChatSessionId) -> Option<Reached> {
        let reached = self.reach(app, session).ok()?;
        self.routes.lock().coming_back_to = Some(reached.handle.clone());
        Some(reached)
    }

    pub(super) fn came_back(&self) {
        self.routes.lock().coming_back_to = None;
    }

    /// The session's actor, which from now on is told when this connection ends.
    pub(super) fn reach(&self, app: &SharedApp, session: &ChatSessionId) -> Result<Reached, Refusal> {
        let mut routes = self.routes.lock();
        if routes.closed {
            return Err(Refusal::new(Code::Conflict, "the connection is gone"));
        }
        let known = routes.known.get(session).map(|known| known.handle.clone());
        let handle = match known {
            Some(handle) => handle,
            None if routes.known.len() >= MOST_FOLLOWED => {
                return Err(Refusal::new(
                    Code::RateLimited,
                    "this connection follows too many sessions; unfollow some",
                ));
            }
            None => app.sessions.handle(app, session),
        };
        Ok(self.ask_of(&mut routes, handle))
    }

    /// The session that this connection's tab is on, which must be the one that is named, where one is.
    fn target(&self, named: Option<&ChatSessionId>) -> Result<Reached, Refusal> {
        let mut routes = self.routes.lock();
        let target = routes.wanted.clone().or_else(|| routes.tab.clone()).ok_or_else(|| {
            Refusal::new(Code::NoSession, "this tab holds no chat session; ask for its lock first")
        })?;
        if named.is_some_and(|named| named != target.session()) {
            return Err(Refusal::new(Code::NoSession, "this tab holds another chat session"));
        }
        Ok(self.ask_of(&mut routes, target))
    }

    /// Notes that the session is asked for something.
    fn ask_of(&self, routes: &mut Routes, handle: Handle) -> Reached {
        routes.asked += 1;
        let asked = routes.asked;
        let known = Known { handle: handle.clone(), asked };
        routes.known.insert(handle.session().clone(), known);
        let last_seq = routes.last_seq.remove(handle.session());
        let peer = Peer { conn: self.id, user: self.user.clone(), tab: self.tab.clone(), asked };
        Reached { handle, peer, last_seq }
    }

    /// The sessions that the client named at its connect, and has not used yet.
    pub(super) fn named_sessions(&self) -> Vec<ChatSessionId> {
        self.routes.lock().last_seq.keys().cloned().collect()
    }

    /// Whether its tab is on a session, or about to be.
    pub(super) fn has_tab(&self) -> bool {
        let routes = self.routes.lock();
        routes.tab.is_some() || routes.wanted.is_some()
    }

    /// The session has given its tab to this connection. `by_itself`: not because it asked for it, so that one that it
    /// did ask for meanwhile comes first.
    pub fn tab_taken(&self, session: &ChatSessionId, by_itself: bool) {
        let mut routes = self.routes.lock();
        let Some(Known { handle, asked }) = routes.known.get(session) else { return };
        let (handle, asked) = (handle.clone(), *asked);
        let meant = routes.wanted.as_ref().or(routes.tab.as_ref());
        if by_itself && meant.is_some_and(|meant| meant.session() != session) {
            drop(routes);
            handle.tell(Input::TabMoved { conn: self.id, asked });
            return;
        }
        routes.wanted.take_if(|wanted| wanted.session() == session);
        let before = routes.tab.replace(handle).filter(|before| before.session() != session);
        let asked = before.as_ref().and_then(|before| routes.known.get(before.session()));
        let asked = asked.map_or(0, |known| known.asked);
        drop(routes);
        if let Some(before) = before {
            before.tell(Input::TabMoved { conn: self.id, asked });
        }
    }

    /// The session has not given its tab to this connection, or has taken it away.
    pub fn tab_lost(&self, session: &ChatSessionId) {
        self.routes.lock().lose_tab(session);
    }

    /// The session is not there, or has nothing to do with this connection: nothing here should keep its actor. Not if
    /// it has been asked for more than it had heard then, `upto`.
    pub fn forget(&self, session: &ChatSessionId, upto: u64) {
        let mut routes = self.routes.lock();
        if routes.known.get(session).is_some_and(|known| known.asked <= upto) {
            routes.known.remove(session);
            routes.lose_tab(session);
        }
    }

    fn refresh(self: &Arc<Self>, app: &SharedApp, token: String, answer: Responder) {
        let (app, conn) = (Arc::clone(app), Arc::clone(self));
        let tasks = app.sockets.tasks.clone();
        tasks.spawn(async move {
            let renewed = app.auth.authenticate(&token).await.and_then(|principal| {
                if *principal.id() == conn.user {
                    Ok(principal)
                } else {
                    Err(Refusal::new(Code::Forbidden, "the token is of another user"))
                }
            });
            match renewed {
                Ok(principal) => {
                    let expires_at = principal.expires_at();
                    conn.expiry.renew(&principal);
                    answer.answer(vec![true.into(), serde_json::json!({ "expiresAt": expires_at })]);
                }
                Err(refusal) => refuse(name::AUTH_REFRESH, &refusal, answer),
            }
        });
    }

    fn complain(&self, event: &str, refusal: &Refusal) {
        let code = refusal.code.as_str();
        if self.complained.swap(true, Ordering::Relaxed) {
            tracing::debug!(user = %self.user, event, code, "refused an event");
        } else {
            tracing::warn!(user = %self.user, event, code, "refused an event; further ones of this connection are not logged");
        }
    }

    pub(super) fn closed(&self, app: &SharedApp) {
        self.outbox.close();
        self.expiry.end();
        app.sockets.remove_ide(self);
        let mut routes = self.routes.lock();
        routes.closed = true;
        let known = std::mem::take(&mut routes.known);
        routes.tab = None;
        routes.wanted = None;
        routes.coming_back_to = None;
        drop(routes);
        for Known { handle, asked: _ } in known.into_values() {
            handle.tell(Input::Gone { conn: self.id });
        }
    }
}

impl Routes {
    fn lose_tab(&mut self, session: &ChatSessionId) {
        self.wanted.take_if(|wanted| wanted.session() == session);
        self.tab.take_if(|tab| tab.session() == session);
    }
}

fn refuse(event: &str, refusal: &Refusal, answer: Responder) {
    answer.answer(refusal_ack(event, refusal, "", WorkspaceMode::Idle));
}

//! One connection of a drone: the way of what it says to its session, and of commands to it.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use protocol::drone::{CrashRecoveryRequest, Hello, HelloAck, name as drone_name};
use protocol::error::{Code, Refusal};
use protocol::event::{EventName, RawEvent};
use protocol::ide::name;
use protocol::ids::{ChatSessionId, DroneId, UserId};
use protocol::value::WorkspaceMode;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use socketioxide::extract::SocketRef;

use crate::app::SharedApp;
use crate::session::ConnId;
use crate::session::drones;
use crate::session::registry::Handle;
use crate::session::responder::Responder;
use crate::session::state::input::{DroneInput, Input, Unanswered};
use crate::socket::frame::Frame;
use crate::socket::incoming::Incoming;
use crate::socket::outbox::Outbox;

/// What may wait while it is being found out which session the drone works for.
const MOST_PARKED: usize = 1024;

/// Why a drone's connection is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The session's inbox is nearly full.
    Inbox = 1,
    /// Too much waits for the store.
    Store = 2,
    /// Its session is being looked up.
    Route = 4,
}

pub struct DroneConn {
    pub id: ConnId,
    pub drone: DroneId,
    pub user: UserId,
    pub generation: u64,
    pub outbox: Arc<Outbox>,
    /// Locked for a look only, never across an await.
    route: Mutex<Route>,
    /// Reasons not to read, one bit each.
    paused: AtomicU8,
    complained: AtomicBool,
}

enum Route {
    /// It has not said hello yet.
    Unknown,
    /// Said hello; its session is being looked up, and what it says meanwhile waits.
    Resolving(Vec<DroneInput>),
    /// Works for no session.
    Free(Hello),
    To {
        session: Handle,
        hello: Hello,
    },
    Closed,
}

impl DroneConn {
    pub(super) fn new(
        id: ConnId,
        drone: DroneId,
        user: UserId,
        generation: u64,
        outbox: Arc<Outbox>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            drone,
            user,
            generation,
            outbox,
            route: Mutex::new(Route::Unknown),
            paused: AtomicU8::new(0),
            complained: AtomicBool::new(false),
        })
    }

    pub(super) fn register(self: &Arc<Self>, app: &SharedApp, socket: &SocketRef) {
        // The library can outlive the hub with its handlers; they must not keep the hub alive.
        let app = Arc::downgrade(app);
        for event in EventName::ALL {
            let (app, conn, event) = (app.clone(), Arc::clone(self), event.as_str());
            socket.on(event, move |incoming: Incoming| {
                if let Some(app) = app.upgrade() {
                    conn.turn_event(&app, event, &incoming);
                }
                ready(())
            });
        }
        let conn = Arc::clone(self);
        socket.on_fallback(move |incoming: Incoming| {
            if let Some(app) = app.upgrade() {
                conn.other_event(&app, &incoming.name(), &incoming);
            }
            ready(())
        });
    }

    fn turn_event(self: &Arc<Self>, app: &SharedApp, event: &str, incoming: &Incoming) {
        let answer = Responder::ack(Arc::clone(&self.outbox), incoming.ack);
        app.sockets.metrics.turn_events.inc();
        match incoming.raw(app.config.limits.event).and_then(|args| RawEvent::from_drone(event, args)) {
            Ok((event, meta)) => self.say(DroneInput::Event { event, meta, answer }),
            Err(refusal) => self.refuse(event, &refusal, answer),
        }
    }

    fn other_event(self: &Arc<Self>, app: &SharedApp, event: &str, incoming: &Incoming) {
        let answer = Responder::ack(Arc::clone(&self.outbox), incoming.ack);
        let limit = app.config.limits.event;
        let said = match event {
            drone_name::HELLO => match first::<Hello>(incoming, limit) {
                Ok(hello) => return self.hello(app, hello, answer),
                Err(refusal) => Err(refusal),
            },
            name::STATUS => first::<String>(incoming, limit).map(DroneInput::Status),
            name::WORKSPACE_MODE_CHANGED => first::<WorkspaceMode>(incoming, limit).map(DroneInput::Mode),
            name::LOG => incoming.raw(limit).map(DroneInput::Log),
            drone_name::REQUEST_CRASH_RECOVERY => {
                first::<CrashRecoveryRequest>(incoming, limit).map(DroneInput::Recovery)
            }
            // It says that it has understood; its going tells the rest.
            drone_name::REQUEST_TERMINATION => return answer.answer(vec![true.into()]),
            other => Err(Refusal::new(Code::UnknownEvent, format!("no event is called {other:?}"))),
        };
        match said {
            Ok(said) => {
                self.say(said);
                answer.answer(vec![true.into()]);
            }
            Err(refusal) => self.refuse(event, &refusal, answer),
        }
    }

    fn say(self: &Arc<Self>, said: DroneInput) {
        let mut route = self.route.lock();
        match &mut *route {
            Route::To { session, hello: _ } => {
                let session = session.clone();
                drop(route);
                self.hand_over(&session, said);
            }
            Route::Resolving(parked) if parked.len() < MOST_PARKED => parked.push(said),
            Route::Resolving(_) => {
                drop(route);
                self.outbox.kill();
            }
            Route::Unknown | Route::Free(_) | Route::Closed => {
                drop(route);
                if let DroneInput::Event { event, meta: _, answer } = said {
                    let words = "this drone works for no session; say hello first";
                    self.refuse(event.name.as_str(), &Refusal::new(Code::NoSession, words), answer);
                }
            }
        }
    }

    fn hand_over(self: &Arc<Self>, session: &Handle, said: DroneInput) {
        match session.say(Input::Drone { conn: self.id, said }) {
            Some(room) if room.is_short() => self.pause(Pause::Inbox, true),
            Some(_) => {}
            // It was not stopped in time: it comes back and says all of it again.
            None => self.outbox.kill(),
        }
    }

    fn hello(self: &Arc<Self>, app: &SharedApp, hello: Hello, answer: Responder) {
        let mut route = self.route.lock();
        let bound = app.drones.session_of(&self.drone);
        let told = hello.lock.as_ref().map(|lock| lock.chat_session_id.clone());
        match &mut *route {
            Route::Closed => {}
            Route::Resolving(parked) => {
                // Said again before the first was understood: the newer is true.
                let said = self.hello_input(hello, false, answer);
                parked.push(said);
            }
            Route::To { session, hello: known }
                if bound.as_ref() == Some(session.session())
                    && told.as_ref().is_none_or(|told| told == session.session()) =>
            {
                known.clone_from(&hello);
                let session = session.clone();
                drop(route);
                let said = self.hello_input(hello, false, answer);
                self.hand_over(&session, said);
            }
            Route::Unknown | Route::Free(_) | Route::To { .. } => {
                let before = std::mem::replace(&mut *route, Route::Resolving(Vec::new()));
                drop(route);
                if let Route::To { session, hello: _ } = before {
                    session.tell(Input::Drone { conn: self.id, said: DroneInput::Gone });
                }
                self.pause(Pause::Route, true);
                let (app, conn) = (Arc::clone(app), Arc::clone(self));
                let tasks = app.sockets.tasks.clone();
                tasks.spawn(async move { conn.resolve(&app, hello, answer).await });
            }
        }
    }

    fn hello_input(&self, hello: Hello, first: bool, answer: Responder) -> DroneInput {
        DroneInput::Hello { drone: self.drone.clone(), hello, generation: self.generation, first, answer }
    }

    /// Finds out which session the drone works for; the drone's own word counts where it can be true.
    async fn resolve(self: Arc<Self>, app: &SharedApp, hello: Hello, answer: Responder) {
        let told = hello.lock.as_ref().map(|lock| lock.chat_session_id.clone());
        let bound = drones::session_for(app, &self, told.as_ref()).await;
        if told.is_some() && bound != told {
            // A lock on something that is not there, or not its own: it is let go.
            let args = Frame::built(vec![Value::Null, Value::Null, Value::Null]);
            let _answered = self.ask(name::RELEASE_SESSION_LOCK, args, Duration::from_secs(10));
        }
        self.settle(app, hello.clone(), answer);
        self.pause(Pause::Route, false);
        drones::note_hello(app, &self.drone, &hello).await;
    }

    fn settle(self: &Arc<Self>, app: &SharedApp, mut hello: Hello, answer: Responder) {
        let mut route = self.route.lock();
        if matches!(*route, Route::Closed) {
            return;
        }
        // Looked at now: it may have been bound, or let go, since it was asked about.
        let bound = app.drones.session_of(&self.drone);
        hello.lock.take_if(|lock| bound.as_ref() != Some(&lock.chat_session_id));
        let handle = bound.map(|session| app.sessions.handle(app, &session));
        let to = match &handle {
            Some(session) => Route::To { session: session.clone(), hello: hello.clone() },
            None => Route::Free(hello.clone()),
        };
        let parked = match std::mem::replace(&mut *route, to) {
            Route::Resolving(parked) => parked,
            Route::Unknown | Route::Free(_) | Route::To { .. } | Route::Closed => Vec::new(),
        };
        if let Some(session) = handle {
            // In one go under the lock, so that nothing overtakes what was parked.
            self.hand_over(&session, self.hello_input(hello, true, answer));
            for said in parked {
                self.hand_over(&session, said);
            }
        } else {
            drop(route);
            self.rest_soon(app);
            let generation = self.generation;
            let ack = HelloAck { generation, session_token: None, expires_at: None, stored_seq: None };
            answer.answer(vec![json!(ack)]);
            for said in parked {
                self.say(said);
            }
        }
    }

    /// A drone that still works for no session when it has been idle for as long as one that does may be is stopped.
    fn rest_soon(self: &Arc<Self>, app: &SharedApp) {
        let idle = app.sessions.limits.idle;
        // Nought is never.
        if idle.is_zero() {
            return;
        }
        let (app, conn) = (Arc::clone(app), Arc::downgrade(self));
        let tasks = app.sockets.tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(idle) => {}
                () = app.draining.cancelled() => return,
            }
            if let Some(conn) = conn.upgrade()
                && matches!(*conn.route.lock(), Route::Free(_))
            {
                drones::suspend_idle(&app, &conn.drone).await;
            }
        });
    }

    /// The drone works for this session now. Says hello to it in the drone's name; where the drone has yet to say its
    /// own, that goes there by itself.
    pub fn bind(self: &Arc<Self>, session: Handle) {
        let mut route = self.route.lock();
        let Some((old, hello)) = route.go_over_to(&session) else { return };
        if let Some(old) = old {
            old.tell(Input::Drone { conn: self.id, said: DroneInput::Gone });
        }
        self.hand_over(&session, self.hello_input(hello, true, Responder::nobody()));
    }

    /// The drone works for this session no more.
    pub fn unbind(&self, session: &ChatSessionId) {
        if let Some(session) = self.route.lock().leave(session) {
            session.tell(Input::Drone { conn: self.id, said: DroneInput::Gone });
        }
    }

    /// What it said of itself last.
    #[cfg(feature = "kube")]
    pub(crate) fn hello_said(&self) -> Option<Hello> {
        match &*self.route.lock() {
            Route::Free(hello) | Route::To { session: _, hello } => Some(hello.clone()),
            Route::Unknown | Route::Resolving(_) | Route::Closed => None,
        }
    }

    /// Whether it has said hello.
    pub fn is_ready(&self) -> bool {
        matches!(*self.route.lock(), Route::Free(_) | Route::To { .. })
    }

    /// Sends a command; the answer's arguments, or why there is none.
    pub fn ask(
        &self,
        event: &'static str,
        args: Frame,
        limit: Duration,
    ) -> impl Future<Output = Result<Vec<Value>, Unanswered>> + Send + use<> {
        let answer = self.outbox.ask(event, args, limit);
        async move { answer.await.unwrap_or(Err(Unanswered::Disconnected)) }
    }

    pub fn pause(&self, why: Pause, paused: bool) {
        let bit = why as u8;
        let before = if paused {
            self.paused.fetch_or(bit, Ordering::AcqRel)
        } else {
            self.paused.fetch_and(!bit, Ordering::AcqRel)
        };
        let after = if paused { before | bit } else { before & !bit };
        if (before == 0) != (after == 0) {
            self.outbox.lifeline().pause(after != 0);
        }
    }

    fn refuse(&self, event: &str, refusal: &Refusal, answer: Responder) {
        let code = refusal.code.as_str();
        if self.complained.swap(true, Ordering::Relaxed) {
            tracing::debug!(drone = %self.drone, event, code, "refused a drone's event");
        } else {
            tracing::warn!(drone = %self.drone, event, code, "refused a drone's event; further ones are not logged");
        }
        answer.answer(vec![false.into(), json!(refusal.clone().shortened())]);
    }

    pub(super) fn closed(&self, app: &SharedApp) {
        self.outbox.close();
        app.drones.disconnect(self);
        app.sockets.remove_drone(self);
        let before = std::mem::replace(&mut *self.route.lock(), Route::Closed);
        if let Route::To { session, hello: _ } = before {
            session.tell(Input::Drone { conn: self.id, said: DroneInput::Gone });
        }
    }
}

impl Route {
    /// Leads to the session from now on. Hands back the one to which it led, and what is to be said to the new one;
    /// nothing where it leads there already or nothing is known of the drone yet.
    fn go_over_to(&mut self, session: &Handle) -> Option<(Option<Handle>, Hello)> {
        let (old, hello) = match self {
            Self::Free(hello) => (None, hello.clone()),
            Self::To { session: old, hello } if old.session() != session.session() => {
                (Some(old.clone()), hello.clone())
            }
            Self::To { .. } | Self::Unknown | Self::Resolving(_) | Self::Closed => return None,
        };
        *self = Self::To { session: session.clone(), hello: hello.clone() };
        Some((old, hello))
    }

    /// Leads to the session no more. Hands it back where it did.
    fn leave(&mut self, session: &ChatSessionId) -> Option<Handle> {
        let Self::To { session: left, hello } = self else { return None };
        if left.session() != session {
            return None;
        }
        let (left, hello) = (left.clone(), Hello { lock: None, turn: None, ..hello.clone() });
        *self = Self::Free(hello);
        Some(left)
    }
}

/// An event's first argument.
fn first<T: DeserializeOwned>(incoming: &Incoming, limit: usize) -> Result<T, Refusal> {
    let args = incoming.raw(limit)?;
    let text = args.first().map_or("null", |arg| arg.get());
    serde_json::from_str(text)
        .map_err(|error| Refusal::new(Code::Invalid, format!("the argument cannot be read: {error}")))
}

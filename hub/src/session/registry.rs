//! Which sessions are live, and the ways into them.
//!
//! An actor is started by the first who reaches for it. It ends when nothing is in it, nobody holds a way into it and
//! its inboxes are empty; that is looked at under the same lock that hands ways out, so no input meets a closed door.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use protocol::ids::ChatSessionId;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::SharedApp;
use crate::session::actor;
use crate::session::state::input::Input;
use crate::session::state::limits::SessionLimits;

/// Inputs of IDEs and of the hub itself that may wait for one session.
const INBOX: usize = 512;
/// Inputs of the session's drone that may wait. What one read from its connection can hold must fit above the mark at
/// which reading stops.
const DRONE_INBOX: usize = 2048;
const DRONE_SHORT: usize = 512;

#[derive(Debug)]
pub struct Sessions {
    pub limits: SessionLimits,
    /// Locked for a look-up, and for starting or ending an actor; never across an await.
    live: Mutex<HashMap<ChatSessionId, Handle>>,
    pub(super) tasks: TaskTracker,
    /// Actors end, whatever is in them.
    pub(super) closing: CancellationToken,
    /// How many sessions' events wait for a store that fails.
    store_failing: AtomicUsize,
}

/// A way into a session. The session's actor lives as long as one is held.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Ways>);

#[derive(Debug)]
struct Ways {
    session: ChatSessionId,
    inbox: mpsc::Sender<Input>,
    drone_inbox: mpsc::Sender<Input>,
    tasks: TaskTracker,
}

/// The other ends.
#[derive(Debug)]
pub(super) struct Inboxes {
    pub(super) session: ChatSessionId,
    pub(super) inbox: mpsc::Receiver<Input>,
    pub(super) drone: mpsc::Receiver<Input>,
}

/// What is left in a drone's inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room(usize);

impl Room {
    /// Reading must stop.
    pub fn is_short(self) -> bool {
        self.0 < DRONE_SHORT
    }
}

impl Sessions {
    pub fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            live: Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            store_failing: AtomicUsize::new(0),
        }
    }

    /// The way into the session, whose actor is started where there is none. Whether there is such a session the actor
    /// finds out.
    pub fn handle(&self, app: &SharedApp, session: &ChatSessionId) -> Handle {
        let mut live = self.live.lock();
        if let Some(handle) = live.get(session) {
            return handle.clone();
        }
        let (inbox, inbox_end) = mpsc::channel(INBOX);
        let (drone_inbox, drone_end) = mpsc::channel(DRONE_INBOX);
        let ways = Ways { session: session.clone(), inbox, drone_inbox, tasks: self.tasks.clone() };
        let handle = Handle(Arc::new(ways));
        // At the end nothing is started any more: inputs are dropped, which answers them.
        if !self.closing.is_cancelled() {
            live.insert(session.clone(), handle.clone());
            let inboxes = Inboxes { session: session.clone(), inbox: inbox_end, drone: drone_end };
            self.tasks.spawn(actor::run(Arc::clone(app), inboxes));
        }
        handle
    }

    /// The way into a session that is live.
    pub fn peek(&self, session: &ChatSessionId) -> Option<Handle> {
        self.live.lock().get(session).cloned()
    }

    /// Lets a session know of something, if it is live; one that is not reads it from the store when it comes to life.
    pub fn tell(&self, session: &ChatSessionId, input: impl FnOnce() -> Input) {
        if let Some(handle) = self.peek(session) {
            handle.tell(input());
        }
    }

    pub fn count(&self) -> usize {
        self.live.lock().len()
    }

    /// Whether any session's events wait because the store fails: the hub is not ready then.
    pub fn is_store_failing(&self) -> bool {
        self.store_failing.load(Ordering::Relaxed) > 0
    }

    pub(super) fn note_store_failing(&self, fails: bool) {
        if fails {
            self.store_failing.fetch_add(1, Ordering::Relaxed);
        } else {
            self.store_failing.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Takes the session off the list if nobody could miss its actor.
    pub(super) fn retire(&self, inboxes: &Inboxes) -> bool {
        let mut live = self.live.lock();
        let alone = live.get(&inboxes.session).is_some_and(|handle| Arc::strong_count(&handle.0) == 1);
        let idle = alone && inboxes.inbox.is_empty() && inboxes.drone.is_empty();
        if idle {
            live.remove(&inboxes.session);
        }
        idle
    }

    /// Takes the session off the list although it may be missed: its actor ends now.
    pub(super) fn remove(&self, session: &ChatSessionId) {
        self.live.lock().remove(session);
    }

    /// Ends all actors and waits for them.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Handle {
    pub fn session(&self) -> &ChatSessionId {
        &self.0.session
    }

    /// Hands an input over, or back when the session is too busy.
    #[expect(clippy::result_large_err, reason = "what is handed back is answered by who handed it over")]
    pub fn ask(&self, input: Input) -> Result<(), Input> {
        self.0.inbox.try_send(input).map_err(|error| match error {
            TrySendError::Full(input) | TrySendError::Closed(input) => input,
        })
    }

    /// Hands over an input that must not be lost, now or as soon as there is room.
    pub fn tell(&self, input: Input) {
        // Closed: the hub is ending, and nobody is left to care.
        if let Err(TrySendError::Full(input)) = self.0.inbox.try_send(input) {
            let handle = self.clone();
            self.0.tasks.spawn(async move {
                let _closed = handle.0.inbox.send(input).await;
            });
        }
    }

    /// Hands over what the session's drone said, in the drone's own lane. `None`: it did not fit, and is dropped.
    pub fn say(&self, input: Input) -> Option<Room> {
        self.0.drone_inbox.try_send(input).ok().map(|()| Room(self.0.drone_inbox.capacity()))
    }
}

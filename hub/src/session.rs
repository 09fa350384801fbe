//! Live chat sessions: one actor each, the only owner of the session's state.
//!
//! [`state`] decides and does nothing, [`effect`] does and decides nothing, [`actor`] is the task between them,
//! [`registry`] starts it when the first input for a session arrives and lets it go when nothing is left in it.

mod actor;
pub mod drones;
mod effect;
pub mod registry;
pub mod responder;
pub mod state;
mod work_order;

use std::sync::Arc;
use std::time::Duration;

use protocol::ids::ChatSessionId;

use crate::app::SharedApp;
use crate::store::StoreError;

/// Takes up what a hub before this one left behind: drones that work, and turns that are not over. Nobody has to ask.
pub async fn begin(app: &SharedApp) -> Result<(), StoreError> {
    drones::load(app).await?;
    app.sessions.tasks.spawn(drones::watch_fleet(Arc::clone(app)));
    for turn in app.store.processing_turns(None).await? {
        tracing::info!(session = %turn.session, turn = %turn.id, "goes on with a turn that was left behind");
        app.sessions.handle(app, &turn.session);
    }
    Ok(())
}

/// After how long without work the session's drone is suspended: the session's own word, else the hub's.
pub(crate) fn idle(app: &SharedApp, session: &ChatSessionId) -> Duration {
    let said = app.fleet.idle_timeout(session).unwrap_or(app.sessions.limits.idle);
    // Nought is never: longer than anybody waits, and far from the end of any clock.
    if said.is_zero() { Duration::from_hours(24 * 365 * 50) } else { said }
}

/// One connection of an IDE or a drone, for as long as it lives. Never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl std::fmt::Display for ConnId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

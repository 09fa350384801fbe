//! Times and bounds of a session. The defaults are what clients may rely on.

use std::time::Duration;

use crate::session::state::log::LogLimits;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// How long the holder of a tab lock is probed before another tab is refused.
    pub probe: Duration,
    /// How long a lock request waits for its drone; after it the tab is open and the drone is still on its way.
    pub lock_wait: Duration,
    /// How long a drone has to answer a command.
    pub command: Duration,
    /// The same for taking a lock, which may bring a clone with it.
    pub lock_command: Duration,
    /// The same for accepting a work order.
    pub dispatch: Duration,
    /// A session without a heartbeat for this long lets its drone go.
    pub heartbeat: Duration,
    /// A drone without work for this long is suspended.
    pub idle: Duration,
    /// How long a turn is sent again to a drone that still ends what it did before.
    pub busy: Duration,
    /// From an abort to the turn's end, whatever the drone does.
    pub abort: Duration,
    /// From the fleet's word that a drone cannot come back to the end of its turn.
    pub lost: Duration,
    /// How long a turn waits for a drone that the fleet believes to be on its way.
    pub away: Duration,
    /// How long a drone that came back without its turn has to ask for recovery.
    pub recovery: Duration,
    /// Attempts in a row that may add nothing.
    pub barren_attempts: u32,
    /// Between attempts that added nothing, from the second in a row on, where it doubles, and between sendings of one that did not begin.
    pub retry: Duration,
    /// Between attempts to get a drone or its lock.
    pub claim_retry: Duration,
    /// Events that are kept for replay without the store.
    pub ring_events: usize,
    pub ring_bytes: usize,
    /// Above this many missing events a client gets the whole turn instead.
    pub replay_events: u64,
    /// Events read from the store at a time.
    pub page: u32,
    pub log: LogLimits,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            probe: Duration::from_secs(2),
            lock_wait: Duration::from_secs(15),
            command: Duration::from_secs(10),
            lock_command: Duration::from_mins(2),
            dispatch: Duration::from_secs(30),
            heartbeat: Duration::from_mins(2),
            idle: Duration::from_mins(30),
            busy: Duration::from_mins(1),
            abort: Duration::from_mins(1),
            lost: Duration::from_secs(30),
            away: Duration::from_mins(15),
            recovery: Duration::from_secs(10),
            barren_attempts: 3,
            retry: Duration::from_secs(1),
            claim_retry: Duration::from_secs(5),
            ring_events: 1024,
            ring_bytes: 1024 * 1024,
            replay_events: 5000,
            page: 256,
            log: LogLimits::default(),
        }
    }
}

//! The session's two slow clocks: the heartbeat of its tab, and its idleness.

use std::time::Duration;

use crate::session::state::State;
use crate::session::state::drone::Lock;

#[derive(Debug)]
pub(super) struct Clocks {
    /// The tab was last heard of, or had a reason to be silent.
    heard: Duration,
    /// Somebody, or a turn, last worked here.
    worked: Duration,
}

impl Clocks {
    pub(super) fn new(now: Duration) -> Self {
        Self { heard: now, worked: now }
    }

    pub(super) fn heard(&mut self, now: Duration) {
        self.heard = now;
    }

    pub(super) fn worked(&mut self, now: Duration) {
        self.worked = now;
    }
}

impl State {
    /// When both locks become free for want of a heartbeat. A running turn runs on.
    fn heartbeat_due(&self) -> Option<Duration> {
        let locked =
            self.tab.holder.is_some() || (self.drone.link.is_some() && self.drone.lock == Lock::Held);
        (locked && self.turn.is_none() && !self.tab.is_being_taken())
            .then(|| self.clocks.heard + self.limits.heartbeat)
    }

    fn idle_due(&self) -> Option<Duration> {
        (self.drone.is_awake() && self.turn.is_none() && !self.tab.is_being_taken())
            .then(|| self.clocks.worked + self.limits.idle)
    }

    pub(super) fn next_clock(&self) -> Option<Duration> {
        [self.heartbeat_due(), self.idle_due()].into_iter().flatten().min()
    }

    pub(super) fn tick_clocks(&mut self) {
        let now = self.now.elapsed;
        if self.heartbeat_due().is_some_and(|due| due <= now) {
            self.let_go();
        }
        if self.idle_due().is_some_and(|due| due <= now) {
            self.suspend_idle();
        }
    }
}

//! What has been counted of a drone's failures. Kept in its status, so that a new operator goes on where the last was.

use std::time::Duration;

use crds::DroneRegistrationStatus;
use crds::drone_registration::Counted;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// The pod that all below is about.
    pub pod_uid: Option<String>,
    pub counted: Counted,
    pub restarts: i32,
    /// When it failed lately, the oldest first.
    pub recent: Vec<Timestamp>,
    /// Pods in a row that did not work well.
    pub attempt: i32,
    pub next_retry_at: Option<Timestamp>,
    /// Whether somebody has changed something since the last failure.
    forgiven: bool,
}

impl Account {
    pub fn of(status: &DroneRegistrationStatus) -> Self {
        Self {
            pod_uid: status.pod_uid.clone(),
            counted: status.counted.unwrap_or_default(),
            restarts: status.restarts.unwrap_or_default(),
            recent: status.recent_failures.iter().map(|at| at.0).collect(),
            attempt: status.pod_attempt.unwrap_or_default(),
            next_retry_at: status.next_retry_at.as_ref().map(|at| at.0),
            forgiven: false,
        }
    }

    pub fn write(&self, status: &mut DroneRegistrationStatus) {
        let Self { pod_uid, counted, restarts, recent, attempt, next_retry_at, forgiven: _ } = self;
        status.pod_uid.clone_from(pod_uid);
        status.counted = (*counted != Counted::default()).then_some(*counted);
        status.restarts = (*restarts > 0).then_some(*restarts);
        status.recent_failures = recent.iter().map(|at| Time(*at)).collect();
        status.pod_attempt = (*attempt > 0).then_some(*attempt);
        status.next_retry_at = next_retry_at.map(Time);
    }

    /// A new beginning. What has been counted of the pod stays counted.
    pub fn forgive(&mut self) {
        self.recent.clear();
        self.attempt = 0;
        self.next_retry_at = None;
        self.forgiven = true;
    }

    pub fn is_forgiven(&self) -> bool {
        self.forgiven
    }

    /// A pod is there. One that comes after another is a restart, unless we took the other away by wish.
    pub fn meet(&mut self, uid: &str, wished_away: Option<&str>) {
        if self.pod_uid.as_deref() == Some(uid) {
            return;
        }
        if self.pod_uid.is_some() && self.pod_uid.as_deref() != wished_away {
            self.restarts = self.restarts.saturating_add(1);
        }
        self.pod_uid = Some(uid.to_owned());
        self.counted = Counted::default();
        self.next_retry_at = None;
    }

    /// There is no pod, by wish.
    pub fn leave_pod(&mut self) {
        self.pod_uid = None;
        self.counted = Counted::default();
    }

    /// Takes in how often container and process have ended so far. Gives how many ends of the container are new.
    pub fn count(&mut self, container_exits: i32, process_restarts: i32) -> i32 {
        let exits = container_exits.saturating_sub(self.counted.container_exits).max(0);
        let processes = process_restarts.saturating_sub(self.counted.process_restarts).max(0);
        self.counted.container_exits = self.counted.container_exits.max(container_exits);
        self.counted.process_restarts = self.counted.process_restarts.max(process_restarts);
        self.restarts = self.restarts.saturating_add(exits).saturating_add(processes);
        exits
    }

    /// Failures of now; those that are older than `window` are over.
    pub fn fail(&mut self, failures: i32, now: Timestamp, window: Duration) {
        /// More than any policy asks for.
        const MOST: usize = 100;
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
        self.recent.retain(|at| *at > since && *at <= now);
        self.recent.extend((0..failures).map(|_| now));
        if self.recent.len() > MOST {
            self.recent.drain(..self.recent.len() - MOST);
        }
    }
}

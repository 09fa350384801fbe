//! Everyone who is connected, by connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use protocol::ids::UserId;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::app::SharedApp;
use crate::metrics::Metrics;
use crate::session::ConnId;
use crate::socket::SocketSettings;
use crate::socket::drone::DroneConn;
use crate::socket::ide::IdeConn;
use crate::socket::lifeline::Lifelines;
use crate::socket::metrics::SocketMetrics;
use crate::socket::rate::PromptRate;

pub struct Sockets {
    pub settings: SocketSettings,
    pub metrics: SocketMetrics,
    pub(super) lifelines: Lifelines,
    pub(super) prompts: PromptRate,
    /// What connections do beside their readers.
    pub(super) tasks: TaskTracker,
    last: AtomicU64,
    /// Locked for a look-up only: each effect that sends looks here.
    ides: RwLock<HashMap<ConnId, Arc<IdeConn>>>,
    drones: RwLock<HashMap<ConnId, Arc<DroneConn>>>,
    /// Connections of each user.
    users: Mutex<HashMap<UserId, usize>>,
}

impl Sockets {
    pub fn new(settings: SocketSettings, prompts_per_minute: u32, metrics: &Metrics) -> Self {
        Self {
            settings,
            metrics: SocketMetrics::new(metrics),
            lifelines: Lifelines::default(),
            prompts: PromptRate::new(prompts_per_minute, Instant::now()),
            tasks: TaskTracker::new(),
            last: AtomicU64::new(0),
            ides: RwLock::default(),
            drones: RwLock::default(),
            users: Mutex::default(),
        }
    }

    pub(super) fn next_id(&self) -> ConnId {
        ConnId(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Lets something be done with an IDE's connection, if it is still there.
    pub fn with_ide<T>(&self, conn: ConnId, act: impl FnOnce(&IdeConn) -> T) -> Option<T> {
        let ide = self.ides.read().get(&conn).cloned();
        ide.map(|ide| act(&ide))
    }

    pub fn with_drone<T>(&self, conn: ConnId, act: impl FnOnce(&DroneConn) -> T) -> Option<T> {
        self.drone(conn).map(|drone| act(&drone))
    }

    pub fn drone(&self, conn: ConnId) -> Option<Arc<DroneConn>> {
        self.drones.read().get(&conn).cloned()
    }

    /// Counts a connection of the user, unless there are too many.
    pub(super) fn admit(&self, user: &UserId) -> bool {
        let mut users = self.users.lock();
        let count = users.entry(user.clone()).or_default();
        let room = *count < self.settings.per_user;
        if room {
            *count += 1;
        }
        room
    }

    pub(super) fn add_ide(&self, conn: &Arc<IdeConn>) {
        self.metrics.ides.inc();
        self.ides.write().insert(conn.id, Arc::clone(conn));
    }

    pub(super) fn remove_ide(&self, conn: &IdeConn) {
        if self.ides.write().remove(&conn.id).is_some() {
            self.metrics.ides.dec();
            let mut users = self.users.lock();
            if let Some(count) = users.get_mut(&conn.user) {
                *count -= 1;
                if *count == 0 {
                    users.remove(&conn.user);
                }
            }
        }
    }

    pub(super) fn add_drone(&self, conn: &Arc<DroneConn>) {
        self.metrics.drones.inc();
        self.drones.write().insert(conn.id, Arc::clone(conn));
    }

    pub(super) fn remove_drone(&self, conn: &DroneConn) {
        if self.drones.write().remove(&conn.id).is_some() {
            self.metrics.drones.dec();
        }
    }

    fn end(&self, which: impl Fn(&IdeConn) -> bool) {
        for conn in self.all_ides().iter().filter(|conn| which(conn)) {
            conn.outbox.kill();
        }
    }

    pub(super) fn all_ides(&self) -> Vec<Arc<IdeConn>> {
        self.ides.read().values().cloned().collect()
    }

    pub(super) fn all_drones(&self) -> Vec<Arc<DroneConn>> {
        self.drones.read().values().cloned().collect()
    }
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sockets")
            .field("ides", &self.ides.read().len())
            .field("drones", &self.drones.read().len())
            .finish_non_exhaustive()
    }
}

/// Ends every connection of the user, so that each must prove itself anew.
pub fn end_user(app: &SharedApp, user: &UserId) {
    app.sockets.end(|conn| conn.user == *user);
}

/// Ends the connections that were made or last renewed with this token.
pub fn end_token(app: &SharedApp, token_id: &str) {
    app.sockets.end(|conn| conn.expiry.is_of(token_id));
}

//! A few connections that read, each on a blocking thread while it is used.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::connection;
use super::fault::Outcome;
use crate::store::StoreError;

pub(super) struct Readers {
    permits: Arc<Semaphore>,
    pool: Arc<Pool>,
}

struct Pool {
    path: PathBuf,
    /// As many as there are permits at most. Locked for a push or pop only.
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, connections: usize) -> Self {
        let pool = Pool { path, idle: Mutex::default() };
        Self { permits: Arc::new(Semaphore::new(connections)), pool: Arc::new(pool) }
    }

    /// Runs `work` on what is committed now.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let unavailable = |source| StoreError::Unavailable { action, source };
        let permit =
            Arc::clone(&self.permits).acquire_owned().await.map_err(|error| unavailable(error.into()))?;
        let pool = Arc::clone(&self.pool);
        let outcome = spawn_blocking(move || {
            let outcome = pool.read(work);
            drop(permit);
            outcome
        })
        .await
        .map_err(|error| unavailable(error.into()))?;
        outcome.map_err(|fault| fault.into_store_error(action))
    }

    /// No read begins after this; those under way end.
    pub(super) fn close(&self) {
        self.permits.close();
        self.pool.idle.lock().clear();
    }
}

impl Pool {
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Outcome<T>) -> Outcome<T> {
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => connection::open_reader(&self.path)?,
        };
        // One view of the database for all statements of a read.
        let transaction = connection.transaction()?;
        let outcome = work(&transaction);
        transaction.finish()?;
        // A connection that failed might be broken: the next read opens another.
        if outcome.is_ok() {
            self.idle.lock().push(connection);
        }
        outcome
    }
}

//! The one thread that writes. Writes that wait at the same time share a transaction, and so one wait for the disk.
//!
//! Each write runs in a savepoint of its own: one that is refused leaves nothing behind and does not harm those
//! beside it. Nobody is answered before the transaction is on the disk.

use std::path::PathBuf;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::checkpoint::Checkpointer;
use super::connection;
use super::fault::{Fault, Outcome};
use super::metrics::StoreMetrics;
use crate::store::StoreError;

/// Writes that may wait. Each belongs to a caller that waits for its answer.
const QUEUE: usize = 4096;
/// Writes in one transaction: bounds how long the first waits for the last.
const BATCH: usize = 512;

type Job = Box<dyn Write>;

/// Hands writes to the thread.
pub(super) struct Writer {
    /// Gone once the store is closed. Locked for a clone only.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Clone, Debug, thiserror::Error)]
enum Stopped {
    #[error("the store is closed")]
    Closed,
    #[error("the transaction was rolled back: {0}")]
    RolledBack(String),
}

impl Writer {
    pub(super) fn start(
        path: PathBuf,
        max_pages: Option<u32>,
        metrics: StoreMetrics,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let checkpointer = Checkpointer::start(path.clone())?;
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            WriterThread { connection: None, path, max_pages, checkpointer, metrics }.serve(queue);
        })?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// Runs `work` in a transaction and answers when that is on the disk.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.enqueue(action, work).await?.await.map_err(|_| unavailable(action, Stopped::Closed))?
    }

    /// The same without an answer, for what is of use and not needed.
    pub(super) async fn post(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> Outcome<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        self.enqueue(action, work).await.map(drop)
    }

    async fn enqueue<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, StoreError> {
        let closed = || unavailable(action, Stopped::Closed);
        // Not held while the answer is waited for: the thread must be able to end meanwhile.
        let jobs = self.jobs.lock().clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        let job = Pending { action, work: Some(work), outcome: None, reply };
        jobs.send(Box::new(job)).await.map_err(|_| closed())?;
        Ok(answer)
    }

    /// Takes no more writes and waits for those that are in.
    pub(super) async fn close(&self) {
        self.jobs.lock().take();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && let Ok(Err(_)) | Err(_) = tokio::task::spawn_blocking(move || thread.join()).await
        {
            tracing::error!("the store's writer thread panicked");
        }
    }
}

fn unavailable(action: &'static str, why: Stopped) -> StoreError {
    StoreError::Unavailable { action, source: why.into() }
}

/// A write whose caller waits.
trait Write: Send {
    fn action(&self) -> &'static str;
    /// Runs it. `Err`: refused or failed, nothing of it may stay.
    fn run(&mut self, connection: &Connection) -> Result<(), ()>;
    /// Tells the caller. `lost`: the transaction that it ran in is gone.
    fn answer(self: Box<Self>, lost: Option<&Stopped>);
}

struct Pending<T, W> {
    action: &'static str,
    work: Option<W>,
    outcome: Option<Outcome<T>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W> Write for Pending<T, W>
where
    T: Send,
    W: FnOnce(&Connection) -> Outcome<T> + Send,
{
    fn action(&self) -> &'static str {
        self.action
    }

    fn run(&mut self, connection: &Connection) -> Result<(), ()> {
        let Some(work) = self.work.take() else { return Err(()) };
        let outcome = work(connection);
        let result = outcome.as_ref().map(|_| ()).map_err(|_| ());
        self.outcome = Some(outcome);
        result
    }

    fn answer(self: Box<Self>, lost: Option<&Stopped>) {
        let Self { action, work: _, outcome, reply } = *self;
        let result = match (outcome, lost) {
            // Its own failure says more than that of the transaction.
            (Some(Err(fault)), _) => Err(fault.into_store_error(action)),
            (Some(Ok(value)), None) => Ok(value),
            (_, Some(lost)) => Err(unavailable(action, lost.clone())),
            (None, None) => Err(unavailable(action, Stopped::Closed)),
        };
        // A caller that has gone away does not need the answer; the write stands all the same.
        drop(reply.send(result));
    }
}

struct WriterThread {
    /// Opened by the first write, and by the next one after a failure that it did not survive.
    connection: Option<Connection>,
    path: PathBuf,
    max_pages: Option<u32>,
    checkpointer: Checkpointer,
    metrics: StoreMetrics,
}

impl WriterThread {
    fn serve(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let began = Instant::now();
            let mut batch = vec![first];
            let lost = self.transaction(&mut batch, &mut queue).err().map(|error| {
                self.metrics.failed_commits.inc();
                self.recover();
                Stopped::RolledBack(error.to_string())
            });
            self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
            self.metrics.writes_per_commit.observe(count(batch.len()));
            for job in batch {
                job.answer(lost.as_ref());
            }
            if let Some(connection) = &self.connection {
                self.checkpointer.after_commit(connection);
            }
        }
        self.checkpointer.stop();
        if let Some(connection) = self.connection
            && let Err((_, error)) = connection.close()
        {
            tracing::error!(%error, "failed to close the store");
        }
    }

    /// Runs the batch, and whatever arrives meanwhile, and commits.
    fn transaction(&mut self, batch: &mut Vec<Job>, queue: &mut mpsc::Receiver<Job>) -> rusqlite::Result<()> {
        let connection = self.connection()?;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut next = 0;
        while let Some(job) = batch.get_mut(next) {
            run_alone(connection, job.as_mut())?;
            next += 1;
            if batch.len() < BATCH
                && let Ok(job) = queue.try_recv()
            {
                batch.push(job);
            }
        }
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    fn connection(&mut self) -> rusqlite::Result<&Connection> {
        match &mut self.connection {
            Some(connection) => Ok(connection),
            none => {
                let mut connection = connection::open_writer(&self.path, self.max_pages)?;
                self.checkpointer.watch(&mut connection)?;
                Ok(none.insert(connection))
            }
        }
    }

    /// After a failed transaction: rolled back, or, where that fails too, with a new connection next time.
    fn recover(&mut self) {
        if let Some(connection) = &self.connection
            && !connection.is_autocommit()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "failed to roll back a transaction, the store is opened anew");
            self.connection = None;
        }
    }
}

/// A batch has [`BATCH`] writes at most.
fn count(writes: usize) -> f64 {
    u32::try_from(writes).unwrap_or(u32::MAX).into()
}

/// Runs one write so that nothing of it stays when it fails. `Err`: the whole transaction is lost.
fn run_alone(connection: &Connection, job: &mut dyn Write) -> rusqlite::Result<()> {
    connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    if job.run(connection).is_err() {
        // A full disk may have rolled back everything already; then this fails, and so does the batch.
        connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
        tracing::debug!("a write was refused: {}", job.action());
    }
    connection.prepare_cached("RELEASE job")?.execute([])?;
    Ok(())
}

impl From<Stopped> for Fault {
    fn from(why: Stopped) -> Self {
        Self::Refused(unavailable("write", why))
    }
}

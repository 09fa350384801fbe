//! Carries the write-ahead log over into the database without keeping writers waiting.
//!
//! SQLite would do it inside the commit that makes the log too long, and everybody who waits for that commit would
//! wait for thousands of pages and the disk. Here a thread with a connection of its own carries over what is there,
//! while commits go on; then the writer carries over the short rest and the log starts from its beginning again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::connection;

/// Pages of the log after which it is carried over: 16 MiB.
const LONG: u32 = 4096;
/// Pages after which the writer does it all by itself, whoever waits: 256 MiB.
const TOO_LONG: u32 = 65_536;

pub(super) struct Checkpointer {
    /// Pages in the log after the last commit.
    pages: Arc<AtomicU32>,
    requests: SyncSender<()>,
    finished: Receiver<()>,
    thread: JoinHandle<()>,
    under_way: bool,
}

impl Checkpointer {
    pub(super) fn start(path: PathBuf) -> std::io::Result<Self> {
        let (requests, asked) = sync_channel(1);
        let (finish, finished) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || carry_over_when_asked(path, &asked, &finish))?;
        Ok(Self { pages: Arc::default(), requests, finished, thread, under_way: false })
    }

    /// Has the connection tell how long the log is after each of its commits.
    pub(super) fn watch(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let pages = Arc::clone(&self.pages);
        connection.wal_hook(Some(move |_: &mut _, count| {
            pages.store(u32::try_from(count).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))
    }

    /// The writer calls it between its transactions.
    pub(super) fn after_commit(&mut self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if self.under_way {
            match self.finished.try_recv() {
                Ok(()) | Err(TryRecvError::Disconnected) => {
                    self.under_way = false;
                    carry_over(connection);
                }
                Err(TryRecvError::Empty) if pages >= TOO_LONG => carry_over(connection),
                Err(TryRecvError::Empty) => {}
            }
        } else if pages >= LONG {
            self.under_way = true;
            if self.requests.try_send(()).is_err() {
                // The thread is gone; then it is done here.
                self.under_way = false;
                carry_over(connection);
            }
        }
    }

    pub(super) fn stop(self) {
        let Self { pages: _, requests, finished, thread, under_way: _ } = self;
        drop((requests, finished));
        if thread.join().is_err() {
            tracing::error!("the store's checkpoint thread panicked");
        }
    }
}

fn carry_over_when_asked(path: PathBuf, asked: &Receiver<()>, finish: &SyncSender<()>) {
    while asked.recv().is_ok() {
        match connection::open_writer(&path, None) {
            Ok(connection) => carry_over(&connection),
            Err(error) => tracing::warn!(%error, "failed to open the store to shorten its log"),
        }
        if finish.send(()).is_err() {
            break;
        }
    }
}

/// As far as readers let it; never waits for anybody. What it cannot do now is done the next time.
fn carry_over(connection: &Connection) {
    let outcome = connection
        .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")
        .and_then(|mut statement| statement.query_row([], |_| Ok(())));
    if let Err(error) = outcome {
        tracing::warn!(%error, "failed to carry the store's log over; it grows until that works");
    }
}

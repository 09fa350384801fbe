//! A disk that fails in the middle of a write, and works again later.
//!
//! Played by a limit on the size of files, which is a whole process's: so each runs in a child of its own.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use super::*;
use crate::store::suite::{stored_seqs, stored_turn, text, texts};

#[test]
fn a_failing_disk_is_told_and_nothing_is_lost_or_written_in_part() {
    let dir = tempfile::tempdir().unwrap();
    let output = child::start("broken::child_on_a_failing_disk", dir.path()).wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "the child was not found by its name: {said}");
}

/// Not a test of its own: the body of the child above.
#[test]
fn child_on_a_failing_disk() {
    let Some(dir) = child::dir() else { return };
    // Writes beyond the limit shall fail, not kill. Threads that are started later inherit it.
    let mut ignored = SigSet::empty();
    ignored.add(Signal::SIGXFSZ);
    ignored.thread_block().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(Path::new(&dir), SqliteOptions::default()).unwrap();
        let turn = stored_turn(&store).await;
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        let mut stored = 0;
        for _ in 0..3 {
            setrlimit(Resource::RLIMIT_FSIZE, log_size(&dir) + 300_000, hard).unwrap();
            let error = loop {
                let events = vec![
                    text(&turn.id, stored + 1, "before"),
                    text(&turn.id, stored + 2, &"x".repeat(60_000)),
                    text(&turn.id, stored + 3, "after"),
                ];
                match store.append(Append { session: turn.session.clone(), events, end: None }).await {
                    Ok(()) => stored += 3,
                    Err(error) => break error,
                }
                assert!(stored < 300, "the limit did nothing");
            };
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
            assert!(matches!(store.check().await, Err(StoreError::Unavailable { .. })));
            assert_eq!(stored_seqs(&store, &turn.session).await, (1..=stored).collect::<Vec<_>>());

            setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
            store.check().await.unwrap();
            store.append(texts(&turn, stored + 1, stored + 2)).await.unwrap();
            stored += 2;
            assert_eq!(stored_seqs(&store, &turn.session).await, (1..=stored).collect::<Vec<_>>());
        }
        store.close().await;
        let store = SqliteStore::open(Path::new(&dir), SqliteOptions::default()).unwrap();
        assert_eq!(stored_seqs(&store, &turn.session).await, (1..=stored).collect::<Vec<_>>());
    });
}

/// Of the write-ahead log, the file that commits go to.
fn log_size(dir: &std::ffi::OsStr) -> u64 {
    std::fs::metadata(Path::new(dir).join(format!("{FILE}-wal"))).unwrap().len()
}

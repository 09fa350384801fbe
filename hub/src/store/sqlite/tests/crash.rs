//! `kill -9` at any moment: what was answered is there.
//!
//! This test program starts itself again as a child that writes and prints each number once it is answered.

use std::io::{BufRead as _, BufReader, Write as _};

use super::*;
use crate::store::suite::{stored_seqs, stored_turn, texts};

const KILLS: u32 = 12;
const WRITERS: u64 = 4;

#[tokio::test]
async fn every_answered_event_is_there_after_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap();
    let mut turns = Vec::new();
    for _ in 0..WRITERS {
        turns.push(stored_turn(&store).await);
    }
    store.close().await;
    let mut acked = vec![0; turns.len()];
    for round in 0..KILLS {
        // Some rounds end while the database is still being opened, others deep in a stream of commits.
        let lines = [0, 1, 7, 40, 150, 400][round as usize % 6];
        run_and_kill(dir.path(), lines, &mut acked);
        let store = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap();
        let mut ids: Vec<_> = store.processing_turns(None).await.unwrap();
        ids.sort_by(|a, b| a.id.cmp(&b.id));
        for (turn, acked) in ids.iter().zip(&acked) {
            let seqs = stored_seqs(&store, &turn.session).await;
            assert!(seqs.len() as u64 >= *acked, "{acked} were answered, {} are there", seqs.len());
            assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
        }
        store.check().await.unwrap();
        store.close().await;
    }
    assert!(acked.iter().all(|acked| *acked > 0), "{acked:?}");
}

/// Reads so many answers from a child that writes, kills it, and reads what it still said.
fn run_and_kill(dir: &Path, lines: usize, acked: &mut [u64]) {
    let mut child = child::start("crash::child_that_writes", dir);
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut note = |line: String| {
        // The harness prints lines of its own.
        if let Some((writer, seq)) = line.strip_prefix("acked ").and_then(|rest| rest.split_once(' ')) {
            acked[writer.parse::<usize>().unwrap()] = seq.parse().unwrap();
        }
    };
    answers.by_ref().take(lines).for_each(|line| note(line.unwrap()));
    child.kill().unwrap();
    child.wait().unwrap();
    answers.map_while(Result::ok).for_each(note);
}

/// Not a test of its own: the body of the child above.
#[tokio::test]
async fn child_that_writes() {
    let Some(dir) = child::dir() else { return };
    let store = SqliteStore::open(Path::new(&dir), SqliteOptions::default()).unwrap();
    let mut turns = store.processing_turns(None).await.unwrap();
    turns.sort_by(|a, b| a.id.cmp(&b.id));
    let writers = turns.iter().enumerate().map(|(writer, turn)| {
        let store = &store;
        async move {
            let mut seq = store.last_seq(&turn.session).await.unwrap();
            loop {
                // Several at a time, so that an append torn in two would show.
                store.append(texts(turn, seq + 1, seq + 3)).await.unwrap();
                seq += 3;
                // Whole lines: the parent may read what a killed child has written so far.
                std::io::stdout().write_all(format!("acked {writer} {seq}\n").as_bytes()).unwrap();
            }
        }
    });
    futures_util::future::join_all(writers).await;
}

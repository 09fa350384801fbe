//! A store without room: it says so, writes nothing in part, and works again when there is room.

use super::*;
use crate::store::suite::{finished, stored_seqs, stored_turn, text, texts};

fn with_pages(dir: &TempDir, pages: Option<u32>) -> SqliteStore {
    SqliteStore::open(dir.path(), SqliteOptions { max_pages: pages, ..SqliteOptions::default() }).unwrap()
}

fn of_size(turn: &TurnRecord, seq: u64, bytes: usize) -> Append {
    let events = vec![text(&turn.id, seq, &"x".repeat(bytes))];
    Append { session: turn.session.clone(), events, end: None }
}

#[tokio::test]
async fn a_full_store_refuses_whole_writes_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_pages(&dir, Some(300));
    let (filled, waiting) = (stored_turn(&store).await, stored_turn(&store).await);
    let mut stored = 0;
    for bytes in [100_000, 10_000] {
        let error = loop {
            match store.append(of_size(&filled, stored + 1, bytes)).await {
                Ok(()) => stored += 1,
                Err(error) => break error,
            }
            assert!(stored < 200, "the file was not bounded");
        };
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    }
    assert!(matches!(store.check().await, Err(StoreError::Unavailable { .. })));
    // Nothing of a write that does not fit whole, not even what came before in it.
    let mut several = texts(&waiting, 1, 2);
    several.events.push(text(&waiting.id, 3, &"x".repeat(1_000_000)));
    several.end = Some(finished(&waiting));
    assert!(matches!(store.append(several).await, Err(StoreError::Unavailable { .. })));
    assert_eq!(stored_seqs(&store, &waiting.session).await, [0_u64; 0]);
    assert_eq!(store.processing_turn(&waiting.session).await.unwrap(), Some(waiting.clone()));
    assert_eq!(stored_seqs(&store, &filled.session).await, (1..=stored).collect::<Vec<_>>());

    // Room is made.
    let end = Append { session: filled.session.clone(), events: Vec::new(), end: Some(finished(&filled)) };
    store.append(end).await.unwrap();
    store.delete_session(&filled.session).await.unwrap();
    store.check().await.unwrap();
    store.append(of_size(&waiting, 1, 100_000)).await.unwrap();
    assert_eq!(stored_seqs(&store, &waiting.session).await, [1]);
    store.close().await;
}

#[tokio::test]
async fn a_write_that_does_not_fit_does_not_harm_those_beside_it_or_they_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_pages(&dir, Some(300));
    let (big, small) = (stored_turn(&store).await, stored_turn(&store).await);
    let mut acked = Vec::new();
    for seq in 1..=20 {
        let huge = of_size(&big, 1, 2_000_000);
        let (refused, kept) = tokio::join!(store.append(huge), store.append(texts(&small, seq, seq)));
        assert!(refused.is_err());
        if kept.is_ok() {
            acked.push(seq);
        } else {
            store.append(texts(&small, seq, seq)).await.unwrap();
            acked.push(seq);
        }
    }
    assert_eq!(stored_seqs(&store, &small.session).await, acked);
    assert_eq!(stored_seqs(&store, &big.session).await, [0_u64; 0]);
}

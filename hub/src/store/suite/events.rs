//! Events: appended once, in order, whatever happens beside them.

use futures_util::future::join_all;

use super::{finished, stored_seqs, stored_session, stored_turn, texts, turn};
use crate::store::{Store, StoreError};

pub(crate) async fn events_are_read_on_from_any_number(store: &dyn Store) {
    let turn = stored_turn(store).await;
    let mut all = Vec::new();
    for (from, to) in [(1, 1), (2, 700), (701, 703)] {
        let append = texts(&turn, from, to);
        all.extend(append.events.clone());
        store.append(append).await.unwrap();
    }
    assert_eq!(store.last_seq(&turn.session).await.unwrap(), 703);
    for after in [0, 1, 2, 350, 513, 699, 702, 703, 9000] {
        for limit in [1, 3, 1000] {
            let events = store.events_after(&turn.session, after, limit).await.unwrap();
            let expected: Vec<_> =
                all.iter().filter(|event| event.seq > after).take(limit as usize).cloned().collect();
            assert_eq!(events, expected, "after {after}, at most {limit}");
        }
    }
}

pub(crate) async fn an_append_that_had_landed_is_passed_over(store: &dyn Store) {
    let turn = stored_turn(store).await;
    store.append(texts(&turn, 1, 5)).await.unwrap();
    store.append(texts(&turn, 1, 5)).await.unwrap();
    store.append(texts(&turn, 3, 4)).await.unwrap();
    store.append(texts(&turn, 4, 8)).await.unwrap();
    assert_eq!(stored_seqs(store, &turn.session).await, (1..=8).collect::<Vec<_>>());
    assert_eq!(store.last_seq(&turn.session).await.unwrap(), 8);
}

pub(crate) async fn events_of_sessions_do_not_mix(store: &dyn Store) {
    let (one, two) = (stored_turn(store).await, stored_turn(store).await);
    store.append(texts(&one, 1, 3)).await.unwrap();
    store.append(texts(&two, 1, 2)).await.unwrap();
    store.append(texts(&one, 4, 4)).await.unwrap();
    assert_eq!(stored_seqs(store, &one.session).await, [1, 2, 3, 4]);
    assert_eq!(stored_seqs(store, &two.session).await, [1, 2]);
}

pub(crate) async fn events_of_a_session_that_is_gone_are_refused(store: &dyn Store) {
    let session = stored_session(store).await;
    store.delete_session(&session.id).await.unwrap();
    let refused = store.append(texts(&turn(&session, 0), 1, 1)).await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
}

pub(crate) async fn the_end_of_a_turn_that_is_not_there_stores_nothing(store: &dyn Store) {
    let session = stored_session(store).await;
    let unknown = turn(&session, 0);
    let mut append = texts(&unknown, 1, 3);
    append.end = Some(finished(&unknown));
    assert!(matches!(store.append(append).await, Err(StoreError::NotFound)));
    assert_eq!(stored_seqs(store, &session.id).await, [0_u64; 0]);
    // A turn of another session is not there either.
    let other = stored_turn(store).await;
    let mut append = texts(&unknown, 1, 3);
    append.end = Some(finished(&other));
    assert!(matches!(store.append(append).await, Err(StoreError::NotFound)));
    assert_eq!(stored_seqs(store, &session.id).await, [0_u64; 0]);
}

pub(crate) async fn appends_at_the_same_time_all_land(store: &dyn Store) {
    let mut turns = Vec::new();
    for _ in 0..8 {
        turns.push(stored_turn(store).await);
    }
    let unknown = turn(&stored_session(store).await, 0);
    let writers = turns.iter().map(|turn| async {
        for seq in 1..=40 {
            store.append(texts(turn, seq, seq)).await.unwrap();
            // A refused write beside it changes nothing.
            let mut refused = texts(&unknown, 1, 1);
            refused.end = Some(finished(&unknown));
            assert!(store.append(refused).await.is_err());
        }
    });
    join_all(writers).await;
    for turn in &turns {
        assert_eq!(stored_seqs(store, &turn.session).await, (1..=40).collect::<Vec<_>>());
    }
    assert_eq!(stored_seqs(store, &unknown.session).await, [0_u64; 0]);
}

pub(crate) async fn a_write_whose_caller_went_away_does_not_harm_others(store: &dyn Store) {
    use futures_util::FutureExt as _;
    let turn = stored_turn(store).await;
    for seq in 1..=20 {
        // Polled once, then dropped: the write may or may not be on its way.
        drop(store.append(texts(&turn, seq, seq)).now_or_never());
        store.append(texts(&turn, seq, seq)).await.unwrap();
    }
    assert_eq!(stored_seqs(store, &turn.session).await, (1..=20).collect::<Vec<_>>());
}

pub(crate) async fn a_closed_store_refuses(store: &dyn Store) {
    let turn = stored_turn(store).await;
    store.close().await;
    store.close().await;
    assert!(matches!(store.append(texts(&turn, 1, 1)).await, Err(StoreError::Unavailable { .. })));
    assert!(matches!(store.turn(&turn.id).await, Err(StoreError::Unavailable { .. })));
    assert!(matches!(store.check().await, Err(StoreError::Unavailable { .. })));
}

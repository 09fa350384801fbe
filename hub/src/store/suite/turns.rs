//! Turns: one at a time, counted once, read as far as they are stored.

use futures_util::future::join_all;
use protocol::assemble::TurnAssembler;
use protocol::document::Block;
use protocol::event::{Superseded, TurnEvent};
use protocol::ids::UserId;
use protocol::value::ChatTurnStatus;

use super::{event, everything, finished, stored_seqs, stored_session, stored_turn, text, texts, turn};
use crate::store::{Append, PageRequest, Store, StoreError, TurnEnd, TurnPatch};

pub(crate) async fn one_turn_of_a_session_runs_at_a_time(store: &dyn Store) {
    let session = stored_session(store).await;
    let first = turn(&session, 0);
    store.insert_turn(first.clone()).await.unwrap();
    let second = turn(&session, 0);
    let refused = store.insert_turn(second.clone()).await;
    assert!(matches!(refused, Err(StoreError::TurnRunning)), "{refused:?}");
    assert_eq!(store.session(&session.id).await.unwrap().unwrap().stats.turn_count, 1);
    assert_eq!(store.processing_turn(&session.id).await.unwrap(), Some(first.clone()));
    let end = Append { session: session.id.clone(), events: Vec::new(), end: Some(finished(&first)) };
    store.append(end).await.unwrap();
    assert_eq!(store.processing_turn(&session.id).await.unwrap(), None);
    store.insert_turn(second).await.unwrap();
    assert_eq!(store.session(&session.id).await.unwrap().unwrap().stats.turn_count, 2);
    assert_eq!(store.turns(&session.id, everything()).await.unwrap().items.len(), 2);
}

pub(crate) async fn turns_begun_at_the_same_moment_are_one(store: &dyn Store) {
    let session = stored_session(store).await;
    let attempts = (0..20).map(|_| store.insert_turn(turn(&session, 0)));
    let outcomes = join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(store.session(&session.id).await.unwrap().unwrap().stats.turn_count, 1);
}

pub(crate) async fn a_turn_of_a_session_that_is_gone_is_refused(store: &dyn Store) {
    let session = stored_session(store).await;
    store.delete_session(&session.id).await.unwrap();
    let turn = turn(&session, 0);
    assert!(matches!(store.insert_turn(turn.clone()).await, Err(StoreError::NotFound)));
    assert_eq!(store.turn(&turn.id).await.unwrap(), None);
}

pub(crate) async fn a_patch_changes_what_it_names(store: &dyn Store) {
    let before = stored_turn(store).await;
    let patch = TurnPatch {
        attempts: Some(2),
        work_order: Some("w".into()),
        attempt_seq_before: Some(9),
        ..TurnPatch::default()
    };
    store.patch_turn(&before.id, patch).await.unwrap();
    let patch = TurnPatch { abort_requested: Some(true), drone: Some("d".into()), ..TurnPatch::default() };
    store.patch_turn(&before.id, patch).await.unwrap();
    let mut expected = before.clone();
    expected.attempts = 2;
    expected.work_order = Some("w".into());
    expected.attempt_seq_before = 9;
    expected.abort_requested = true;
    expected.drone = Some("d".into());
    assert_eq!(store.turn(&before.id).await.unwrap(), Some(expected));
}

pub(crate) async fn running_turns_are_found_by_user(store: &dyn Store) {
    let (mut mine, theirs) = (stored_turn(store).await, stored_turn(store).await);
    let over = stored_turn(store).await;
    let end = Append { session: over.session.clone(), events: Vec::new(), end: Some(finished(&over)) };
    store.append(end).await.unwrap();
    assert_eq!(store.processing_turns(Some(&mine.user)).await.unwrap(), [mine.clone()]);
    let mut all = store.processing_turns(None).await.unwrap();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let mut expected = vec![mine.clone(), theirs];
    expected.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(all, expected);
    mine.user = UserId::generate();
    assert_eq!(store.processing_turns(Some(&mine.user)).await.unwrap(), []);
}

pub(crate) async fn the_end_of_a_turn_is_counted_once(store: &dyn Store) {
    let turn = stored_turn(store).await;
    store.append(texts(&turn, 1, 2)).await.unwrap();
    let mut last = texts(&turn, 3, 3);
    last.end = Some(finished(&turn));
    store.append(last.clone()).await.unwrap();
    store.append(last.clone()).await.unwrap();
    last.end = Some(TurnEnd { status: ChatTurnStatus::Error, ..finished(&turn) });
    store.append(last).await.unwrap();
    let stats = store.session(&turn.session).await.unwrap().unwrap().stats;
    assert_eq!(
        (stats.turn_count, stats.input_tokens, stats.output_tokens, stats.tool_call_count),
        (1, 7, 4, 4)
    );
    let stored = store.turn(&turn.id).await.unwrap().unwrap();
    assert_eq!((stored.status, stored.last_seq), (ChatTurnStatus::Finished, 3));
    assert_eq!(stored.stats, finished(&turn).stats);
}

pub(crate) async fn a_running_turn_reads_as_far_as_it_is_stored(store: &dyn Store) {
    let turn = stored_turn(store).await;
    let full = store.full_turn(&turn.id).await.unwrap().unwrap();
    assert_eq!((full.status, full.last_seq, full.blocks.len()), (ChatTurnStatus::Processing, 0, 0));
    store.append(texts(&turn, 1, 3)).await.unwrap();
    let full = store.full_turn(&turn.id).await.unwrap().unwrap();
    let [Block::Responding { content, .. }] = full.blocks.as_slice() else { panic!("{:?}", full.blocks) };
    assert_eq!((content.as_str(), full.last_seq), ("1 2 3 ", 3));
}

pub(crate) async fn an_ended_turn_reads_the_same_each_time(store: &dyn Store) {
    let first = stored_turn(store).await;
    let events = vec![
        text(&first.id, 1, "half a sen"),
        event(
            &first.id,
            2,
            TurnEvent::Superseded(Superseded {
                turn_id: first.id.clone(),
                from_seq: 1,
                to_seq: 1,
                agent_id: None,
            }),
        ),
        event(
            &first.id,
            3,
            TurnEvent::ToolCallStarted { call_id: "c".into(), name: "read".into(), params: "{}".into() },
        ),
        text(&first.id, 4, "a whole sentence"),
    ];
    let mut expected = TurnAssembler::default();
    for event in &events {
        expected.apply(event.seq, event.at, event.event.parse().unwrap());
    }
    let expected = expected.finish();
    let end = Some(finished(&first));
    store.append(Append { session: first.session.clone(), events, end }).await.unwrap();
    // The next turn's events are not this one's.
    let session = store.session(&first.session).await.unwrap().unwrap();
    let second = turn(&session, 4);
    store.insert_turn(second.clone()).await.unwrap();
    store.append(texts(&second, 5, 9)).await.unwrap();

    let once = store.full_turn(&first.id).await.unwrap().unwrap();
    assert_eq!((&once.blocks, &once.tool_calls), (&expected.blocks, &expected.tool_calls));
    assert_eq!((once.last_seq, once.provider.as_str(), once.llm.as_str()), (4, "local", "m"));
    assert_eq!(once.stats, finished(&first).stats);
    let again = store.full_turn(&first.id).await.unwrap().unwrap();
    assert_eq!(again, once);
    let listed = store.full_turns(&first.session, everything()).await.unwrap().items;
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&once));
    assert!(listed.contains(&store.full_turn(&second.id).await.unwrap().unwrap()));
}

pub(crate) async fn large_turns_come_in_smaller_pages(store: &dyn Store) {
    let session = stored_session(store).await;
    let large = "x".repeat(3 * 1024 * 1024);
    let mut ids = Vec::new();
    for seq in 1..=5 {
        let turn = turn(&session, seq - 1);
        ids.push(turn.id.clone());
        store.insert_turn(turn.clone()).await.unwrap();
        let events = vec![text(&turn.id, seq, &large)];
        let end = Some(finished(&turn));
        store.append(Append { session: session.id.clone(), events, end }).await.unwrap();
    }
    ids.sort();
    let mut seen = Vec::new();
    let mut request = everything();
    loop {
        let page = store.full_turns(&session.id, request.clone()).await.unwrap();
        assert!(page.items.len() < 5);
        seen.extend(page.items.into_iter().map(|turn| turn.id));
        let Some(cursor) = page.next_cursor else { break };
        request = PageRequest { cursor: Some(cursor), ..request };
    }
    assert_eq!(seen, ids);
}

pub(crate) async fn a_session_goes_with_its_turns_and_events(store: &dyn Store) {
    let turn = stored_turn(store).await;
    let kept = stored_turn(store).await;
    store.append(texts(&kept, 1, 5)).await.unwrap();
    let mut append = texts(&turn, 1, 2000);
    append.end = Some(finished(&turn));
    store.append(append).await.unwrap();
    store.full_turn(&turn.id).await.unwrap().unwrap();
    store.delete_session(&turn.session).await.unwrap();
    assert_eq!(store.session(&turn.session).await.unwrap(), None);
    assert_eq!(store.turn(&turn.id).await.unwrap(), None);
    assert_eq!(stored_seqs(store, &turn.session).await, [0_u64; 0]);
    assert_eq!(store.last_seq(&turn.session).await.unwrap(), 0);
    assert_eq!(stored_seqs(store, &kept.session).await, [1, 2, 3, 4, 5]);
}

pub(crate) async fn a_session_with_a_running_turn_stays(store: &dyn Store) {
    let turn = stored_turn(store).await;
    let refused = store.delete_session(&turn.session).await;
    assert!(matches!(refused, Err(StoreError::TurnRunning)), "{refused:?}");
    assert!(store.session(&turn.session).await.unwrap().is_some());
    assert!(store.turn(&turn.id).await.unwrap().is_some());
}

//! Whatever is appended, however it is cut up and repeated: it is there once, in order.

use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;
use crate::store::suite::{stored_turn, texts};

#[derive(Clone, Debug)]
enum Step {
    /// So many new events.
    Append(u64),
    /// The last so many again, and so many new ones: an append whose answer was lost.
    Repeat(u64, u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1_u64..30).prop_map(Step::Append),
        3 => (0_u64..40, 0_u64..10).prop_map(|(old, new)| Step::Repeat(old, new)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn replay_gives_what_was_appended_once_and_in_order(
        steps in proptest::collection::vec(step(), 1..25),
        after in 0_u64..300,
        limit in 1_u32..100,
    ) {
        Runtime::new().unwrap().block_on(async {
            let (mut store, dir) = open();
            let turn = stored_turn(&store).await;
            let mut last = 0;
            for step in steps {
                match step {
                    Step::Append(count) => {
                        store.append(texts(&turn, last + 1, last + count)).await.unwrap();
                        last += count;
                    }
                    Step::Repeat(old, new) => {
                        let from = (last + 1).saturating_sub(old).max(1);
                        store.append(texts(&turn, from, last + new)).await.unwrap();
                        last += new;
                    }
                    Step::Reopen => {
                        store.close().await;
                        store = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap();
                    }
                }
                assert_eq!(store.last_seq(&turn.session).await.unwrap(), last);
            }
            let expected: Vec<_> =
                texts(&turn, 1, last).events.into_iter().filter(|event| event.seq > after).take(limit as usize).collect();
            assert_eq!(store.events_after(&turn.session, after, limit).await.unwrap(), expected);
            store.close().await;
        });
    }
}

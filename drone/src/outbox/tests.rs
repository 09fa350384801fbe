use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;

use super::*;

fn outbox(limits: Limits, directory: &Path) -> Outbox {
    Outbox::new("t".into(), 1, 10, limits, directory)
}

fn event(text: &str) -> TurnEvent {
    TurnEvent::Response { content: text.to_owned() }
}

fn text(numbered: &Numbered) -> (u64, String) {
    match numbered.event.parse().unwrap() {
        TurnEvent::Response { content } => (numbered.seq, content),
        other => panic!("{other:?}"),
    }
}

const TINY: Limits = Limits { memory: 300, disk: 600 };

#[tokio::test]
async fn after_a_reconnect_exactly_what_is_not_stored_is_sent_again_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = outbox(Limits::default(), dir.path());
    for name in ["a", "b", "c"] {
        outbox.push(&event(name)).await.unwrap();
    }
    assert_eq!(text(&outbox.next().await.unwrap()), (10, "a".to_owned()));
    assert_eq!(text(&outbox.next().await.unwrap()), (11, "b".to_owned()));
    outbox.stored(10);
    outbox.rewind();
    assert_eq!(text(&outbox.next().await.unwrap()), (11, "b".to_owned()));
    assert_eq!(text(&outbox.next().await.unwrap()), (12, "c".to_owned()));
    assert_eq!(outbox.last_seq(), 12);
    outbox.stored(12);
    assert!(outbox.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_held_event_and_all_after_it_wait_until_it_is_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = outbox(Limits::default(), dir.path());
    outbox.push(&event("before")).await.unwrap();
    let held = outbox.hold(&[event("held")]).await.unwrap();
    assert_eq!(held.seqs, [11]);
    outbox.push(&event("after")).await.unwrap();
    assert_eq!(text(&outbox.next().await.unwrap()).1, "before");
    let waiting = tokio::time::timeout(std::time::Duration::from_secs(5), outbox.next()).await;
    assert!(waiting.is_err(), "a held event was sent");
    drop(held);
    assert_eq!(text(&outbox.next().await.unwrap()).1, "held");
    assert_eq!(text(&outbox.next().await.unwrap()).1, "after");
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_makes_the_turn_wait_until_the_hub_has_stored_something() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = outbox(TINY, dir.path());
    let mut pushed: u64 = 0;
    let limit = std::time::Duration::from_secs(1);
    while tokio::time::timeout(limit, outbox.push(&event(&format!("event {pushed}")))).await.is_ok() {
        pushed += 1;
        assert!(pushed < 1000, "the outbox has no bound");
    }
    let blocked = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.push(&event("late")).await.unwrap() }
    });
    for number in 0..pushed {
        let (seq, content) = text(&outbox.next().await.unwrap());
        assert_eq!((seq, content), (10 + number, format!("event {number}")));
        outbox.stored(seq);
    }
    assert_eq!(blocked.await.unwrap(), 10 + pushed);
    assert_eq!(text(&outbox.next().await.unwrap()).1, "late");
}

#[tokio::test]
async fn waiting_for_everything_to_be_stored_ends_when_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = outbox(Limits::default(), dir.path());
    outbox.push(&event("last words")).await.unwrap();
    let drained = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.drained().await }
    });
    outbox.stored(10);
    drained.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_nothing_leaves_memory_with_its_bound_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = outbox(TINY, &dir.path().join("nowhere"));
    let limit = std::time::Duration::from_secs(1);
    let mut pushed: u64 = 0;
    while tokio::time::timeout(limit, outbox.push(&event(&format!("event {pushed}")))).await.is_ok() {
        pushed += 1;
        assert!(pushed < 100, "memory has no bound");
    }
    assert!(pushed >= 2, "memory takes nothing");
    for number in 0..pushed {
        assert_eq!(text(&outbox.next().await.unwrap()), (10 + number, format!("event {number}")));
        outbox.stored(10 + number);
    }
    assert_eq!(outbox.push(&event("goes on")).await.unwrap(), 10 + pushed);
    assert_eq!(text(&outbox.next().await.unwrap()).1, "goes on");
}

/// Damages the first event in the file that is behind the outbox.
fn damage_spilled_event(directory: &Path) {
    let directory = directory.canonicalize().unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten().map(|entry| entry.path());
    let spills = open.filter(|fd| std::fs::read_link(fd).is_ok_and(|file| file.starts_with(&directory)));
    for fd in spills {
        std::fs::File::options().write(true).open(fd).unwrap().write_all_at(b"!", 0).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_again_ends_the_sending_and_nothing_after_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = outbox(TINY, dir.path());
    for number in 0..5 {
        outbox.push(&event(&format!("event {number}"))).await.unwrap();
    }
    damage_spilled_event(dir.path());
    let limit = std::time::Duration::from_secs(5);
    let mut sent = 0;
    let end = loop {
        match tokio::time::timeout(limit, outbox.next()).await.expect("the sender waits for what is lost") {
            Ok(numbered) => {
                assert_eq!(numbered.seq, 10 + sent);
                sent += 1;
                outbox.stored(numbered.seq);
                // The sender may begin again at any time.
                outbox.rewind();
            }
            Err(lost) => break lost,
        }
    };
    assert!(sent < 5, "{end}");
}

#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    Send,
    Ack,
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..80).prop_map(Step::Push),
        4 => Just(Step::Send),
        2 => Just(Step::Ack),
        1 => Just(Step::Reconnect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The other side stores only the next number, as the hub does.
    #[test]
    fn whatever_happens_the_hub_stores_each_event_once_and_in_order(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = Queue::new(1, TINY, Spill::new(dir.path().to_owned()));
        let (mut made, mut stored, mut acked) = (Vec::new(), Vec::new(), 0_u64);
        let store = |queue: &mut Queue, stored: &mut Vec<String>| {
            let Some(numbered) = queue.take_unsent() else { return false };
            let (seq, content) = text(&numbered);
            if seq == stored.len() as u64 + 1 {
                stored.push(content);
            }
            assert!(seq <= stored.len() as u64, "a gap before {seq}");
            true
        };
        for step in steps {
            match step {
                Step::Push(length) if queue.has_room() => {
                    let content = format!("{}-{}", made.len(), "x".repeat(length));
                    queue.push(event(&content).to_raw().unwrap(), false);
                    made.push(content);
                }
                Step::Push(_) => {}
                Step::Send => { store(&mut queue, &mut stored); }
                Step::Ack => {
                    acked = stored.len() as u64;
                    queue.stored(acked);
                }
                Step::Reconnect => queue.rewind(),
            }
        }
        prop_assert!(acked <= stored.len() as u64);
        // In the end the connection stays and everything is acked.
        queue.rewind();
        loop {
            while store(&mut queue, &mut stored) {}
            queue.stored(stored.len() as u64);
            if queue.is_empty() { break; }
        }
        prop_assert_eq!(stored, made);
    }
}

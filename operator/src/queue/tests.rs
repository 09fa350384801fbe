use proptest::prelude::*;

use super::*;

fn key(name: &str) -> Key {
    Key::Drone(name.into())
}

#[tokio::test(start_paused = true)]
async fn an_object_is_reconciled_once_however_often_it_changed_and_again_if_it_did_meanwhile() {
    let now = Instant::now();
    let mut work = Work::default();
    work.add(key("a"));
    work.add(key("a"));
    assert_eq!(work.take(now), Some(key("a")));
    work.add(key("a"));
    assert_eq!(work.take(now), None, "it is being reconciled");
    work.done(key("a"), Next::OnChange, now, 0.0);
    assert_eq!(work.take(now), Some(key("a")));
    work.done(key("a"), Next::OnChange, now, 0.0);
    assert_eq!((work.take(now), work.next_timer()), (None, None));
}

#[tokio::test(start_paused = true)]
async fn work_that_goes_wrong_comes_later_each_time_also_if_it_changed_meanwhile() {
    let mut now = Instant::now();
    let mut work = Work::default();
    work.add(key("a"));
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(work.take(now), Some(key("a")));
        work.add(key("a"));
        work.done(key("a"), Next::BackOff, now, 1.0);
        assert_eq!(work.take(now), None);
        let next = work.next_timer().unwrap();
        waits.push((next - now).as_millis());
        now = next;
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
    assert_eq!(work.take(now), Some(key("a")));
    work.done(key("a"), Next::OnChange, now, 1.0);
    work.add(key("a"));
    assert_eq!(work.take(now), Some(key("a")));
    work.done(key("a"), Next::BackOff, now, 1.0);
    assert_eq!(work.next_timer(), Some(now + SHORTEST), "what went well begins anew");
}

#[tokio::test(start_paused = true)]
async fn a_timer_is_set_once_and_is_over_when_a_change_comes_first() {
    let now = Instant::now();
    let mut work = Work::default();
    work.add(key("a"));
    work.take(now);
    work.done(key("a"), Next::After(Duration::from_secs(5)), now, 0.0);
    work.add(key("a"));
    assert_eq!(work.take(now), Some(key("a")));
    assert_eq!(work.next_timer(), None);
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_takes_nothing() {
    let queue = Queue::default();
    queue.add([key("a")]);
    assert_eq!(queue.depth(), 0);
    queue.open([key("b")]);
    assert_eq!(queue.take().await, key("b"));
    queue.done(key("b"), Next::After(Duration::from_secs(3)));
    assert_eq!(queue.take().await, key("b"), "its time has come");
    queue.close();
    queue.done(key("b"), Next::BackOff);
    queue.open([]);
    assert_eq!(queue.try_take(), None);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Take,
    Done(Next),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u8).prop_map(Step::Add),
        Just(Step::Take),
        prop_oneof![
            Just(Next::OnChange),
            Just(Next::BackOff),
            (0..5_u64).prop_map(|seconds| Next::After(Duration::from_secs(seconds))),
        ]
        .prop_map(Step::Done),
        (0..10_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_runs_twice_at_a_time(steps in prop::collection::vec(step(), 0..80)) {
        let mut now = std::pin::pin!(async { Instant::now() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut now = runtime.block_on(now.as_mut());
        let mut work = Work::default();
        let mut running: Vec<Key> = Vec::new();
        let mut owed: HashSet<Key> = HashSet::new();
        for step in steps {
            match step {
                Step::Add(name) => {
                    let key = key(&name.to_string());
                    owed.insert(key.clone());
                    work.add(key);
                }
                Step::Take => {
                    if let Some(key) = work.take(now) {
                        prop_assert!(!running.contains(&key));
                        owed.remove(&key);
                        running.push(key);
                    }
                }
                Step::Done(next) => {
                    if let Some(key) = running.pop() {
                        work.done(key, next, now, 0.5);
                    }
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
        }
        for key in running.drain(..) {
            work.done(key, Next::OnChange, now, 0.5);
        }
        now += LONGEST * 2;
        while let Some(key) = work.take(now) {
            owed.remove(&key);
            work.done(key, Next::OnChange, now, 0.5);
        }
        prop_assert!(owed.is_empty(), "{owed:?}");
    }
}

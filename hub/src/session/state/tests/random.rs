//! Random lives of a session. Whatever happens: one turn at a time, numbers without gaps, each tab sees each event
//! once and in order, every ack is answered, and in the end no lock is left behind.

use proptest::prelude::*;
use protocol::ide::{FileTreeRequest, FollowRequest, IdeRequest};
use protocol::value::{ChatTurnStatus, DronePhase};

use super::super::input::AttachAs;
use super::super::*;
use super::world::World;

#[derive(Clone, Debug)]
enum Step {
    /// What people do most: open the session, prompt, watch.
    GetGoing(&'static str),
    Connect(&'static str),
    Attach(&'static str, AttachAs),
    /// Its client has asked for another session.
    Withdraw(&'static str),
    Disconnect(&'static str),
    Lock(&'static str, bool),
    /// With a drone that cannot be had.
    LockOther(&'static str),
    Release(&'static str),
    Submit(&'static str),
    Abort(&'static str),
    Heartbeat(&'static str),
    Mode(&'static str, WorkspaceMode),
    Tree(&'static str),
    Resume(&'static str),
    DroneConnects,
    DroneHellos,
    DroneDisconnects,
    DroneCrashes,
    DroneSays,
    DroneCompletes(ChatTurnStatus),
    DroneRefuses {
        lock: bool,
        work: bool,
        busy: bool,
    },
    Fleet(DronePhase),
    Held(bool),
    StoreFails(bool),
    Work(usize),
    Pass(u64),
    RestartHub,
}

fn step() -> impl Strategy<Value = Step> {
    let tab = prop_oneof![Just("a"), Just("b"), Just("c")];
    let mode = prop_oneof![Just(WorkspaceMode::Idle), Just(WorkspaceMode::User), Just(WorkspaceMode::Agent)];
    let want =
        prop_oneof![Just(AttachAs::TabOfProcessing), Just(AttachAs::TabOrFollower), Just(AttachAs::Follower)];
    let phase = prop_oneof![
        Just(DronePhase::Starting),
        Just(DronePhase::Recovering),
        Just(DronePhase::Suspended),
        Just(DronePhase::Offline),
        Just(DronePhase::Failed)
    ];
    let end = prop_oneof![
        Just(ChatTurnStatus::Finished),
        Just(ChatTurnStatus::Error),
        Just(ChatTurnStatus::Aborted)
    ];
    prop_oneof![
        8 => tab.clone().prop_map(Step::GetGoing),
        4 => tab.clone().prop_map(Step::Connect),
        3 => (tab.clone(), want).prop_map(|(tab, want)| Step::Attach(tab, want)),
        1 => tab.clone().prop_map(Step::Withdraw),
        2 => tab.clone().prop_map(Step::Disconnect),
        4 => (tab.clone(), any::<bool>()).prop_map(|(tab, over)| Step::Lock(tab, over)),
        1 => tab.clone().prop_map(Step::LockOther),
        1 => tab.clone().prop_map(Step::Release),
        6 => tab.clone().prop_map(Step::Submit),
        1 => tab.clone().prop_map(Step::Abort),
        2 => tab.clone().prop_map(Step::Heartbeat),
        1 => (tab.clone(), mode).prop_map(|(tab, mode)| Step::Mode(tab, mode)),
        1 => tab.clone().prop_map(Step::Tree),
        2 => tab.prop_map(Step::Resume),
        8 => Just(Step::DroneConnects),
        1 => Just(Step::DroneHellos),
        2 => Just(Step::DroneDisconnects),
        1 => Just(Step::DroneCrashes),
        20 => Just(Step::DroneSays),
        2 => end.prop_map(Step::DroneCompletes),
        1 => any::<[bool; 3]>().prop_map(|[lock, work, busy]| Step::DroneRefuses { lock, work, busy }),
        1 => phase.prop_map(Step::Fleet),
        1 => prop_oneof![1 => Just(true), 3 => Just(false)].prop_map(Step::Held),
        1 => prop_oneof![1 => Just(true), 3 => Just(false)].prop_map(Step::StoreFails),
        40 => (0_usize..8).prop_map(Step::Work),
        4 => prop_oneof![4 => 0_u64..3_000, 1 => 3_000_u64..200_000].prop_map(Step::Pass),
        1 => Just(Step::RestartHub),
    ]
}

fn take(world: &mut World, limits: &SessionLimits, step: Step) {
    match step {
        Step::GetGoing(tab) => {
            if world.tabs[tab].conn.is_none() {
                world.connect(tab);
            }
            world.lock(tab, true);
            world.drone_connects();
            world.work_all();
            world.submit(tab);
            world.work_all();
        }
        Step::Connect(tab) if world.tabs[tab].conn.is_none() => world.connect(tab),
        Step::Connect(_) => {}
        Step::Attach(tab, want) => world.attach(tab, want),
        Step::Withdraw(tab) => world.withdraw(tab),
        Step::Disconnect(tab) => world.disconnect(tab),
        Step::Lock(tab, take_over) => world.lock(tab, take_over),
        Step::LockOther(tab) => world.lock_with(tab, Some("nobody's"), true),
        Step::Release(tab) => world.request(tab, IdeRequest::ReleaseSessionLock { chat_session: None }),
        Step::Submit(tab) => world.submit(tab),
        Step::Abort(tab) => world.request(tab, IdeRequest::AbortWorkOrder),
        Step::Heartbeat(tab) => world.request(tab, IdeRequest::SessionHeartbeat),
        Step::Mode(tab, mode) => {
            world.request(tab, IdeRequest::RequestWorkspaceMode { chat_session: None, mode });
        }
        Step::Tree(tab) => world.request(tab, IdeRequest::FileTree(FileTreeRequest::default())),
        Step::Resume(tab) => {
            if let Some(seen) = world.tabs[tab].seen {
                let request = FollowRequest { chat_session_id: "s".into(), last_seq: Some(seen) };
                world.request(tab, IdeRequest::Resume(request));
            }
        }
        Step::DroneConnects => world.drone_connects(),
        Step::DroneHellos => world.say_hello(false),
        Step::DroneDisconnects => world.drone_disconnects(),
        Step::DroneCrashes => world.drone_crashes(),
        Step::DroneSays => world.drone_says("word "),
        Step::DroneCompletes(status) => world.drone_completes(status),
        Step::DroneRefuses { lock, work, busy } => {
            world.drone.refuses_lock = lock;
            world.drone.refuses_work = work;
            world.drone.busy = busy;
        }
        Step::Fleet(phase) => world.fleet_says(phase, None),
        Step::Held(held) => world.hold(held),
        Step::StoreFails(fails) => world.store.fails = fails,
        Step::Work(pick) => world.work(pick),
        Step::Pass(milliseconds) => world.pass_time(Duration::from_millis(milliseconds)),
        Step::RestartHub => world.restart_hub(limits.clone()),
    }
    world.answers();
}

/// Everything works again; everybody leaves; time goes by.
fn settle(world: &mut World) {
    world.store.fails = false;
    world.drone.refuses_lock = false;
    world.drone.refuses_work = false;
    world.drone.busy = false;
    world.hold(false);
    for _ in 0..20 {
        world.drone_connects();
        world.work_all();
        world.drone_completes(ChatTurnStatus::Finished);
        world.work_all();
        world.pass_time(Duration::from_secs(5));
        world.answers();
    }
    assert_eq!(world.unanswered(), Vec::<String>::new());
    assert!(world.store.turns.iter().all(|(_, status)| status.is_over()), "a turn never ended");
    let last = world.store.events.last().map_or(0, |event| event.seq);
    for (name, tab) in &world.tabs {
        let follows = tab.conn.is_some_and(|conn| world.state.viewers.contains(conn));
        let whole = tab.seen.is_none_or(|seen| seen == last);
        assert!(!follows || whole, "tab {name} lacks events: {:?} of {last}", tab.seen);
        let known = tab.conn.is_some_and(|conn| world.state.knows(conn));
        assert_eq!(tab.asked.is_some(), known, "tab {name} and the session differ on whether they are done");
    }
    assert_eq!(world.dismissed, [], "the drone was let go for one that cannot be had");
    for tab in ["a", "b", "c"] {
        world.disconnect(tab);
    }
    for _ in 0..4 {
        world.pass_time(Duration::from_secs(130));
        world.work_all();
    }
    assert!(!world.drone.locked, "the drone's lock is left behind");
    world.drone_disconnects();
    world.work_all();
    assert!(world.state.is_at_rest(), "{:?}", world.state);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_doubled_or_left_behind(steps in prop::collection::vec(step(), 1..200)) {
        let limits = SessionLimits { ring_events: 4, page: 3, ..SessionLimits::default() };
        let mut world = World::new(limits.clone());
        for step in steps {
            take(&mut world, &limits, step);
        }
        settle(&mut world);
    }
}

//! The rules that a client can rely on, one by one.

use protocol::ide::{FileTreeRequest, FollowRequest, IdeRequest, name};
use protocol::value::{ChatTurnStatus, DronePhase};
use serde_json::json;

use super::super::input::{AttachAs, Peer};
use super::super::*;
use super::world::{DRONE, World, now};
use crate::session::ConnId;

/// Tab `a` holds the session, the drone is connected and locked.
pub(super) fn opened() -> World {
    let mut world = World::new(SessionLimits::default());
    world.drone_connects();
    world.connect("a");
    world.lock("a", false);
    world.work_all();
    assert_eq!(last(&mut world)[0], json!(true));
    world
}

/// As [`opened`], and a turn runs that has said "one".
pub(super) fn running() -> World {
    let mut world = opened();
    world.submit("a");
    world.work_all();
    assert_eq!(last(&mut world)[0], json!(true));
    world.drone_says("one");
    world.work_all();
    world
}

/// The newest answer.
pub(super) fn last(world: &mut World) -> Vec<Value> {
    world.answers().pop().expect("an answer").1
}

pub(super) fn code(args: &[Value]) -> &str {
    args.iter().find_map(|arg| arg.get("code")).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn status_of(world: &World) -> ChatTurnStatus {
    world.store.turns.last().expect("a turn").1
}

#[test]
fn events_are_shown_at_once_and_acked_when_they_are_stored() {
    let mut world = running();
    world.drone_says("two");
    assert_eq!(world.tabs["a"].seen, Some(2));
    assert_eq!(world.store.events.len(), 1);
    world.work_all();
    assert_eq!(world.store.events.len(), 2);
}

#[test]
fn a_turn_is_shown_to_be_done_only_when_it_is_stored() {
    let mut world = running();
    world.drone_completes(ChatTurnStatus::Finished);
    assert_eq!(world.tabs["a"].seen, Some(1), "the completion waits for the store");
    world.work_all();
    assert_eq!((world.tabs["a"].seen, status_of(&world)), (Some(2), ChatTurnStatus::Finished));
}

#[test]
fn a_second_prompt_is_refused_while_a_turn_is_processing() {
    let mut world = running();
    world.submit("a");
    assert_eq!(code(&world.answer()), "busy");
    world.drone_completes(ChatTurnStatus::Finished);
    world.work_all();
    world.submit("a");
    world.work_all();
    assert_eq!(
        last(&mut world)[0],
        json!(true),
        "the next one is taken as soon as the first is shown to be done"
    );
}

#[test]
fn a_failing_store_loses_nothing_and_pauses_the_drone() {
    let mut world = running();
    world.store.fails = true;
    for _ in 0..3000 {
        world.drone_says("x");
    }
    world.work_all();
    assert!(world.drone.paused);
    assert!(world.state.is_store_failing());
    world.store.fails = false;
    world.pass_time(Duration::from_secs(6));
    world.work_all();
    assert!(!world.drone.paused);
    assert_eq!(world.store.events.len(), 3001);
}

#[test]
fn a_store_that_fails_at_a_prompt_accepts_nothing() {
    let mut world = opened();
    world.store.fails = true;
    world.submit("a");
    world.work_all();
    assert_eq!(code(&world.answer()), "store_unavailable");
    world.store.fails = false;
    world.submit("a");
    world.work_all();
    assert_eq!(last(&mut world)[0], json!(true));
}

#[test]
fn a_tab_that_comes_back_takes_its_own_lock_at_once() {
    let mut world = running();
    // Its old connection is still believed to be there.
    world.tabs.get_mut("a").unwrap().conn = None;
    world.connect("a");
    world.attach("a", AttachAs::TabOfProcessing);
    assert_eq!(world.answer(), [json!(true)]);
    world.drone_says("two");
    assert_eq!(world.tabs["a"].seen, Some(2));
}

#[test]
fn another_tab_is_refused_after_the_holder_was_found_alive() {
    let mut world = opened();
    world.connect("b");
    world.lock("b", false);
    assert!(world.answers().is_empty(), "the holder is looked at first");
    world.pass_time(Duration::from_secs(2));
    assert_eq!(code(&world.answer()), "tab_locked");
    assert!(world.tabs["b"].notes.iter().any(|note| note.starts_with(name::TAB_LOCK_DENIED)));
    assert!(world.tabs["a"].holds && !world.tabs["b"].holds);
}

#[test]
fn another_tab_is_let_in_when_the_holder_turns_out_to_be_dead() {
    let mut world = opened();
    world.connect("b");
    world.lock("b", false);
    world.disconnect("a");
    world.work_all();
    assert_eq!(last(&mut world)[0], json!(true));
    assert!(world.tabs["b"].holds);
}

#[test]
fn a_tab_that_is_taken_over_stays_and_watches() {
    let mut world = running();
    world.connect("b");
    world.lock("b", true);
    assert_eq!(world.answer()[0], json!(true));
    assert!(world.tabs["a"].notes.iter().any(|note| note.starts_with(name::TAB_LOCK_DENIED)));
    world.drone_says("two");
    assert_eq!((world.tabs["a"].seen, world.tabs["b"].seen), (Some(2), Some(2)));
    world.submit("a");
    assert_eq!(code(&world.answer()), "no_session");
}

#[test]
fn when_the_drone_refuses_its_lock_the_tab_is_not_taken_either() {
    let mut world = World::new(SessionLimits::default());
    world.drone.refuses_lock = true;
    world.drone_connects();
    world.connect("a");
    world.lock("a", false);
    world.work_all();
    let answer = last(&mut world);
    assert_eq!((&answer[0], code(&answer)), (&json!(false), "drone_locked"));
    assert!(!world.tabs["a"].holds);
    assert!(world.state.next_deadline().is_none_or(|due| due > Duration::from_mins(1)), "nothing is retried");
}

#[test]
fn a_session_opens_before_its_drone_is_there() {
    let mut world = World::new(SessionLimits::default());
    world.connect("a");
    world.lock("a", false);
    world.work_all();
    world.pass_time(Duration::from_secs(15));
    assert_eq!(world.answer()[0], json!(true));
    world.submit("a");
    world.work_all();
    assert_eq!(last(&mut world)[0], json!(true), "the prompt is stored and held");
    world.drone_connects();
    world.work_all();
    assert!(world.drone.run.is_some(), "and sent when the drone is there");
}

#[test]
fn a_held_turn_can_be_aborted() {
    let mut world = World::new(SessionLimits::default());
    world.connect("a");
    world.lock("a", false);
    world.work_all();
    world.pass_time(Duration::from_secs(15));
    world.submit("a");
    world.work_all();
    world.answers();
    world.request("a", IdeRequest::AbortWorkOrder);
    assert_eq!(world.answer()[0], json!(true));
    world.work_all();
    assert_eq!((status_of(&world), world.tabs["a"].seen), (ChatTurnStatus::Aborted, Some(1)));
}

#[test]
fn silence_frees_both_locks_but_not_of_a_running_turn() {
    let mut world = running();
    world.pass_time(Duration::from_mins(10));
    assert!(world.drone.locked && world.tabs["a"].holds, "a running turn runs on");
    world.drone_completes(ChatTurnStatus::Finished);
    world.work_all();
    world.pass_time(Duration::from_mins(1));
    world.request("a", IdeRequest::SessionHeartbeat);
    world.work_all();
    assert_eq!(last(&mut world), [json!(true)]);
    world.pass_time(Duration::from_secs(119));
    world.work_all();
    assert!(world.drone.locked && world.tabs["a"].holds);
    world.pass_time(Duration::from_secs(2));
    world.work_all();
    assert!(!world.drone.locked && !world.tabs["a"].holds);
}

#[test]
fn a_drone_without_work_is_suspended_and_woken_by_the_next_prompt() {
    let mut world = opened();
    for _ in 0..100 {
        world.pass_time(Duration::from_secs(19));
        world.request("a", IdeRequest::SessionHeartbeat);
        world.work_all();
    }
    world.answers();
    assert_eq!(world.suspended, 1, "heartbeats alone are no work");
    world.drone.locked = false;
    world.drone_disconnects();
    world.fleet_says(DronePhase::Suspended, None);
    assert!(!world.has_jobs(), "nobody starts it again");
    world.submit("a");
    world.work_all();
    world.drone_connects();
    world.work_all();
    assert!(world.drone.run.is_some());
}

#[test]
fn modes_exclude_each_other_and_a_refusal_has_its_reason() {
    let mut world = opened();
    let mode = |mode| IdeRequest::RequestWorkspaceMode { chat_session: None, mode };
    world.request("a", mode(WorkspaceMode::User));
    world.work_all();
    assert_eq!(world.answer(), [json!(true), json!("user")]);
    world.submit("a");
    assert_eq!(code(&world.answer()), "mode");
    world.request("a", mode(WorkspaceMode::Syncing));
    assert_eq!(world.answer()[..2], [json!(false), json!("user")]);
    world.request("a", mode(WorkspaceMode::Agent));
    world.work_all();
    assert_eq!(world.answer(), [json!(true), json!("agent")]);
    world.submit("a");
    world.work_all();
    assert_eq!(last(&mut world)[0], json!(true));
    world.request("a", mode(WorkspaceMode::User));
    let answer = world.answer();
    assert_eq!(answer[..2], [json!(false), json!("agent")]);
    assert!(answer[2].as_str().unwrap().contains("a turn is processing"));
}

#[test]
fn a_prompt_is_held_while_the_project_is_synchronised() {
    let mut world = opened();
    let conn = world.drone.conn.unwrap();
    world.apply(Input::Drone { conn, said: DroneInput::Mode(WorkspaceMode::Syncing) });
    world.submit("a");
    world.work_all();
    assert_eq!(last(&mut world)[0], json!(true));
    assert!(world.drone.run.is_none());
    world.apply(Input::Drone { conn, said: DroneInput::Mode(WorkspaceMode::Idle) });
    world.work_all();
    assert!(world.drone.run.is_some());
}

#[test]
fn an_abort_is_two_signals() {
    let mut world = running();
    world.request("a", IdeRequest::AbortWorkOrder);
    world.work(0);
    let answers = world.answers();
    assert_eq!(answers.last().unwrap().1[0], json!(true), "first: it was signalled");
    world.work_all();
    assert_eq!(status_of(&world), ChatTurnStatus::Aborted);
    assert_eq!(world.tabs["a"].seen, Some(2), "second: the completion; what was said is kept");
}

#[test]
fn an_abort_survives_the_hub_and_reaches_the_drone_when_it_is_back() {
    let mut world = running();
    world.drone_disconnects();
    world.work_all();
    world.request("a", IdeRequest::AbortWorkOrder);
    assert_eq!(world.answer()[0], json!(true));
    world.restart_hub(SessionLimits::default());
    world.drone_connects();
    world.work_all();
    assert_eq!(status_of(&world), ChatTurnStatus::Aborted);
}

#[test]
fn a_drone_that_ignores_an_abort_loses_the_turn_all_the_same() {
    let mut world = running();
    world.drone.run = None;
    world.request("a", IdeRequest::AbortWorkOrder);
    world.work_all();
    world.answers();
    world.pass_time(Duration::from_mins(1));
    world.work_all();
    assert_eq!(status_of(&world), ChatTurnStatus::Aborted);
}

#[test]
fn a_client_that_is_ahead_of_the_store_gets_the_whole_turn() {
    let mut world = running();
    let request = FollowRequest { chat_session_id: "s".into(), last_seq: Some(99) };
    world.request("a", IdeRequest::Resume(request));
    world.work_all();
    let answer = last(&mut world);
    assert_eq!(answer[1]["turn"]["lastSeq"], json!(1));
    assert_eq!((&answer[1]["fromSeq"], &answer[1]["toSeq"]), (&json!(2), &json!(1)));
    world.drone_says("two");
    assert_eq!(world.tabs["a"].seen, Some(2));
}

#[test]
fn events_that_memory_has_forgotten_are_replayed_from_the_store_page_by_page() {
    let limits = SessionLimits { ring_events: 2, page: 3, ..SessionLimits::default() };
    let mut world = running();
    world.restart_hub(limits);
    world.drone_connects();
    world.work_all();
    for _ in 0..20 {
        world.drone_says("x");
        world.work_all();
    }
    world.connect("b");
    let follow = FollowRequest { chat_session_id: "s".into(), last_seq: Some(0) };
    world.tabs.get_mut("b").unwrap().seen = Some(0);
    world.request("b", IdeRequest::FollowSession(follow));
    world.drone_says("while it catches up");
    world.work_all();
    assert_eq!(world.tabs["b"].seen, Some(22));
}

#[test]
fn what_was_asked_of_a_drone_that_vanishes_is_answered_at_once() {
    let mut world = opened();
    world.answers();
    world.request("a", IdeRequest::FileTree(FileTreeRequest::default()));
    world.request("a", IdeRequest::SessionHeartbeat);
    world.drone_disconnects();
    let answers = world.answers();
    assert_eq!(answers.len(), 2);
    assert_eq!(code(&answers[0].1), "drone_unreachable");
    assert_eq!(answers[1].1, [json!(false)]);
}

#[test]
fn a_drone_stopped_by_a_person_stays_stopped() {
    let mut world = opened();
    world.hold(true);
    world.drone_disconnects();
    world.fleet_says(DronePhase::Offline, None);
    world.answers();
    world.submit("a");
    assert_eq!(code(&world.answer()), "suspended");
    assert!(!world.has_jobs(), "nothing starts it");
    world.hold(false);
    world.work_all();
    world.drone_connects();
    world.work_all();
    world.submit("a");
    world.work_all();
    assert!(world.drone.run.is_some());
}

#[test]
fn an_older_connection_of_the_drone_is_shut_out() {
    let mut world = running();
    let stale = ConnId(4711);
    let (answer, mut receiver) = Responder::channel();
    let event = protocol::event::TurnEvent::Response { content: "forged".into() };
    let turn_id = world.drone.run.clone().unwrap().turn;
    let meta =
        protocol::event::DroneMeta { turn_id, attempt: 1, generation: 1, seq: 2, notes: event.notes() };
    let said = DroneInput::Event { event: event.to_raw().unwrap(), meta, answer };
    world.apply(Input::Drone { conn: stale, said });
    assert_eq!(code(&receiver.try_recv().unwrap()), "superseded");
    assert_eq!(world.tabs["a"].seen, Some(1));
}

#[test]
fn a_gap_in_the_numbers_is_refused_and_names_what_is_expected() {
    let mut world = running();
    let event = protocol::event::TurnEvent::Response { content: "later".into() };
    let turn_id = world.drone.run.clone().unwrap().turn;
    let meta =
        protocol::event::DroneMeta { turn_id, attempt: 1, generation: 1, seq: 7, notes: event.notes() };
    let (answer, mut receiver) = Responder::channel();
    let said = DroneInput::Event { event: event.to_raw().unwrap(), meta, answer };
    let conn = world.drone.conn.unwrap();
    world.apply(Input::Drone { conn, said });
    let answer = receiver.try_recv().unwrap();
    assert_eq!(code(&answer), "conflict");
    assert!(answer[1]["message"].as_str().unwrap().contains("2 is expected"));
}

#[test]
fn another_user_s_session_is_not_there_whatever_is_asked() {
    let mut world = running();
    let requests = [
        IdeRequest::RequestSessionLock {
            registration: None,
            project: None,
            chat_session: "s".into(),
            take_over: true,
        },
        IdeRequest::AbortWorkOrder,
        IdeRequest::SubmitPrompt { content: "x".into() },
        IdeRequest::FollowSession(FollowRequest { chat_session_id: "s".into(), last_seq: None }),
    ];
    for request in requests {
        let (answer, mut receiver) = Responder::channel();
        let peer = Peer { conn: ConnId(99), user: "mallory".into(), tab: None, asked: 1 };
        world.state.apply(now(world.now), Input::Ide { peer, request, last_seq: None, answer });
        world.work_all();
        let mut effects = world.state.take_effects();
        let Some(Effect::Answer(answer, args)) = effects.pop() else { panic!("no answer") };
        answer.answer(args);
        assert!(matches!(effects[..], [Effect::Forget { conn: ConnId(99), upto: 1 }]), "{effects:?}");
        let answer = receiver.try_recv().unwrap();
        assert_eq!(answer[0], json!(false));
        let text = Value::from(answer).to_string();
        assert!(text.contains("not_found") || text.contains("no such chat session"), "{text}");
    }
}

#[test]
fn a_lock_request_that_names_a_drone_that_cannot_be_had_leaves_the_session_its_own() {
    let mut world = opened();
    world.lock_with("a", Some("nobody's"), false);
    world.work_all();
    assert_eq!(code(&last(&mut world)), "not_found");
    assert_eq!(world.dismissed, []);
    assert!(world.drone.locked && world.tabs["a"].holds);
    world.submit("a");
    world.work_all();
    assert!(world.drone.run.is_some(), "the session's own drone works on");
}

#[test]
fn a_drone_that_is_named_takes_the_place_of_the_session_s_own_which_stops() {
    let mut world = opened();
    world.free.push("e");
    world.lock_with("a", Some("e"), false);
    assert_eq!(world.dismissed, [], "not before the other one is sure to come");
    world.submit("a");
    assert_eq!(code(&world.answer()), "busy", "nothing is begun with a drone that is about to go");
    world.work_all();
    assert_eq!(world.dismissed, [DRONE.into()]);
    world.drone_disconnects();
    world.pass_time(Duration::from_secs(15));
    assert_eq!(last(&mut world)[2]["registration"]["_id"], "e");
}

#[test]
fn a_drone_that_was_let_go_is_not_taken_back_for_its_late_hello() {
    let mut world = opened();
    world.free.push("e");
    world.lock_with("a", Some("e"), false);
    world.work_all();
    world.answers();
    world.say_hello(true);
    assert_eq!(code(&world.answer()), "superseded");
    assert_eq!(world.dismissed, [DRONE.into()]);
}

#[test]
fn a_drone_that_ends_in_good_order_in_mid_turn_is_started_again() {
    let mut world = running();
    world.drone_crashes();
    world.work_all();
    world.fleet_says(DronePhase::Offline, Some("the drone ended by itself"));
    assert!(world.has_jobs(), "it is asked for again");
    world.work_all();
    world.pass_time(Duration::from_mins(5));
    assert_eq!(status_of(&world), ChatTurnStatus::Processing);
    world.drone_connects();
    world.work_all();
    assert_eq!(world.drone.run.clone().unwrap().attempt, 2);
}

#[test]
fn a_drone_that_ends_again_and_again_before_it_connects_is_started_at_intervals() {
    let mut world = running();
    world.drone_crashes();
    world.work_all();
    world.fleet_says(DronePhase::Starting, None);
    world.fleet_says(DronePhase::Offline, None);
    assert!(!world.has_jobs());
    world.pass_time(Duration::from_secs(5));
    assert!(world.has_jobs());
}

#[test]
fn a_turn_whose_drone_a_person_has_stopped_ends_also_when_the_hub_is_started_again() {
    let mut world = running();
    world.hold(true);
    world.drone_crashes();
    world.restart_hub(SessionLimits::default());
    world.pass_time(Duration::from_secs(59));
    world.work_all();
    assert_eq!(status_of(&world), ChatTurnStatus::Error);
}

#[test]
fn a_deleted_session_is_not_there_for_those_who_know_it_and_wants_nothing() {
    let mut world = opened();
    world.connect("b");
    world.lock("b", false);
    world.answers();
    world.apply(Input::Deleted);
    assert_eq!(code(&last(&mut world)), "not_found", "who waits for it is told");
    assert!(world.tabs.values().all(|tab| tab.asked.is_none() && !tab.holds));
    world.work_all();
    world.drone_disconnects();
    for _ in 0..2 {
        world.submit("a");
        assert_eq!(code(&world.answer()), "not_found");
        world.lock("a", true);
        assert_eq!(code(&world.answer()), "not_found");
        assert!(world.tabs["a"].asked.is_none());
    }
    world.attach("b", AttachAs::TabOrFollower);
    assert_eq!(world.answer()[0], json!(false));
    world.drone_connects();
    assert_eq!(code(&world.answer()), "not_found");
    assert!(!world.has_jobs() && world.state.is_at_rest(), "{:?}", world.state);
}

#[test]
fn a_refused_lock_leaves_the_connection_with_the_tab_that_it_had() {
    let mut world = opened();
    world.connect("b");
    // As its connection does when it asks.
    world.tabs.get_mut("b").unwrap().holds = true;
    let request = IdeRequest::RequestSessionLock {
        registration: None,
        project: Some("another".into()),
        chat_session: "s".into(),
        take_over: true,
    };
    world.tabs.get_mut("a").unwrap().holds = false;
    world.request("b", request);
    assert_eq!(code(&world.answer()), "not_found");
    assert!(!world.tabs["b"].holds, "it is told that this is not its tab");
    assert!(world.tabs["b"].asked.is_none(), "and has nothing more to do with the session");
}

#[test]
fn a_connection_that_is_done_with_a_session_is_done_with_it() {
    let mut world = opened();
    world.connect("b");
    let follow = || FollowRequest { chat_session_id: "s".into(), last_seq: None };
    world.request("b", IdeRequest::FollowSession(follow()));
    assert!(world.tabs["b"].asked.is_some());
    world.request("b", IdeRequest::UnfollowSession { chat_session: "s".into() });
    assert!(world.tabs["b"].asked.is_none());
    world.request("a", IdeRequest::ReleaseSessionLock { chat_session: None });
    assert!(world.tabs["a"].asked.is_none());
    let (conn, asked) = (world.tabs["b"].conn.unwrap(), 100);
    world.lock("b", false);
    world.work_all();
    world.tabs.get_mut("b").unwrap().holds = false;
    world.apply(Input::TabMoved { conn, asked });
    assert!(world.tabs["b"].asked.is_none());
}

#[test]
fn a_store_that_fails_when_the_drone_is_locked_leaves_the_turn_waiting() {
    let mut world = running();
    world.drone_crashes();
    world.drone_connects();
    world.drone.locked = false;
    world.drone_disconnects();
    world.drone_connects();
    world.store.fails = true;
    world.work_all();
    world.store.fails = false;
    world.pass_time(Duration::from_secs(5));
    world.work_all();
    world.pass_time(Duration::from_secs(10));
    world.work_all();
    assert_eq!(status_of(&world), ChatTurnStatus::Processing);
    assert!(world.drone.run.is_some());
}

#[test]
fn a_turn_is_sent_again_to_a_drone_that_still_ends_the_one_before() {
    let mut world = opened();
    world.drone.busy = true;
    world.submit("a");
    world.work_all();
    assert_eq!(status_of(&world), ChatTurnStatus::Processing);
    for _ in 0..8 {
        world.pass_time(Duration::from_secs(1));
        world.work_all();
    }
    world.drone.busy = false;
    world.pass_time(Duration::from_secs(1));
    world.work_all();
    assert_eq!(world.drone.run.clone().expect("it works").attempt, 1);
}

#[test]
fn a_drone_that_stays_busy_for_ever_does_not_keep_a_turn_waiting() {
    let mut world = opened();
    world.drone.busy = true;
    world.submit("a");
    for _ in 0..62 {
        world.work_all();
        world.pass_time(Duration::from_secs(1));
    }
    assert_eq!(status_of(&world), ChatTurnStatus::Error);
}

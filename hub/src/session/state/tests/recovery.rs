//! Drones and hubs that die in the middle of a turn.

use protocol::value::{ChatTurnStatus, DronePhase};

use super::super::input::AttachAs;
use super::super::*;
use super::rules::{opened, running, status_of};

#[test]
fn a_crashed_turn_goes_on_as_the_next_attempt() {
    let mut world = running();
    world.drone_crashes();
    world.drone_connects();
    world.work_all();
    let run = world.drone.run.clone().unwrap();
    assert_eq!(run.attempt, 2);
    world.drone_says("two");
    world.drone_completes(ChatTurnStatus::Finished);
    world.work_all();
    assert_eq!((status_of(&world), world.tabs["a"].seen), (ChatTurnStatus::Finished, Some(3)));
    assert!(world.tabs["a"].notes.iter().any(|note| note.contains("attempt 2")));
}

#[test]
fn a_work_order_that_was_lost_on_the_way_is_sent_again_at_once() {
    let mut world = opened();
    world.submit("a");
    world.work(0);
    // The drone dies before the work order gets there, and has nothing to ask about.
    world.drone_crashes();
    world.work_all();
    world.drone_connects();
    world.work_all();
    assert_eq!(world.drone.run.clone().expect("no time goes by").attempt, 2);
}

#[test]
fn a_turn_that_a_hub_stored_and_never_sent_is_sent_by_the_next_one_as_soon_as_the_drone_is_there() {
    let mut world = opened();
    world.submit("a");
    world.work(0);
    assert_eq!(world.store.turns[0].0.attempts, 1, "it was stored with the head of its first attempt");
    world.restart_hub(SessionLimits::default());
    world.drone_connects();
    world.work_all();
    assert_eq!(world.drone.run.clone().expect("no time goes by").attempt, 2);
}

#[test]
fn a_next_attempt_that_was_lost_on_the_way_is_sent_again_at_once_though_an_older_one_is_found() {
    let mut world = running();
    world.drone_crashes();
    world.drone.locked = true;
    world.drone_connects();
    assert!(world.has_jobs(), "the second attempt is on its way");
    world.drone_crashes();
    world.work_all();
    world.drone_connects();
    world.work_all();
    assert_eq!(world.drone.run.clone().expect("no time goes by").attempt, 3);
    world.drone_completes(ChatTurnStatus::Finished);
    world.work_all();
    assert_eq!(status_of(&world), ChatTurnStatus::Finished);
}

#[test]
fn a_drone_that_does_not_say_what_it_found_has_time_to_ask_for_recovery() {
    let mut world = opened();
    world.drone.is_old = true;
    world.submit("a");
    world.work(0);
    world.drone_crashes();
    world.work_all();
    world.drone_connects();
    world.work_all();
    assert!(world.drone.run.is_none());
    world.pass_time(Duration::from_secs(10));
    world.work_all();
    assert_eq!(world.drone.run.clone().unwrap().attempt, 2);
}

#[test]
fn a_first_attempt_that_added_nothing_is_followed_at_once_and_a_second_after_a_moment() {
    let mut world = running();
    for (attempt, waits) in [(2, false), (3, false), (4, true)] {
        world.drone_crashes();
        world.drone_connects();
        world.work_all();
        assert_eq!(world.drone.run.is_none(), waits, "attempt {attempt}");
    }
    world.pass_time(Duration::from_secs(1));
    world.work_all();
    assert_eq!(world.drone.run.clone().unwrap().attempt, 4);
}

#[test]
fn three_attempts_in_a_row_that_add_nothing_end_the_turn() {
    let mut world = running();
    for _ in 0..4 {
        world.drone_crashes();
        world.drone_connects();
        world.work_all();
        world.pass_time(Duration::from_secs(9));
        world.work_all();
    }
    assert_eq!(status_of(&world), ChatTurnStatus::Error);
    assert!(world.drone.run.is_none());
}

#[test]
fn a_work_order_that_nobody_wants_is_discarded() {
    let mut world = running();
    world.drone_crashes();
    world.fleet_says(DronePhase::Failed, Some("it crashed too often"));
    world.pass_time(Duration::from_secs(59));
    world.work_all();
    assert_eq!(status_of(&world), ChatTurnStatus::Error, "within 60 s of the fleet's word");
    world.drone_connects();
    world.work_all();
    world.drone_disconnects();
    world.drone_connects();
    world.work_all();
    assert!(world.drone.run.is_none() && !world.has_jobs());
}

#[test]
fn a_turn_ends_also_when_the_fleet_has_given_its_drone_up_before_that_goes() {
    let mut world = running();
    world.fleet_says(DronePhase::Failed, Some("it was deleted"));
    world.pass_time(Duration::from_secs(59));
    assert_eq!(status_of(&world), ChatTurnStatus::Processing, "while it works");
    world.drone_disconnects();
    world.pass_time(Duration::from_secs(59));
    world.work_all();
    assert_eq!(status_of(&world), ChatTurnStatus::Error, "within 60 s of its going");
}

#[test]
fn a_turn_waits_while_its_drone_is_being_replaced() {
    let mut world = running();
    world.drone_disconnects();
    world.fleet_says(DronePhase::Recovering, None);
    world.pass_time(Duration::from_mins(5));
    assert_eq!(status_of(&world), ChatTurnStatus::Processing);
    world.drone_connects();
    world.drone_says("two");
    world.work_all();
    assert_eq!(world.tabs["a"].seen, Some(2));
}

#[test]
fn news_of_the_fleet_that_are_older_than_the_drone_s_connection_change_nothing() {
    let mut world = running();
    world.restart_hub(SessionLimits::default());
    let adopted = world.fleet_event(DronePhase::Recovering, None);
    world.now += Duration::from_millis(1);
    world.drone_connects();
    world.connect("a");
    world.attach("a", AttachAs::TabOrFollower);
    world.work_all();
    let before = world.tabs["a"].notes.clone();
    world.apply(Input::Fleet(adopted));
    world.work_all();
    assert_eq!(world.tabs["a"].notes, before);
    world.fleet_says(DronePhase::Recovering, Some("the process ended"));
    assert!(world.tabs["a"].notes.last().is_some_and(|note| note.contains("the process ended")));
}

#[test]
fn a_hub_that_was_killed_goes_on_with_the_turn_without_anybody_asking() {
    let mut world = running();
    world.drone_says("two, shown and not stored");
    world.restart_hub(SessionLimits::default());
    assert!(world.has_jobs(), "the drone is asked for");
    world.drone_connects();
    world.drone_completes(ChatTurnStatus::Finished);
    world.work_all();
    assert_eq!(world.store.events.len(), 3);
    world.connect("a");
    world.attach("a", AttachAs::TabOrFollower);
    world.work_all();
    assert_eq!(world.tabs["a"].seen, Some(3), "what it lacks, each once");
}

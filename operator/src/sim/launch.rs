//! What is written for a launch, a bind, a suspend, a resume and a deletion.

use crds::chat_session::SessionPhase;
use crds::conditions::{self, READY};
use crds::drone_registration::DronePhase;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_cold_start_takes_five_writes_and_rest_takes_none() {
    let mut sim = Sim::new();
    sim.session("x");
    sim.settle().await;
    let mut writes = sim.writes();
    assert_eq!(writes.pop().as_deref(), Some("POST pods/x"));
    writes.sort();
    assert_eq!(writes, ["POST droneregistrations/x", "POST persistentvolumeclaims/ws-x"]);
    tokio::time::advance(Duration::from_millis(300)).await;
    sim.run_pod("x");
    sim.settle().await;
    assert_eq!(sim.writes(), ["PATCH droneregistrations/x/status", "PATCH chatsessions/x/status"]);
    let status = sim.session_status("x");
    assert_eq!(status.phase, Some(SessionPhase::Ready));
    assert_eq!(status.drone_name.as_deref(), Some("x"));
    assert_eq!(status.workspace_claim.as_deref(), Some("ws-x"));
    assert_eq!(status.node_name.as_deref(), Some("node-1"));
    assert_eq!(status.start_milliseconds, Some(300));
    assert!(conditions::is_true(&status.conditions, READY));
    let drone = sim.drone_status("x");
    assert_eq!((drone.phase, drone.restarts), (Some(DronePhase::Busy), None));
    sim.wait(Duration::from_hours(1)).await;
    sim.restart();
    sim.wait(Duration::from_hours(1)).await;
    assert_eq!(sim.writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_is_said_once_after_a_second() {
    let sim = Sim::new();
    sim.session("x");
    sim.settle().await;
    sim.writes();
    sim.wait(Duration::from_mins(1)).await;
    assert_eq!(sim.writes(), ["PATCH droneregistrations/x/status", "PATCH chatsessions/x/status"]);
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Starting));
    sim.run_pod("x");
    sim.settle().await;
    assert_eq!(sim.writes(), ["PATCH droneregistrations/x/status", "PATCH chatsessions/x/status"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_hub_keeps_out_says_why_and_starts_once_it_is_taken_in() {
    let sim = Sim::new();
    sim.session("x");
    sim.settle().await;
    let told = |state: &str, message: &str| json!({ "adoption": { "state": state, "message": message } });
    let words = "the hub has no user 'ada': make an account with that handle";
    sim.patch_status("chatsessions", "x", &told("UserUnknown", words));
    sim.wait(Duration::from_mins(1)).await;
    let status = sim.session_status("x");
    assert_eq!(status.phase, Some(SessionPhase::Pending));
    let ready = conditions::find(&status.conditions, READY).unwrap();
    assert_eq!((&*ready.reason, &*ready.message), ("UserUnknown", words));
    assert_eq!(status.adoption.unwrap().message, words);
    // A pod that is replaced meanwhile changes nothing about that.
    sim.delete("pods", "x");
    sim.wait(Duration::from_mins(1)).await;
    let status = sim.session_status("x");
    assert_eq!(conditions::find(&status.conditions, READY).unwrap().reason, "UserUnknown", "{status:?}");

    sim.patch_status("chatsessions", "x", &told("Adopted", ""));
    sim.wait(Duration::from_secs(2)).await;
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Recovering));
    sim.run_pod("x");
    sim.settle().await;
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Ready));
}

#[tokio::test(start_paused = true)]
async fn suspend_ends_the_pod_and_resume_makes_a_new_one_on_the_same_workspace() {
    let sim = Sim::running("x").await;
    sim.patch("chatsessions", "x", &json!({ "spec": { "operatingMode": "Suspended" } }));
    sim.settle().await;
    sim.let_pod_go("x");
    sim.settle().await;
    assert_eq!(
        sim.writes(),
        ["DELETE pods/x", "PATCH droneregistrations/x/status", "PATCH chatsessions/x/status"]
    );
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Suspended));
    assert_eq!(sim.drone_status("x").phase, Some(DronePhase::Suspended));
    sim.patch("chatsessions", "x", &json!({ "spec": { "operatingMode": "Running" } }));
    sim.settle().await;
    tokio::time::advance(Duration::from_millis(200)).await;
    sim.run_pod("x");
    sim.settle().await;
    assert_eq!(
        sim.writes(),
        ["POST pods/x", "PATCH droneregistrations/x/status", "PATCH chatsessions/x/status"]
    );
    let status = sim.session_status("x");
    assert_eq!((status.phase, status.restarts), (Some(SessionPhase::Ready), None));
    assert_eq!(status.start_milliseconds, Some(200));
}

#[tokio::test(start_paused = true)]
async fn a_slow_end_is_said_as_suspending() {
    let sim = Sim::running("x").await;
    sim.patch("chatsessions", "x", &json!({ "spec": { "operatingMode": "Suspended" } }));
    sim.wait(Duration::from_secs(20)).await;
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Suspending));
    sim.let_pod_go("x");
    sim.wait(Duration::from_secs(20)).await;
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Suspended));
    assert_eq!(sim.names("pods"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_drone_suspended_by_hand_stays_so_against_its_session() {
    let sim = Sim::running("x").await;
    sim.patch("droneregistrations", "x", &json!({ "spec": { "operatingMode": "Suspended" } }));
    sim.settle().await;
    sim.let_pod_go("x");
    sim.wait(Duration::from_mins(1)).await;
    assert_eq!(sim.names("pods"), [""; 0]);
    let status = sim.session_status("x");
    assert_eq!(status.phase, Some(SessionPhase::Suspended));
    let ready = conditions::find(&status.conditions, READY).unwrap();
    assert_eq!(ready.reason, "SuspendedByHand");
    assert!(ready.message.contains("operatingMode"), "{}", ready.message);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_made_suspended_makes_nothing_before_it_is_resumed() {
    let sim = Sim::new();
    sim.session_with("x", json!({ "operatingMode": "Suspended" }));
    sim.wait(Duration::from_mins(1)).await;
    assert_eq!(sim.writes(), ["PATCH chatsessions/x/status"]);
    sim.patch("chatsessions", "x", &json!({ "spec": { "operatingMode": "Running" } }));
    sim.settle().await;
    assert_eq!(sim.names("pods"), ["x"]);
}

#[tokio::test(start_paused = true)]
async fn deleting_a_session_takes_no_write_and_keeps_a_workspace_that_is_retained() {
    let sim = Sim::running("x").await;
    sim.delete("chatsessions", "x");
    sim.settle().await;
    sim.let_pod_go("x");
    sim.wait(Duration::from_mins(1)).await;
    assert_eq!(sim.writes(), [""; 0]);
    assert_eq!(sim.names("droneregistrations"), [""; 0]);
    assert_eq!(sim.names("persistentvolumeclaims"), ["ws-x"]);
    // The same user comes back and finds the files.
    sim.session("x");
    sim.settle().await;
    assert_eq!(sim.writes(), ["POST droneregistrations/x", "POST pods/x"]);
}

#[tokio::test(start_paused = true)]
async fn deleting_a_session_takes_its_workspace_along_where_that_is_wished() {
    let sim = Sim::new();
    sim.session_with("x", json!({ "workspace": { "retention": "Delete" } }));
    sim.settle().await;
    sim.run_pod("x");
    sim.settle().await;
    sim.writes();
    sim.delete("chatsessions", "x");
    sim.settle().await;
    sim.let_pod_go("x");
    sim.wait(Duration::from_mins(1)).await;
    assert_eq!(sim.writes(), [""; 0]);
    for plural in ["droneregistrations", "pods", "persistentvolumeclaims"] {
        assert_eq!(sim.names(plural), [""; 0], "{plural}");
    }
}

#[tokio::test(start_paused = true)]
async fn deleting_a_drone_gives_its_session_a_new_one_on_the_same_workspace() {
    let sim = Sim::running("x").await;
    let before = sim.get("droneregistrations", "x").unwrap()["metadata"]["uid"].clone();
    sim.delete("droneregistrations", "x");
    sim.settle().await;
    assert_ne!(sim.get("droneregistrations", "x").unwrap()["metadata"]["uid"], before);
    sim.let_pod_go("x");
    sim.settle().await;
    sim.run_pod("x");
    sim.settle().await;
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Ready));
    assert_eq!(sim.names("persistentvolumeclaims"), ["ws-x"]);
}

fn unbound(sim: &Sim, user: &str) {
    let spec = json!({ "user": user, "className": "default" });
    sim.create("droneregistrations", "mine", json!({ "spec": spec }));
}

#[tokio::test(start_paused = true)]
async fn an_unbound_drone_runs_is_available_and_is_bound_to_the_session_that_names_it() {
    let sim = Sim::new();
    unbound(&sim, "ada");
    sim.settle().await;
    sim.run_pod("mine");
    sim.settle().await;
    assert_eq!(sim.drone_status("mine").phase, Some(DronePhase::Available));
    sim.writes();
    sim.session_with("x", json!({ "drone": "mine" }));
    sim.settle().await;
    let mut writes = sim.writes();
    assert_eq!(writes.remove(0), "PATCH droneregistrations/mine");
    writes.sort();
    assert_eq!(writes, ["PATCH chatsessions/x/status", "PATCH droneregistrations/mine/status"]);
    let drone = sim.get("droneregistrations", "mine").unwrap();
    assert_eq!(drone["spec"]["chatSession"], "x");
    assert_eq!(drone["metadata"]["ownerReferences"][0]["kind"], "ChatSession");
    assert_eq!(sim.drone_status("mine").phase, Some(DronePhase::Busy));
    let status = sim.session_status("x");
    assert_eq!((status.phase, status.drone_name.as_deref()), (Some(SessionPhase::Ready), Some("mine")));
}

#[tokio::test(start_paused = true)]
async fn a_drone_that_is_missing_or_another_users_is_said_and_touched_by_nobody() {
    let sim = Sim::new();
    sim.session_with("x", json!({ "drone": "mine" }));
    sim.wait(Duration::from_secs(5)).await;
    let reason = |sim: &Sim| {
        let status = sim.session_status("x");
        assert_eq!(status.phase, Some(SessionPhase::Pending));
        conditions::find(&status.conditions, READY).unwrap().reason.clone()
    };
    assert_eq!(reason(&sim), "DroneMissing");
    unbound(&sim, "eve");
    sim.wait(Duration::from_secs(20)).await;
    assert_eq!(reason(&sim), "DroneTaken");
    assert!(sim.get("droneregistrations", "mine").unwrap()["spec"]["chatSession"].is_null());
    sim.delete("droneregistrations", "mine");
    sim.delete("persistentvolumeclaims", "ws-mine");
    sim.settle().await;
    unbound(&sim, "ada");
    sim.settle().await;
    sim.run_pod("mine");
    sim.wait(Duration::from_secs(20)).await;
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Ready));
}

#[tokio::test(start_paused = true)]
async fn two_sessions_that_want_the_same_drone_do_not_both_get_it() {
    let sim = Sim::new();
    unbound(&sim, "ada");
    sim.settle().await;
    sim.session_with("x", json!({ "drone": "mine" }));
    sim.session_with("y", json!({ "drone": "mine" }));
    sim.wait(Duration::from_secs(20)).await;
    let bound = sim.get("droneregistrations", "mine").unwrap()["spec"]["chatSession"].clone();
    let other = if bound == "x" { "y" } else { "x" };
    let status = sim.session_status(other);
    assert_eq!(conditions::find(&status.conditions, READY).unwrap().reason, "DroneTaken");
}

#[tokio::test(start_paused = true)]
async fn a_drone_that_lost_its_owner_reference_is_adopted_again() {
    let sim = Sim::running("x").await;
    sim.patch("droneregistrations", "x", &json!({ "metadata": { "ownerReferences": null } }));
    sim.settle().await;
    assert_eq!(sim.writes(), ["PATCH droneregistrations/x"]);
    let drone = sim.get("droneregistrations", "x").unwrap();
    assert_eq!(drone["metadata"]["ownerReferences"][0]["name"], "x");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_is_said_and_heals_when_it_is_free() {
    for (plural, object) in
        [("pods", json!({ "spec": { "containers": [] } })), ("persistentvolumeclaims", json!({ "spec": {} }))]
    {
        let sim = Sim::new();
        let name = if plural == "pods" { "x" } else { "ws-x" };
        sim.create(plural, name, object);
        let before = sim.get(plural, name);
        sim.session("x");
        sim.wait(Duration::from_secs(20)).await;
        let failure = sim.drone_status("x").last_failure.unwrap();
        assert_eq!(failure.reason, "NameTaken", "{plural}");
        assert!(failure.advice.contains(name), "{}", failure.advice);
        assert_eq!(sim.get(plural, name), before, "nothing is touched");
        assert!(sim.names("pods").iter().all(|pod| plural == "pods" || pod.is_empty()));
        sim.delete(plural, name);
        sim.settle().await;
        sim.run_pod("x");
        sim.settle().await;
        assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Ready), "{plural}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drone_of_another_that_has_the_sessions_name_is_left_alone() {
    let sim = Sim::new();
    sim.create("droneregistrations", "x", json!({ "spec": { "user": "eve", "className": "default" } }));
    sim.session("x");
    sim.wait(Duration::from_secs(20)).await;
    let status = sim.session_status("x");
    assert_eq!(conditions::find(&status.conditions, READY).unwrap().reason, "NameTaken");
    assert!(sim.get("droneregistrations", "x").unwrap()["spec"]["chatSession"].is_null());
}

#[tokio::test(start_paused = true)]
async fn a_missing_class_is_said_and_the_default_one_is_made_from_the_settings() {
    let mut sim = Sim::new();
    sim.delete("droneclasses", "default");
    sim.session("x");
    sim.wait(Duration::from_secs(20)).await;
    let failure = sim.drone_status("x").last_failure.unwrap();
    assert_eq!(failure.reason, "ClassMissing");
    assert!(sim.session_status("x").conditions[0].message.contains("'default'"));
    set_class(&mut sim, "drone:2").await;
    assert_eq!(class_image(&sim), "drone:2");
    assert_eq!(sim.names("pods"), ["x"]);
}

/// An operator with other settings leads.
async fn set_class(sim: &mut Sim, image: &str) {
    let mut config = (*sim.parts.config).clone();
    config.default_class = Some(crds::DroneClassSpec { image: image.into(), ..Default::default() });
    sim.parts.config = Arc::new(config);
    sim.restart();
    sim.parts.queue.add([Key::Class("default".into())]);
    sim.settle().await;
}

fn class_image(sim: &Sim) -> String {
    sim.get("droneclasses", "default").unwrap()["spec"]["image"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn the_default_class_follows_the_settings_until_somebody_edits_it() {
    let mut sim = Sim::new();
    sim.delete("droneclasses", "default");
    set_class(&mut sim, "drone:1").await;
    sim.patch("droneclasses", "default", &json!({ "metadata": { "labels": { "team": "shop" } } }));
    sim.settle().await;
    sim.writes();
    set_class(&mut sim, "drone:2").await;
    assert_eq!(class_image(&sim), "drone:2", "a label is no edit of what it says");
    set_class(&mut sim, "drone:2").await;
    assert_eq!(sim.writes(), ["PATCH droneclasses/default"], "once");

    sim.patch("droneclasses", "default", &json!({ "spec": { "idleTimeout": "1h" } }));
    set_class(&mut sim, "drone:3").await;
    assert_eq!(class_image(&sim), "drone:2", "it is somebody's by now");
    sim.delete("droneclasses", "default");
    sim.settle().await;
    assert_eq!(class_image(&sim), "drone:3", "made anew");
    assert!(sim.get("droneclasses", "default").unwrap()["spec"]["idleTimeout"].is_null());
}

#[tokio::test(start_paused = true)]
async fn a_default_class_that_a_person_made_is_left_alone() {
    let mut sim = Sim::new();
    set_class(&mut sim, "drone:2").await;
    assert_eq!(class_image(&sim), "drone:1");
    assert_eq!(sim.writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_the_default_class_that_the_operator_has_not_seen_is_not_overwritten() {
    let mut sim = Sim::new();
    sim.delete("droneclasses", "default");
    set_class(&mut sim, "drone:1").await;
    sim.patch("droneclasses", "default", &json!({ "spec": { "image": "mine:1" } }));
    let mut config = (*sim.parts.config).clone();
    config.default_class = Some(crds::DroneClassSpec { image: "drone:2".into(), ..Default::default() });
    sim.parts.config = Arc::new(config);
    sim.writes();
    assert!(class::reconcile(&sim.parts, &"default".into()).await.is_ok());
    assert_eq!(sim.writes(), [""; 0]);
    sim.settle().await;
    assert_eq!(class_image(&sim), "mine:1");
}

#[tokio::test(start_paused = true)]
async fn a_newer_class_shows_and_disturbs_nobody() {
    let sim = Sim::running("x").await;
    sim.patch("droneclasses", "default", &json!({ "spec": { "image": "drone:2" } }));
    sim.wait(Duration::from_mins(1)).await;
    assert_eq!(sim.writes(), ["PATCH droneregistrations/x/status"]);
    let status = sim.drone_status("x");
    assert_eq!(status.phase, Some(DronePhase::Busy));
    assert!(conditions::is_true(&status.conditions, conditions::CLASS_OUTDATED));
    sim.patch("droneclasses", "default", &json!({ "spec": { "image": "drone:1" } }));
    sim.settle().await;
    assert!(!conditions::is_true(&sim.drone_status("x").conditions, conditions::CLASS_OUTDATED));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_does_not_fit_is_told_so_once_and_harms_nobody() {
    let sim = Sim::running("x").await;
    sim.patch("chatsessions", "x", &json!({ "spec": { "operatingMode": "Sleeping" } }));
    sim.create("chatsessions", "newer", json!({ "spec": { "user": 7 } }));
    sim.session("y");
    sim.wait(Duration::from_mins(1)).await;
    for name in ["x", "newer"] {
        let status = sim.get("chatsessions", name).unwrap()["status"].clone();
        assert_eq!(status["conditions"][0]["reason"], "Malformed", "{name}");
    }
    assert_eq!(sim.names("pods"), ["x", "y"], "what runs goes on, others start");
    let writes = sim.writes();
    assert_eq!(writes.iter().filter(|write| write.contains("chatsessions/newer")).count(), 1, "{writes:?}");
    sim.patch("chatsessions", "x", &json!({ "spec": { "operatingMode": "Running" } }));
    sim.settle().await;
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Ready));
}

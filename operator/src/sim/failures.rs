//! What ends a drone, and what happens then: each row of the design's table.

use crds::chat_session::SessionPhase;
use crds::conditions::{self, READY, STALLED};
use crds::drone_registration::DronePhase;
use crds::value::FailureClass;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn failure(sim: &Sim) -> (FailureClass, String) {
    let failure = sim.drone_status("x").last_failure.unwrap();
    assert!(!failure.advice.is_empty() && !failure.message.is_empty());
    (failure.class, failure.reason)
}

fn pod_uid(sim: &Sim) -> Value {
    sim.get("pods", "x").map(|pod| pod["metadata"]["uid"].clone()).unwrap_or_default()
}

/// The container ended and runs again.
pub(super) fn restarted(restarts: i32, last: Value) -> Value {
    let mut pod = ready_pod(restarts);
    pod["containerStatuses"][0]["lastState"] = last;
    pod
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ends_is_counted_and_its_pod_is_left_alone() {
    let sim = Sim::running("x").await;
    let before = pod_uid(&sim);
    sim.set_pod("x", &pod_with("Running", terminated(3, "Error", "all\nis lost\n"), 0, json!({})));
    sim.settle().await;
    assert_eq!(failure(&sim), (FailureClass::Process, "ContainerEnded".to_owned()));
    let status = sim.drone_status("x");
    assert_eq!((status.phase, status.restarts), (Some(DronePhase::Recovering), Some(1)));
    let told = status.last_failure.unwrap();
    assert_eq!(told.exit_code, Some(3));
    assert!(told.message.contains("is lost"), "{}", told.message);
    sim.set_pod("x", &restarted(1, terminated(3, "Error", "all\nis lost\n")));
    sim.settle().await;
    let status = sim.drone_status("x");
    assert_eq!((status.phase, status.restarts), (Some(DronePhase::Busy), Some(1)));
    assert_eq!(sim.session_status("x").restarts, Some(1));
    assert_eq!(pod_uid(&sim), before);
    assert!(sim.writes().iter().all(|write| write.contains("/status")));
}

#[tokio::test(start_paused = true)]
async fn a_container_without_memory_is_told_its_limit() {
    let sim = Sim::running("x").await;
    let resources = json!({ "limits": { "memory": "2Gi" } });
    sim.patch(
        "pods",
        "x",
        &json!({ "spec": { "containers": [{ "name": "drone", "resources": resources }] } }),
    );
    sim.set_pod("x", &restarted(1, terminated(137, "OOMKilled", "")));
    sim.settle().await;
    assert_eq!(failure(&sim), (FailureClass::Memory, "OOMKilled".to_owned()));
    let told = sim.drone_status("x").last_failure.unwrap();
    assert!(told.advice.contains("2Gi") && told.message.contains("2Gi"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_ten_minutes_are_enough_until_somebody_changes_something() {
    let mut sim = Sim::running("x").await;
    for restarts in 1..=5 {
        sim.set_pod("x", &restarted(restarts, terminated(1, "Error", "cannot start")));
        sim.wait(MINUTE).await;
    }
    sim.let_pod_go("x");
    sim.wait(MINUTE).await;
    assert_eq!(sim.names("pods"), [""; 0]);
    let status = sim.drone_status("x");
    assert_eq!((status.phase, status.restarts), (Some(DronePhase::Failed), Some(5)));
    assert!(conditions::is_true(&status.conditions, STALLED));
    let told = status.last_failure.unwrap();
    assert!(!told.retryable && told.message.contains("cannot start"), "{told:?}");
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Failed));
    sim.writes();
    sim.restart();
    sim.wait(MINUTE * 60).await;
    assert_eq!(sim.writes(), [""; 0], "it stays so, also with a new operator");
    for mode in ["Suspended", "Running"] {
        sim.patch("chatsessions", "x", &json!({ "spec": { "operatingMode": mode } }));
        sim.settle().await;
    }
    sim.run_pod("x");
    sim.settle().await;
    let status = sim.drone_status("x");
    assert_eq!(status.phase, Some(DronePhase::Busy));
    assert_eq!(status.recent_failures, []);
}

#[tokio::test(start_paused = true)]
async fn failures_that_are_far_apart_are_never_too_many() {
    let sim = Sim::running("x").await;
    for restarts in 1..=20 {
        sim.set_pod("x", &restarted(restarts, terminated(1, "Error", "")));
        sim.wait(MINUTE * 3).await;
    }
    assert_eq!(sim.drone_status("x").phase, Some(DronePhase::Busy));
    assert_eq!(sim.drone_status("x").restarts, Some(20));
}

#[tokio::test(start_paused = true)]
async fn a_class_may_be_less_patient() {
    let sim = Sim::running("x").await;
    let policy = json!({ "maxRestarts": 2, "window": "1m" });
    sim.patch("droneclasses", "default", &json!({ "spec": { "failurePolicy": policy } }));
    for restarts in 1..=2 {
        sim.set_pod("x", &restarted(restarts, terminated(1, "Error", "")));
        sim.settle().await;
    }
    assert_eq!(sim.drone_status("x").phase, Some(DronePhase::Failed));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_its_supervisor_restarted_is_counted_once_and_its_pod_left_alone() {
    let mut sim = Sim::running("x").await;
    let before = pod_uid(&sim);
    let activity = json!({
        "state": "Working", "since": "2027-01-15T08:00:00Z", "processRestarts": 2,
    });
    sim.patch_status("droneregistrations", "x", &json!({ "activity": activity }));
    sim.settle().await;
    sim.restart();
    sim.settle().await;
    assert_eq!(sim.drone_status("x").restarts, Some(2));
    assert_eq!(pod_uid(&sim), before);
    let drone = sim.get("droneregistrations", "x").unwrap();
    assert_eq!(drone["status"]["activity"], activity, "it is the hub's");
    let writes = sim.writes();
    assert_eq!(writes, ["PATCH droneregistrations/x/status", "PATCH chatsessions/x/status"]);
}

/// The pod goes by itself, as this; a new one comes at once.
async fn replaced_at_once(sim: &Sim) {
    let before = pod_uid(sim);
    sim.settle().await;
    if sim.get("pods", "x").is_some_and(|pod| pod["metadata"]["uid"] == before) {
        sim.let_pod_go("x");
        sim.settle().await;
    }
    assert_ne!(pod_uid(sim), before);
    assert_ne!(pod_uid(sim), Value::Null, "there is a new one without any wait");
    sim.run_pod("x");
    sim.settle().await;
    let status = sim.drone_status("x");
    assert_eq!((status.phase, status.restarts), (Some(DronePhase::Busy), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_a_person_deletes_is_replaced_at_once() {
    let sim = Sim::running("x").await;
    sim.delete("pods", "x");
    replaced_at_once(&sim).await;
    assert_eq!(failure(&sim), (FailureClass::Moved, "PodDeleted".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_when_a_new_operator_comes_is_replaced_and_counted() {
    let mut sim = Sim::running("x").await;
    sim.let_pod_go("x");
    sim.restart();
    sim.settle().await;
    sim.run_pod("x");
    sim.settle().await;
    assert_eq!(failure(&sim), (FailureClass::Moved, "PodDeleted".to_owned()));
    assert_eq!(sim.drone_status("x").restarts, Some(1));
}

/// The pod has to go, and is on its way.
pub(super) fn disrupted(sim: &Sim, reason: &str) {
    let mut pod = ready_pod(0);
    let target =
        json!({ "type": "DisruptionTarget", "status": "True", "reason": reason, "message": "node-1" });
    pod["conditions"] = json!([{ "type": "PodScheduled", "status": "True" }, target]);
    sim.set_pod("x", &pod);
    sim.delete("pods", "x");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_has_to_go_is_replaced_as_soon_as_it_is_gone_and_it_is_said_why() {
    for (reason, class, told) in [
        ("EvictionByEvictionAPI", FailureClass::Moved, "Drained"),
        ("PreemptionByScheduler", FailureClass::Node, "Preempted"),
        ("DeletionByTaintManager", FailureClass::Node, "NodeLost"),
        ("DeletionByPodGC", FailureClass::Node, "NodeGone"),
    ] {
        let sim = Sim::running("x").await;
        disrupted(&sim, reason);
        sim.wait(Duration::from_secs(3)).await;
        assert_eq!(sim.drone_status("x").phase, Some(DronePhase::Recovering), "{reason}");
        assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Recovering), "{reason}");
        assert_eq!(failure(&sim), (class, told.to_owned()));
        replaced_at_once(&sim).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_its_node_ended_is_taken_away_and_replaced_at_once() {
    for (reason, told) in [
        ("Evicted", "Evicted"),
        ("Preempting", "Preempted"),
        ("Terminated", "NodeShutdown"),
        ("NodeShutdown", "NodeShutdown"),
    ] {
        let sim = Sim::running("x").await;
        let status = json!({
            "phase": "Failed", "reason": reason, "message": "The node was low on resource: memory.",
            "containerStatuses": [container(0, false, terminated(137, "Error", ""), json!({}))],
        });
        sim.set_pod("x", &status);
        replaced_at_once(&sim).await;
        assert_eq!(failure(&sim), (FailureClass::Node, told.to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drone_that_ends_well_because_its_node_asked_it_to_is_told_as_evicted() {
    let sim = Sim::running("x").await;
    let uid = sim.get("pods", "x").unwrap()["metadata"]["uid"].clone();
    let words = "Usage of EmptyDir volume \"tmp\" exceeds the limit \"1Gi\".";
    sim.create("events", "one", warning("Pod", "x", &uid, "Evicted", words));
    // As the kubelet leaves it: neither reason nor condition.
    sim.set_pod("x", &pod_with("Succeeded", terminated(0, "Completed", ""), 0, json!({})));
    replaced_at_once(&sim).await;
    assert_eq!(failure(&sim), (FailureClass::Node, "Evicted".to_owned()));
    let told = sim.drone_status("x").last_failure.unwrap();
    assert!(told.message.contains(words) && told.advice.contains("/tmp"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_no_node_takes_is_tried_again_later_each_time() {
    let sim = Sim::new();
    sim.session("x");
    sim.settle().await;
    let mut waits = Vec::new();
    for _ in 0..6 {
        sim.set_pod("x", &json!({ "phase": "Failed", "reason": "OutOfmemory", "message": "no room" }));
        sim.settle().await;
        assert_eq!(failure(&sim), (FailureClass::Node, "OutOfmemory".to_owned()));
        let began = Instant::now();
        while sim.names("pods").is_empty() {
            let at = sim.parts.queue.next_timer().unwrap();
            tokio::time::advance(at - Instant::now()).await;
            sim.settle().await;
        }
        waits.push(began.elapsed().as_secs());
    }
    assert_eq!(waits, [0, 1, 2, 4, 8, 16]);
    assert_eq!(
        sim.drone_status("x").phase,
        Some(DronePhase::Recovering),
        "a node's failure is no reason to give up"
    );
}

#[tokio::test(start_paused = true)]
async fn a_drone_that_ends_by_itself_is_replaced_once_at_once_and_then_later_each_time() {
    let mut sim = Sim::running("x").await;
    let mut waits = Vec::new();
    for _ in 0..4 {
        let mut done = pod_with("Succeeded", terminated(0, "Completed", ""), 0, json!({}));
        done["reason"] = Value::Null;
        sim.set_pod("x", &done);
        sim.settle().await;
        assert_eq!(failure(&sim), (FailureClass::Process, "Completed".to_owned()));
        // The wait is in the status: a new operator keeps to it.
        sim.restart();
        sim.settle().await;
        let began = Instant::now();
        while sim.names("pods").is_empty() {
            assert!(sim.drone_status("x").next_retry_at.is_some());
            let at = sim.parts.queue.next_timer().unwrap();
            tokio::time::advance(at - Instant::now()).await;
            sim.settle().await;
        }
        waits.push(began.elapsed().as_secs());
        sim.run_pod("x");
        sim.settle().await;
    }
    assert_eq!(waits, [0, 1, 2, 4]);
    sim.set_pod("x", &pod_with("Succeeded", terminated(0, "Completed", ""), 0, json!({})));
    sim.wait(MINUTE).await;
    assert_eq!(sim.drone_status("x").phase, Some(DronePhase::Failed), "the fifth in ten minutes");
}

/// The node cannot start the container yet.
pub(super) fn waiting(reason: &str, message: &str) -> Value {
    json!({
        "phase": "Pending",
        "conditions": [{ "type": "PodScheduled", "status": "True" }],
        "containerStatuses":
            [container(0, false, json!({ "waiting": { "reason": reason, "message": message } }), json!({}))],
    })
}

pub(super) fn unschedulable(message: &str) -> Value {
    let condition =
        json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message });
    json!({ "phase": "Pending", "conditions": [condition] })
}

#[tokio::test(start_paused = true)]
async fn what_keeps_a_pod_from_starting_is_said_and_the_pod_is_kept_and_heals_by_itself() {
    for (status, class, reason, words) in [
        (waiting("ErrImagePull", "denied"), FailureClass::Image, "ImagePullFailed", "denied"),
        (waiting("ImagePullBackOff", "Back-off"), FailureClass::Image, "ImagePullFailed", "Back-off"),
        (waiting("InvalidImageName", "bad"), FailureClass::Image, "InvalidImageName", "bad"),
        (
            waiting("CreateContainerConfigError", "secret \"x\" not found"),
            FailureClass::Policy,
            "CreateContainerConfigError",
            "not found",
        ),
        (unschedulable("0/3 nodes: Insufficient memory"), FailureClass::Capacity, "Unschedulable", "memory"),
        (
            unschedulable("pod has unbound immediate PersistentVolumeClaims"),
            FailureClass::Storage,
            "Unschedulable",
            "unbound",
        ),
    ] {
        let sim = Sim::new();
        sim.session("x");
        sim.settle().await;
        let before = pod_uid(&sim);
        sim.set_pod("x", &status);
        sim.wait(Duration::from_secs(3)).await;
        assert_eq!(failure(&sim), (class, reason.to_owned()));
        let ready = sim.drone_status("x").conditions[0].clone();
        assert_eq!((ready.type_.as_str(), ready.status.as_str()), (READY, "False"));
        assert!(ready.message.contains(words), "{}", ready.message);
        assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Starting));
        sim.writes();
        sim.wait(MINUTE * 30).await;
        assert_eq!(sim.writes(), [""; 0], "nothing is said twice");
        sim.run_pod("x");
        sim.settle().await;
        assert_eq!(pod_uid(&sim), before);
        assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Ready));
    }
}

#[tokio::test(start_paused = true)]
async fn pulling_and_waiting_to_pull_are_one_failure_with_the_registrys_words() {
    let sim = Sim::new();
    sim.session("x");
    sim.settle().await;
    let waiting = |reason: &str, message: &str| {
        pod_with("Pending", json!({ "waiting": { "reason": reason, "message": message } }), 0, json!({}))
    };
    sim.set_pod("x", &waiting("ErrImagePull", "pull access denied"));
    sim.wait(MINUTE).await;
    sim.writes();
    for _ in 0..10 {
        sim.set_pod("x", &waiting("ImagePullBackOff", "Back-off pulling image \"drone:1\""));
        sim.wait(MINUTE).await;
        sim.set_pod("x", &waiting("ErrImagePull", "pull access denied"));
        sim.wait(MINUTE).await;
    }
    assert_eq!(sim.writes(), [""; 0]);
    assert!(sim.drone_status("x").last_failure.unwrap().message.contains("pull access denied"));
}

pub(super) fn warning(kind: &str, name: &str, uid: &Value, reason: &str, message: &str) -> Value {
    json!({
        "involvedObject": { "kind": kind, "name": name, "uid": uid },
        "type": "Warning", "reason": reason, "message": message,
    })
}

#[tokio::test(start_paused = true)]
async fn what_only_events_say_of_pod_and_claim_is_in_the_status() {
    for (kind, plural, name, reason) in [
        ("Pod", "pods", "x", "FailedMount"),
        ("PersistentVolumeClaim", "persistentvolumeclaims", "ws-x", "ProvisioningFailed"),
    ] {
        let sim = Sim::new();
        sim.session("x");
        sim.settle().await;
        let uid = sim.get(plural, name).unwrap()["metadata"]["uid"].clone();
        sim.create("events", "one", warning(kind, name, &uid, reason, "the disk is away"));
        sim.wait(Duration::from_secs(3)).await;
        assert_eq!(failure(&sim), (FailureClass::Storage, reason.to_owned()));
        assert!(sim.session_status("x").conditions[0].message.contains("the disk is away"));
        sim.run_pod("x");
        sim.settle().await;
        assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Ready));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_api_server_refuses_is_said_in_its_words_and_tried_again_later_each_time() {
    for (plural, code, words, reason) in [
        ("pods", 403, "pods \"x\" is forbidden: exceeded quota: small, requested: pods=1", "QuotaExceeded"),
        ("pods", 403, "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\"", "PodSecurity"),
        ("pods", 403, "pods is forbidden: User \"o\" cannot create resource \"pods\"", "Forbidden"),
        (
            "pods",
            403,
            "unable to create new content in namespace drones because it is being terminated",
            "NamespaceTerminating",
        ),
        ("pods", 422, "Pod \"x\" is invalid: spec.containers[0].image", "Invalid"),
        ("persistentvolumeclaims", 403, "exceeded quota: disks", "QuotaExceeded"),
    ] {
        let mut sim = Sim::new();
        sim.world.lock().refused.insert(plural, (code, words.to_owned()));
        sim.session("x");
        sim.wait(Duration::from_secs(2)).await;
        assert_eq!(failure(&sim), (FailureClass::Policy, reason.to_owned()));
        let status = sim.drone_status("x");
        assert!(status.next_retry_at.is_some());
        assert!(status.last_failure.unwrap().message.contains(words), "{reason}");
        sim.writes();
        sim.wait(MINUTE * 60).await;
        let writes = sim.writes();
        assert!(writes.len() < 50, "no hot loop: {} writes in an hour", writes.len());
        sim.restart();
        sim.world.lock().refused.clear();
        sim.wait(MINUTE * 5).await;
        assert_eq!(sim.names("pods"), ["x"]);
        sim.run_pod("x");
        sim.settle().await;
        let status = sim.drone_status("x");
        assert_eq!((status.phase, status.next_retry_at), (Some(DronePhase::Busy), None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drone_that_may_not_be_made_is_said_at_its_session() {
    let sim = Sim::new();
    let words = "User \"o\" cannot create resource \"droneregistrations\"";
    sim.world.lock().refused.insert("droneregistrations", (403, words.to_owned()));
    sim.session("x");
    sim.wait(Duration::from_secs(20)).await;
    let status = sim.session_status("x");
    assert_eq!(status.phase, Some(SessionPhase::Pending));
    assert!(status.conditions[0].message.contains(words));
    sim.world.lock().refused.clear();
    sim.wait(MINUTE * 2).await;
    assert_eq!(sim.names("pods"), ["x"]);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_ready_any_more_is_offline_when_that_lasts() {
    let sim = Sim::running("x").await;
    sim.set_pod("x", &pod_with("Running", json!({ "running": {} }), 0, json!({})));
    sim.settle().await;
    sim.run_pod("x");
    sim.settle().await;
    assert_eq!(sim.writes(), [""; 0], "a moment is not worth a word");
    sim.set_pod("x", &pod_with("Running", json!({ "running": {} }), 0, json!({})));
    sim.wait(Duration::from_secs(3)).await;
    assert_eq!(sim.drone_status("x").phase, Some(DronePhase::Offline));
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Recovering));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_keeps_nobody_waiting() {
    let mut sim = Sim::running("x").await;
    sim.patch_status("droneregistrations", "x", &json!({ "nextRetryAt": "2040-01-01T00:00:00Z" }));
    sim.let_pod_go("x");
    sim.restart();
    sim.settle().await;
    assert_eq!(sim.names("pods"), ["x"]);
}

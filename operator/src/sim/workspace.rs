//! The claim: its owner, its size, and that no workspace is ever lost without a word.

use crds::chat_session::SessionPhase;
use crds::conditions::{self, STALLED};
use crds::drone_registration::DronePhase;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn claim(sim: &Sim) -> Value {
    sim.get("persistentvolumeclaims", "ws-x").unwrap()
}

fn reason(sim: &Sim) -> String {
    sim.drone_status("x").last_failure.map(|failure| failure.reason).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn the_claim_is_what_session_and_class_say_in_this_order() {
    let sim = Sim::new();
    let workspace = json!({ "size": "20Gi", "storageClassName": "fast", "accessMode": "ReadWriteOnce" });
    sim.patch("droneclasses", "default", &json!({ "spec": { "workspace": workspace } }));
    sim.session_with("x", json!({ "workspace": { "size": "30Gi" } }));
    sim.settle().await;
    let spec = claim(&sim)["spec"].clone();
    assert_eq!(
        spec,
        json!({
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "resources": { "requests": { "storage": "30Gi" } },
        })
    );
    let sim = Sim::new();
    sim.session("x");
    sim.settle().await;
    let spec =
        json!({ "accessModes": ["ReadWriteOncePod"], "resources": { "requests": { "storage": "10Gi" } } });
    assert_eq!(claim(&sim)["spec"], spec);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_retention_sets_and_takes_the_owner_of_the_claim() {
    let sim = Sim::running("x").await;
    assert!(claim(&sim)["metadata"]["ownerReferences"].is_null());
    sim.patch("chatsessions", "x", &json!({ "spec": { "workspace": { "retention": "Delete" } } }));
    sim.settle().await;
    let owner = claim(&sim)["metadata"]["ownerReferences"][0].clone();
    let session = sim.get("chatsessions", "x").unwrap();
    assert_eq!((&owner["kind"], &owner["uid"]), (&json!("ChatSession"), &session["metadata"]["uid"]));
    sim.patch("chatsessions", "x", &json!({ "spec": { "workspace": { "retention": "Retain" } } }));
    sim.settle().await;
    assert_eq!(claim(&sim)["metadata"]["ownerReferences"], json!([]));
    let writes = sim.writes();
    let patches = writes.iter().filter(|write| *write == "PATCH persistentvolumeclaims/ws-x").count();
    assert_eq!(patches, 2, "{writes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_workspace_grows_when_its_session_says_so() {
    let sim = Sim::running("x").await;
    sim.patch("chatsessions", "x", &json!({ "spec": { "workspace": { "size": "20Gi" } } }));
    sim.settle().await;
    assert_eq!(claim(&sim)["spec"]["resources"]["requests"]["storage"], "20Gi");
    let writes = sim.writes();
    assert_eq!(
        writes.iter().filter(|write| write.contains("persistentvolumeclaims")).count(),
        1,
        "{writes:?}"
    );
    sim.patch("droneclasses", "default", &json!({ "spec": { "workspace": { "size": "90Gi" } } }));
    sim.wait(MINUTE).await;
    assert_eq!(claim(&sim)["spec"]["resources"]["requests"]["storage"], "20Gi", "defaults are for new ones");
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_cannot_grow_is_said_once_and_asked_again_when_the_wish_changes() {
    let mut sim = Sim::running("x").await;
    let words = "only dynamically provisioned pvc can be resized";
    sim.world.lock().refused_patches.insert("persistentvolumeclaims", (403, words.to_owned()));
    sim.patch("chatsessions", "x", &json!({ "spec": { "workspace": { "size": "20Gi" } } }));
    sim.wait(MINUTE).await;
    sim.restart();
    sim.wait(MINUTE).await;
    let status = sim.drone_status("x");
    assert_eq!(status.phase, Some(DronePhase::Busy), "it works on");
    let bound = conditions::find(&status.conditions, conditions::WORKSPACE_BOUND).unwrap();
    assert_eq!(bound.reason, "CannotGrow");
    assert!(bound.message.contains("20Gi") && bound.message.contains(words), "{}", bound.message);
    assert_eq!(sim.world.lock().asked_in_vain, 1);
    sim.world.lock().refused_patches.clear();
    sim.patch("chatsessions", "x", &json!({ "spec": { "workspace": { "size": "30Gi" } } }));
    sim.wait(MINUTE).await;
    assert_eq!(claim(&sim)["spec"]["resources"]["requests"]["storage"], "30Gi");
    let status = sim.drone_status("x");
    assert_eq!(conditions::find(&status.conditions, conditions::WORKSPACE_BOUND).unwrap().reason, "Bound");
}

#[tokio::test(start_paused = true)]
async fn a_lost_volume_fails_the_drone_and_nothing_is_put_in_its_place() {
    let mut sim = Sim::running("x").await;
    sim.patch_status("persistentvolumeclaims", "ws-x", &json!({ "phase": "Lost" }));
    sim.wait(MINUTE).await;
    assert_eq!(reason(&sim), "WorkspaceLost");
    let status = sim.drone_status("x");
    assert_eq!(status.phase, Some(DronePhase::Failed));
    assert!(conditions::is_true(&status.conditions, STALLED));
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Failed));
    sim.restart();
    sim.wait(MINUTE).await;
    sim.patch_status("persistentvolumeclaims", "ws-x", &json!({ "phase": "Bound" }));
    sim.wait(MINUTE).await;
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Ready), "it heals when the volume is back");
}

#[tokio::test(start_paused = true)]
async fn a_workspace_that_is_gone_is_not_replaced_by_an_empty_one_not_even_with_a_new_drone() {
    let mut sim = Sim::running("x").await;
    sim.delete("persistentvolumeclaims", "ws-x");
    sim.settle().await;
    sim.let_pod_go("x");
    sim.wait(MINUTE).await;
    assert_eq!(sim.names("persistentvolumeclaims"), [""; 0]);
    assert_eq!(reason(&sim), "WorkspaceGone");
    sim.delete("droneregistrations", "x");
    sim.restart();
    sim.wait(MINUTE).await;
    assert_eq!(sim.names("persistentvolumeclaims"), [""; 0]);
    assert_eq!(sim.names("pods"), [""; 0]);
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Failed));
    // Somebody restores it from a backup.
    let labels = json!({
        "app.kubernetes.io/component": "workspace", "gadgetcode.dev/user-hash": crds::names::user_hash("ada"),
    });
    let spec = json!({ "resources": { "requests": { "storage": "10Gi" } } });
    sim.create("persistentvolumeclaims", "ws-x", json!({ "metadata": { "labels": labels }, "spec": spec }));
    sim.settle().await;
    sim.run_pod("x");
    sim.settle().await;
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Ready));
}

fn workspace_of(sim: &Sim, name: &str, user: &str) {
    let labels = json!({
        "app.kubernetes.io/component": "workspace", "gadgetcode.dev/user-hash": crds::names::user_hash(user),
    });
    sim.create("persistentvolumeclaims", name, json!({ "metadata": { "labels": labels }, "spec": {} }));
}

#[tokio::test(start_paused = true)]
async fn a_named_claim_is_used_if_it_is_a_workspace_of_the_same_user_and_never_changed() {
    let sim = Sim::new();
    workspace_of(&sim, "old", "ada");
    let before = sim.get("persistentvolumeclaims", "old").unwrap()["metadata"]["resourceVersion"].clone();
    sim.session_with("x", json!({ "workspace": { "claimName": "old", "retention": "Delete" } }));
    sim.settle().await;
    assert_eq!(sim.writes(), ["POST droneregistrations/x", "POST pods/x"]);
    let pod = sim.get("pods", "x").unwrap();
    assert_eq!(pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "old");
    assert_eq!(sim.get("persistentvolumeclaims", "old").unwrap()["metadata"]["resourceVersion"], before);
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_another_user_or_of_no_workspace_is_not_mounted_and_not_told_apart_from_none() {
    let sim = Sim::new();
    workspace_of(&sim, "eves", "eve");
    sim.create("persistentvolumeclaims", "hub-data", json!({ "spec": {} }));
    let mut words = Vec::new();
    for name in ["eves", "hub-data", "missing"] {
        let session = format!("x-{name}");
        sim.session_with(&session, json!({ "workspace": { "claimName": name } }));
        sim.wait(Duration::from_secs(3)).await;
        let failure = sim.drone_status(&session).last_failure.unwrap();
        assert_eq!(failure.reason, "ClaimNotUsable");
        words.push(failure.message.replace(name, ""));
    }
    words.dedup();
    assert_eq!(words.len(), 1);
    assert_eq!(sim.names("pods"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_an_earlier_session_that_still_goes_is_waited_for() {
    let sim = Sim::new();
    sim.session_with("x", json!({ "workspace": { "retention": "Delete" } }));
    sim.settle().await;
    sim.run_pod("x");
    sim.settle().await;
    let before = claim(&sim)["metadata"]["uid"].clone();
    sim.delete("chatsessions", "x");
    sim.session("x");
    sim.wait(Duration::from_secs(5)).await;
    sim.let_pod_go("x");
    sim.wait(Duration::from_secs(5)).await;
    assert_ne!(claim(&sim)["metadata"]["uid"], before);
    sim.run_pod("x");
    sim.settle().await;
    assert_eq!(sim.session_status("x").phase, Some(SessionPhase::Ready));
}

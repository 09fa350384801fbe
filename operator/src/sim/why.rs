//! What `kubectl gadget why` says of each fault. It is read off the statuses that this operator writes, so both are held
//! to the same text, `why.txt`.

use std::fmt::Write as _;

use crds::why::{self, Reason};

use super::failures::{disrupted, restarted, unschedulable, waiting, warning};
use super::*;

/// Where a session is when the fault comes.
#[derive(Clone, Copy)]
enum Place {
    /// There is none.
    Nothing,
    /// Its pod is made and no node has it.
    Started,
    /// Its pod runs.
    Running,
}

use Place::{Nothing, Running, Started};

type Fault = (&'static str, Place, fn(&Sim));

const FAULTS: &[Fault] = &[
    ("a container that ended", Running, |sim| {
        sim.set_pod("x", &pod_with("Running", terminated(3, "Error", "no such model"), 0, json!({})));
    }),
    ("a container that ended five times", Running, |sim| {
        sim.set_pod("x", &restarted(5, terminated(1, "Error", "no such model")));
    }),
    ("a container that used too much memory", Running, |sim| {
        let waits = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let ended = terminated(137, "OOMKilled", "");
        sim.set_pod("x", &pod_with("Running", waits, 0, ended));
    }),
    ("a container that used too much memory five times", Running, |sim| {
        sim.set_pod("x", &restarted(5, terminated(137, "OOMKilled", "")));
    }),
    ("a container that cannot be started", Running, |sim| {
        let words = "failed to create containerd task: runc create failed: unable to start container process: exec: \
                     \"gadget-drone\": executable file not found in $PATH: unknown";
        sim.set_pod("x", &restarted(5, terminated(128, "StartError", words)));
    }),
    ("a program that is called wrongly", Running, |sim| {
        let log = "error: invalid value 'none' for '--clone-depth'\n\nFor more information, try '--help'.\n";
        sim.set_pod("x", &pod_with("Running", terminated(2, "Error", log), 0, json!({})));
    }),
    ("a container that was restarted and works again", Running, |sim| {
        sim.set_pod("x", &restarted(1, terminated(137, "OOMKilled", "")));
    }),
    ("a pod that is deleted", Running, |sim| sim.delete("pods", "x")),
    ("a node that is drained", Running, |sim| disrupted(sim, "EvictionByEvictionAPI")),
    ("a pod that had to make room", Running, |sim| disrupted(sim, "PreemptionByScheduler")),
    ("a node that does not answer", Running, |sim| disrupted(sim, "DeletionByTaintManager")),
    ("a node that is gone", Running, |sim| disrupted(sim, "DeletionByPodGC")),
    ("a pod that its node evicted", Running, |sim| {
        let words = "The node was low on resource: memory.";
        sim.set_pod("x", &json!({ "phase": "Failed", "reason": "Evicted", "message": words }));
    }),
    ("a pod that its node took no second time", Started, |sim| {
        sim.set_pod("x", &json!({ "phase": "Failed", "reason": "OutOfmemory", "message": "no room" }));
        let words = "Pod \"x\" is invalid: spec.containers[0].image";
        sim.world.lock().refused.insert("pods", (422, words.to_owned()));
    }),
    ("a pod that is not ready any more", Running, |sim| {
        sim.set_pod("x", &pod_with("Running", json!({ "running": {} }), 0, json!({})));
    }),
    ("a start that takes its time", Started, |_| {}),
    ("an image that cannot be pulled", Started, |sim| {
        sim.set_pod("x", &waiting("ErrImagePull", "pull access denied"));
    }),
    ("an image whose name is none", Started, |sim| {
        sim.set_pod("x", &waiting("InvalidImageName", "couldn't parse image name"));
    }),
    ("a secret that is missing", Started, |sim| {
        sim.set_pod("x", &waiting("CreateContainerConfigError", "secret \"key\" not found"));
    }),
    ("a cluster that is full", Started, |sim| {
        sim.set_pod("x", &unschedulable("0/3 nodes are available: 3 Insufficient memory."));
    }),
    ("a label that no node has", Started, |sim| {
        let words = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to \
                     deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
        sim.set_pod("x", &unschedulable(words));
    }),
    ("a taint that the pod does not put up with", Started, |sim| {
        let words = "0/1 nodes are available: 1 node(s) had untolerated taint {for: others}.";
        sim.set_pod("x", &unschedulable(words));
    }),
    ("nodes that are cordoned", Started, |sim| {
        sim.set_pod("x", &unschedulable("0/1 nodes are available: 1 node(s) were unschedulable."));
    }),
    ("nodes without the labels of the spread", Started, |sim| {
        let words = "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints.";
        sim.set_pod("x", &unschedulable(words));
    }),
    ("nodes that refuse the pod for a reason of their own", Started, |sim| {
        sim.set_pod("x", &unschedulable("0/1 nodes are available: 1 node(s) didn't have free ports."));
    }),
    ("a volume that nobody makes", Started, |sim| {
        let words = "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.";
        sim.set_pod("x", &unschedulable(words));
    }),
    ("a volume that no node reaches", Started, |sim| {
        sim.set_pod(
            "x",
            &unschedulable("0/3 nodes are available: 3 node(s) had volume node affinity conflict."),
        );
    }),
    ("a volume that cannot be mounted", Started, |sim| {
        warned(sim, "Pod", "pods", "x", "FailedMount", "MountVolume.SetUp failed: the disk is away");
    }),
    ("a pod without a network", Started, |sim| {
        warned(sim, "Pod", "pods", "x", "FailedCreatePodSandBox", "no IP addresses available");
    }),
    ("a limit of memory that is too low for any process", Started, |sim| {
        let words = "Failed to create pod sandbox: runc create failed: unable to start container process: container \
                     init was OOM-killed (memory limit too low?): unknown";
        warned(sim, "Pod", "pods", "x", "FailedCreatePodSandBox", words);
    }),
    ("a node without user namespaces", Started, |sim| {
        let words = "can't set `spec.hostUsers: false`, runtime does not support user namespaces";
        warned(sim, "Pod", "pods", "x", "FailedCreatePodSandBox", words);
    }),
    ("a volume that cannot be made", Started, |sim| {
        let claim = ("PersistentVolumeClaim", "persistentvolumeclaims", "ws-x");
        warned(sim, claim.0, claim.1, claim.2, "ProvisioningFailed", "storageclass \"fast\" not found");
    }),
    ("a volume that is lost", Running, |sim| {
        sim.patch_status("persistentvolumeclaims", "ws-x", &json!({ "phase": "Lost" }));
    }),
    ("a claim that somebody deleted", Running, |sim| {
        sim.delete("persistentvolumeclaims", "ws-x");
        sim.let_pod_go("x");
    }),
    ("a claim that is another's", Nothing, |sim| {
        sim.create("persistentvolumeclaims", "eves", json!({ "spec": {} }));
        sim.session_with("x", json!({ "workspace": { "claimName": "eves" } }));
    }),
    ("a volume that cannot grow", Running, |sim| {
        let words = "only dynamically provisioned pvc can be resized";
        sim.world.lock().refused_patches.insert("persistentvolumeclaims", (403, words.to_owned()));
        sim.patch("chatsessions", "x", &json!({ "spec": { "workspace": { "size": "20Gi" } } }));
    }),
    ("a quota that is used up", Nothing, |sim| {
        refused(sim, "pods", 403, "pods \"x\" is forbidden: exceeded quota: small, requested: pods=1");
    }),
    ("a limit of the namespace", Nothing, |sim| {
        let words = "pods \"x\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi";
        refused(sim, "pods", 403, words);
    }),
    ("a runtime class that is missing", Nothing, |sim| {
        let words = "pods \"x\" is forbidden: pod rejected: RuntimeClass \"gvisor\" not found";
        refused(sim, "pods", 403, words);
    }),
    ("a priority class that is missing", Nothing, |sim| {
        refused(sim, "pods", 403, "pods \"x\" is forbidden: no PriorityClass with name low was found");
    }),
    ("a service account that is missing", Nothing, |sim| {
        let words = "pods \"x\" is forbidden: error looking up service account drones/gadget-drone: serviceaccount \
                     \"gadget-drone\" not found";
        refused(sim, "pods", 403, words);
    }),
    ("an admission rule that refuses the pod", Nothing, |sim| {
        let words =
            "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no";
        refused(sim, "pods", 403, words);
    }),
    ("a policy that refuses the pod", Nothing, |sim| {
        refused(sim, "pods", 403, "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\"");
    }),
    ("a right that was taken away", Nothing, |sim| {
        refused(sim, "pods", 403, "pods is forbidden: User \"operator\" cannot create resource \"pods\"");
    }),
    ("a namespace that is being deleted", Nothing, |sim| {
        refused(
            sim,
            "pods",
            403,
            "unable to create new content in namespace drones because it is being terminated",
        );
    }),
    ("a drone that may not be made", Nothing, |sim| {
        let words = "User \"operator\" cannot create resource \"droneregistrations\"";
        refused(sim, "droneregistrations", 403, words);
    }),
    ("a class that is missing", Nothing, |sim| sim.session_with("x", json!({ "className": "gpu" }))),
    ("a drone that is missing", Nothing, |sim| sim.session_with("x", json!({ "drone": "mine" }))),
    ("a drone that is another's", Nothing, |sim| {
        sim.create(
            "droneregistrations",
            "eves",
            json!({ "spec": { "user": "eve", "className": "default" } }),
        );
        sim.session_with("x", json!({ "drone": "eves" }));
    }),
    ("a pod of that name that is another's", Nothing, |sim| {
        sim.create("pods", "x", json!({ "spec": {} }));
        sim.session("x");
    }),
    ("an object that does not fit", Nothing, |sim| {
        sim.session("x");
        sim.patch("chatsessions", "x", &json!({ "spec": { "title": 7 } }));
    }),
    ("a session that a person suspended", Running, |sim| {
        wish(sim, "chatsessions", "Suspended", Value::Null);
        sim.let_pod_go("x");
    }),
    ("a session that sleeps for lack of work", Running, |sim| {
        wish(sim, "chatsessions", "Suspended", json!("idle"));
        sim.let_pod_go("x");
    }),
    ("a session that is being suspended", Running, |sim| wish(sim, "chatsessions", "Suspended", Value::Null)),
    ("a drone that a person suspended", Running, |sim| {
        wish(sim, "droneregistrations", "Suspended", Value::Null);
        sim.let_pod_go("x");
    }),
    ("a user whom the hub does not know", Started, |sim| {
        let words = "the hub has no user 'ada': make an account with that handle";
        let adoption = json!({ "state": "UserUnknown", "message": words });
        sim.patch_status("chatsessions", "x", &json!({ "adoption": adoption }));
    }),
    ("a hub that says nothing", Started, |sim| {
        sim.patch(
            "chatsessions",
            "x",
            &json!({ "metadata": { "creationTimestamp": "2027-01-15T07:59:00Z" } }),
        );
    }),
    ("a class that has changed since", Running, |sim| {
        sim.patch("droneclasses", "default", &json!({ "spec": { "image": "drone:2" } }));
    }),
    ("nothing at all, an agent that works", Running, |sim| {
        let activity = json!({ "state": "Working", "since": "2027-01-15T08:00:00Z" });
        sim.patch_status("droneregistrations", "x", &json!({ "activity": activity }));
    }),
];

fn warned(sim: &Sim, kind: &str, plural: &'static str, name: &str, reason: &str, words: &str) {
    let uid = sim.get(plural, name).unwrap()["metadata"]["uid"].clone();
    sim.create("events", "one", warning(kind, name, &uid, reason, words));
}

fn refused(sim: &Sim, plural: &'static str, code: u16, words: &str) {
    sim.world.lock().refused.insert(plural, (code, words.to_owned()));
    sim.session("x");
}

fn wish(sim: &Sim, plural: &'static str, mode: &str, mark: Value) {
    let marks = json!({ "gadgetcode.dev/suspended-for": mark });
    let wish = json!({ "metadata": { "annotations": marks }, "spec": { "operatingMode": mode } });
    sim.patch(plural, "x", &wish);
}

/// As it would be asked for by `kubectl gadget why x`.
fn reason(sim: &Sim) -> Reason {
    let drone = sim.read::<DroneRegistration>("droneregistrations", "x");
    let bound = drone.filter(|drone| drone.spec.chat_session.is_some());
    let mut session = sim.get("chatsessions", "x").unwrap();
    // The schema of the API server keeps such a one out; what the operator has said of it counts.
    session["spec"]["title"] = Value::Null;
    why::of_session(&serde_json::from_value(session).unwrap(), bound.as_ref(), sim.parts.clock.now())
}

#[tokio::test(start_paused = true)]
async fn each_fault_is_told_with_its_cause_what_comes_next_and_what_can_be_done() {
    let mut told = String::new();
    for (name, place, inject) in FAULTS {
        let sim = match place {
            Nothing => Sim::new(),
            Started => {
                let sim = Sim::new();
                sim.session("x");
                sim.settle().await;
                sim
            }
            Running => Sim::running("x").await,
        };
        inject(&sim);
        sim.wait(Duration::from_secs(3)).await;
        let Reason { is_well, state, reason: word, since: _, cause, next, advice, also } = reason(&sim);
        let mark = if is_well { "" } else { "! " };
        let word = word.map(|word| format!(": {word}")).unwrap_or_default();
        writeln!(told, "{name}\n  {mark}{state}{word}").unwrap();
        let parts = [("cause", cause), ("next", Some(next)), ("you can", advice)];
        let also = also.into_iter().map(|words| ("also", Some(words)));
        for (label, words) in parts.into_iter().chain(also) {
            if let Some(words) = words {
                writeln!(told, "  {label:<7}  {words}").unwrap();
            }
        }
    }
    assert_eq!(told, include_str!("why.txt"), "\n{told}");
}

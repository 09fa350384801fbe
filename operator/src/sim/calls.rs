//! The exact requests of a launch, a suspend, a bind and a deletion: order, address and body, as the API server sees
//! them.

use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use tower_test::mock;

use super::*;

type Handle = mock::Handle<Request<Body>, Response<Body>>;

/// The simulation with an API server that a test answers itself.
fn mocked() -> (Sim, Handle) {
    let mut sim = Sim::new();
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let (_, leadership) = forever();
    sim.parts.api = Api::new(
        Client::new(service, "drones"),
        "drones".into(),
        leadership,
        sim.parts.config.call,
        Arc::clone(&sim.parts.metrics),
    );
    (sim, handle)
}

/// A term without end. The sender may be dropped: the last word holds.
fn forever() -> (watch::Sender<Option<Term>>, Leadership) {
    let end = Instant::now() + Duration::from_secs(1_000_000_000);
    let (sender, receiver) = watch::channel(Some(Term::new(end)));
    (sender, Leadership::new(receiver))
}

/// The next request, answered with an object of this uid and version.
async fn answered(handle: &mut Handle, version: u64) -> (String, Value) {
    let (request, answer) = handle.next_request().await.expect("a request");
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let object =
        json!({ "metadata": { "uid": format!("uid-{version}"), "resourceVersion": version.to_string() } });
    answer.send_response(Response::new(Body::from(object.to_string().into_bytes())));
    (format!("{} {}", head.method, head.uri.path()), serde_json::from_slice(&body).unwrap_or_default())
}

async fn reconcile(sim: &Sim, key: Key) {
    let done = match &key {
        Key::Session(name) => {
            chat_session::reconcile(&sim.parts, name).await.map(drop).map_err(|error| error.to_string())
        }
        Key::Drone(name) => {
            drone::reconcile(&sim.parts, name).await.map(drop).map_err(|error| error.to_string())
        }
        Key::Class(_) => Ok(()),
    };
    done.unwrap();
}

const GADGET: &str = "/apis/gadgetcode.dev/v1alpha1/namespaces/drones";
const CORE: &str = "/api/v1/namespaces/drones";

#[tokio::test(start_paused = true)]
async fn a_launch_sends_drone_claim_and_pod_as_the_contract_has_them() {
    let (sim, mut handle) = mocked();
    sim.session("x");
    sim.watch(usize::MAX);
    let (mut calls, ()) = tokio::join!(
        async { [answered(&mut handle, 101).await, answered(&mut handle, 102).await] },
        reconcile(&sim, Key::Session("x".into()))
    );
    calls.sort_by(|one, other| one.0.cmp(&other.0));
    let [(claim_call, claim), (drone_call, drone)] = calls;
    assert_eq!(claim_call, format!("POST {CORE}/persistentvolumeclaims"));
    let hash = crds::names::user_hash("ada");
    let labels = json!({
        "app.kubernetes.io/name": "gadget", "app.kubernetes.io/component": "workspace",
        "app.kubernetes.io/managed-by": "gadget-operator",
        "gadgetcode.dev/session": "x", "gadgetcode.dev/drone": "x", "gadgetcode.dev/user-hash": hash,
    });
    assert_eq!(
        claim,
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "ws-x", "labels": labels },
            "spec": { "accessModes": ["ReadWriteOncePod"], "resources": { "requests": { "storage": "10Gi" } } },
        })
    );
    assert_eq!(drone_call, format!("POST {GADGET}/droneregistrations"));
    let session = sim.get("chatsessions", "x").unwrap()["metadata"]["uid"].clone();
    assert_eq!(
        drone["metadata"]["ownerReferences"],
        json!([{
            "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "ChatSession", "name": "x", "uid": session,
            "controller": true,
        }])
    );
    assert_eq!(
        drone["spec"],
        json!({
            "user": "ada", "chatSession": "x", "className": "default", "workspace": {}, "operatingMode": "Running",
        })
    );
    // The watch shows the drone; the claim is known to be made.
    sim.create("droneregistrations", "x", json!({ "metadata": drone["metadata"], "spec": drone["spec"] }));
    sim.watch(usize::MAX);
    let ((call, pod), ()) = tokio::join!(answered(&mut handle, 103), reconcile(&sim, Key::Drone("x".into())));
    assert_eq!(call, format!("POST {CORE}/pods"));
    assert_eq!(pod, expected_pod(&sim, &hash));
}

#[tokio::test(start_paused = true)]
async fn a_drone_that_is_seen_before_its_claim_is_made_waits_and_nothing_is_asked_for_twice() {
    let (sim, mut handle) = mocked();
    sim.session("x");
    sim.watch(usize::MAX);
    let answer = |version: u64| {
        let object = json!({ "metadata": { "uid": format!("uid-{version}"), "resourceVersion": "1" } });
        Response::new(Body::from(object.to_string().into_bytes()))
    };
    let server = async {
        let mut open = Vec::new();
        for _ in 0..2 {
            let (request, answer) = handle.next_request().await.expect("a request");
            open.push((request.uri().path().to_owned(), answer));
        }
        open.sort_by(|one, other| one.0.cmp(&other.0));
        let (drone, for_drone) = open.pop().unwrap();
        let (_, for_claim) = open.pop().unwrap();
        assert_eq!(drone, format!("{GADGET}/droneregistrations"));
        for_drone.send_response(answer(1));
        // The watch is faster than the answer about the claim.
        sim.create(
            "droneregistrations",
            "x",
            json!({ "spec": { "user": "ada", "chatSession": "x", "className": "default" } }),
        );
        sim.watch(usize::MAX);
        assert!(taken(&sim).contains(&Key::Drone("x".into())));
        // It asks for nothing: nobody would answer.
        reconcile(&sim, Key::Drone("x".into())).await;
        assert_eq!(taken(&sim), []);
        for_claim.send_response(answer(2));
    };
    taken(&sim);
    tokio::join!(server, reconcile(&sim, Key::Session("x".into())));
    assert_eq!(taken(&sim), [Key::Drone("x".into())]);
    let ((call, _), ()) = tokio::join!(answered(&mut handle, 3), reconcile(&sim, Key::Drone("x".into())));
    assert_eq!(call, format!("POST {CORE}/pods"));
}

/// All work that waits, as if it were done.
fn taken(sim: &Sim) -> Vec<Key> {
    let work = std::iter::from_fn(|| {
        let key = sim.parts.queue.try_take()?;
        sim.parts.queue.done(key.clone(), Next::OnChange);
        Some(key)
    });
    work.collect()
}

fn expected_pod(sim: &Sim, hash: &str) -> Value {
    let drone = sim.get("droneregistrations", "x").unwrap()["metadata"]["uid"].clone();
    let class = crds::DroneClassSpec { image: "drone:1".into(), ..Default::default() };
    let probe = |path: &str, every: i32, failures: i32| {
        json!({
            "httpGet": { "path": path, "port": 8421 },
            "periodSeconds": every, "failureThreshold": failures, "timeoutSeconds": 5,
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "x",
            "labels": {
                "app.kubernetes.io/name": "gadget", "app.kubernetes.io/component": "drone",
                "app.kubernetes.io/managed-by": "gadget-operator", "gadgetcode.dev/session": "x",
                "gadgetcode.dev/drone": "x", "gadgetcode.dev/user-hash": hash, "gadgetcode.dev/class": "default",
            },
            "annotations": { "gadgetcode.dev/class-revision": class.revision() },
            "ownerReferences": [{
                "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "DroneRegistration", "name": "x", "uid": drone,
                "controller": true,
            }],
        },
        "spec": {
            "restartPolicy": "OnFailure", "serviceAccountName": "gadget-drone",
            "automountServiceAccountToken": false, "enableServiceLinks": false, "terminationGracePeriodSeconds": 30,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001,
                "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": { "type": "RuntimeDefault" },
            },
            "volumes": [
                { "name": "workspace", "persistentVolumeClaim": { "claimName": "ws-x" } },
                { "name": "tmp", "emptyDir": { "sizeLimit": "1Gi" } },
                {
                    "name": "token",
                    "projected": { "sources": [{ "serviceAccountToken": {
                        "audience": "gadget-hub", "expirationSeconds": 600, "path": "token",
                    } }] },
                },
            ],
            "containers": [{
                "name": "drone", "image": "drone:1", "command": ["gadget-drone"],
                "args": [
                    "init", "--workspace", "/workspace", "--hub", "http://gadget-hub:8420", "--registration", "x",
                    "--token-file", "/var/run/secrets/gadgetcode.dev/token", "--health-listen",
                    "0.0.0.0:8421", "--grace", "25s", "--orphan-timeout", "24h",
                ],
                "ports": [{ "name": "health", "containerPort": 8421 }],
                "startupProbe": probe("/healthz", 1, 120),
                "livenessProbe": probe("/healthz", 10, 3),
                "readinessProbe": probe("/readyz", 2, 3),
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true,
                    "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [
                    { "name": "workspace", "mountPath": "/workspace" },
                    { "name": "tmp", "mountPath": "/tmp" },
                    { "name": "token", "mountPath": "/var/run/secrets/gadgetcode.dev", "readOnly": true },
                ],
            }],
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_suspend_deletes_this_very_pod_and_then_tells_what_changed_alone() {
    let (sim, mut handle) = mocked();
    let live = Sim::running("x").await;
    for plural in ["chatsessions", "droneregistrations", "pods", "persistentvolumeclaims"] {
        for name in live.names(plural) {
            let object = live.get(plural, &name).unwrap();
            sim.take(Change { plural, object, is_gone: false });
        }
    }
    let mut session = live.get("chatsessions", "x").unwrap();
    session["spec"]["operatingMode"] = json!("Suspended");
    session["metadata"]["generation"] = json!(2);
    sim.take(Change { plural: "chatsessions", object: session, is_gone: false });
    let pod = live.get("pods", "x").unwrap();
    let ((call, body), ()) =
        tokio::join!(answered(&mut handle, 1000), reconcile(&sim, Key::Drone("x".into())));
    assert_eq!(call, format!("DELETE {CORE}/pods/x"));
    assert_eq!(body["preconditions"], json!({ "uid": pod["metadata"]["uid"] }));
    sim.take(Change { plural: "pods", object: pod, is_gone: true });
    let ((call, body), ()) =
        tokio::join!(answered(&mut handle, 1001), reconcile(&sim, Key::Drone("x".into())));
    assert_eq!(call, format!("PATCH {GADGET}/droneregistrations/x/status"));
    let uid = live.get("droneregistrations", "x").unwrap()["metadata"]["uid"].clone();
    assert_eq!(body["metadata"], json!({ "uid": uid }));
    let mut status = body["status"].as_object().cloned().unwrap();
    assert!(status.remove("conditions").is_some());
    let changed = json!({ "phase": "Suspended", "podName": null, "podUid": null, "nodeName": null });
    assert_eq!(Value::Object(status), changed, "neither activity nor what stays the same");
    let ((call, body), ()) =
        tokio::join!(answered(&mut handle, 1002), reconcile(&sim, Key::Session("x".into())));
    assert_eq!(call, format!("PATCH {GADGET}/chatsessions/x/status"));
    let mut status = body["status"].as_object().cloned().unwrap();
    assert!(status.remove("conditions").is_some());
    assert_eq!(
        Value::Object(status),
        json!({ "phase": "Suspended", "observedGeneration": 2, "nodeName": null })
    );
}

#[tokio::test(start_paused = true)]
async fn a_bind_holds_for_the_version_that_was_seen_alone() {
    let (sim, mut handle) = mocked();
    sim.create("droneregistrations", "mine", json!({ "spec": { "user": "ada", "className": "default" } }));
    sim.session_with("x", json!({ "drone": "mine" }));
    sim.watch(usize::MAX);
    let drone = sim.get("droneregistrations", "mine").unwrap()["metadata"].clone();
    let ((call, body), ()) =
        tokio::join!(answered(&mut handle, 1000), reconcile(&sim, Key::Session("x".into())));
    assert_eq!(call, format!("PATCH {GADGET}/droneregistrations/mine"));
    assert_eq!(body["metadata"]["resourceVersion"], drone["resourceVersion"]);
    assert_eq!(body["metadata"]["uid"], drone["uid"]);
    assert_eq!(body["metadata"]["ownerReferences"][0]["name"], "x");
    assert_eq!(body["spec"], json!({ "chatSession": "x" }));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_and_a_lost_lease_send_nothing_at_all() {
    let (mut sim, mut handle) = mocked();
    let live = Sim::running("x").await;
    for plural in ["droneregistrations", "pods", "persistentvolumeclaims"] {
        for name in live.names(plural) {
            let object = live.get(plural, &name).unwrap();
            sim.take(Change { plural, object, is_gone: false });
        }
    }
    // The session is gone, its drone not yet.
    reconcile(&sim, Key::Session("x".into())).await;
    reconcile(&sim, Key::Drone("x".into())).await;
    // A session is new, and another leads.
    let (term, lost) = watch::channel(None);
    drop(term);
    sim.parts.api = Api::new(
        world::client(&sim.world),
        "drones".into(),
        Leadership::new(lost),
        sim.parts.config.call,
        Arc::clone(&sim.parts.metrics),
    );
    sim.session("y");
    sim.watch(usize::MAX);
    let done = chat_session::reconcile(&sim.parts, &"y".into()).await;
    assert!(done.is_err());
    assert_eq!(sim.writes(), [""; 0]);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), handle.next_request())
            .await
            .is_ok_and(|next| next.is_none())
    );
}

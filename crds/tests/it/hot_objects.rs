//! Objects that are written often stay small: etcd keeps each version of them, and each watcher gets each version. (The
//! API server's own `managedFields` come on top; they are the writers' matter.)

use crds::conditions::{self, Is};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

const MOST: usize = 2048;
/// Words about a failure are kept until the drone is replaced.
const MOST_AFTER_A_FAILURE: usize = 2560;

/// As etcd stores it, with what the API server adds.
fn stored(kind: &str, spec: &Value, status: &Value, owner: &Value) -> usize {
    let name = "01k3v9y6w0q7d8m2n4p5r6s7t8";
    let mut object = json!({
        "apiVersion": "gadgetcode.dev/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name, "namespace": "gadget-drones", "generation": 12,
            "uid": "5b0a2d0e-7c0d-4b39-9d2a-0f7a2f2c5a11", "creationTimestamp": "2026-11-28T03:52:26Z",
            "labels": {
                "app.kubernetes.io/name": "gadget", "app.kubernetes.io/managed-by": "gadget-operator",
                "gadgetcode.dev/session": name, "gadgetcode.dev/user-hash": "af63bd4c8601b7be",
            },
        },
        "spec": spec,
        "status": status,
    });
    if !owner.is_null() {
        object["metadata"]["ownerReferences"] = owner.clone();
    }
    object.to_string().len()
}

fn condition(kind: &str, is: Is, reason: &str, message: &str) -> Condition {
    conditions::new(kind, is, reason, message, Some(12), &Time(Timestamp::UNIX_EPOCH))
}

#[test]
fn a_session_that_works_is_stored_in_two_kib() {
    let conditions = [
        condition(conditions::READY, Is::True, "Ready", "The agent is ready."),
        condition(conditions::WORKSPACE_BOUND, Is::True, "Bound", "The claim has its volume."),
        condition(conditions::DRONE_READY, Is::True, "Ready", "The drone is connected."),
        condition(conditions::SUSPENDED, Is::False, "Running", ""),
    ];
    let spec = json!({
        "user": "ada-lovelace", "title": "Fix the login of people who have two accounts",
        "project": { "slug": "shop", "gitUrl": "https://git.example/team/shop.git", "ref": "main" },
        "mode": "build", "model": { "provider": "openai", "name": "gpt-5", "reasoningEffort": "high" },
        "operatingMode": "Running", "className": "default", "workspace": { "size": "20Gi", "retention": "Retain" },
    });
    let status = json!({
        "observedGeneration": 12, "phase": "Ready", "droneName": "01k3v9y6w0q7d8m2n4p5r6s7t8",
        "workspaceClaim": "ws-01k3v9y6w0q7d8m2n4p5r6s7t8", "nodeName": "ip-10-0-113-27.eu-central-1.compute.internal",
        "startedAt": "2026-11-28T03:52:26Z", "startMilliseconds": 812, "restarts": 1, "conditions": conditions,
        "adoption": { "state": "Adopted", "message": "The hub has it as chat session 5b0a2d0e-7c0d-4b39-9d2a-0f7a2f2c5a11." },
    });
    let size = stored("ChatSession", &spec, &status, &Value::Null);
    assert!(size <= MOST, "{size} bytes");
}

#[test]
fn a_drone_that_works_is_stored_in_two_kib() {
    let conditions = [
        condition(conditions::READY, Is::True, "Ready", "The drone is connected."),
        condition(conditions::WORKSPACE_BOUND, Is::True, "Bound", "The claim has its volume."),
        condition(conditions::POD_SCHEDULED, Is::True, "Scheduled", ""),
        condition(conditions::SUSPENDED, Is::False, "Running", ""),
    ];
    let spec = json!({
        "user": "ada-lovelace", "chatSession": "01k3v9y6w0q7d8m2n4p5r6s7t8", "className": "default",
        "workspace": { "size": "20Gi", "accessMode": "ReadWriteOncePod", "retention": "Retain" },
        "operatingMode": "Running",
    });
    let mut status = json!({
        "observedGeneration": 12, "phase": "Busy", "podName": "01k3v9y6w0q7d8m2n4p5r6s7t8",
        "podUid": "9c0b6b0e-2f51-4a5f-8d37-6a4e4c1f0b7d", "nodeName": "ip-10-0-113-27.eu-central-1.compute.internal",
        "workspaceClaim": "ws-01k3v9y6w0q7d8m2n4p5r6s7t8", "podAttempt": 1, "restarts": 1,
        "startedAt": "2026-11-28T03:52:26Z", "startMilliseconds": 812,
        "conditions": conditions,
        "activity": {
            "state": "Working", "since": "2026-11-28T03:52:26Z", "lastActivityAt": "2026-11-28T03:52:26Z",
            "processRestarts": 0, "workspaceId": "5b0a2d0e-7c0d-4b39-9d2a-0f7a2f2c5a11",
        },
    });
    let owner = json!([{
        "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "ChatSession", "name": "01k3v9y6w0q7d8m2n4p5r6s7t8",
        "uid": "5b0a2d0e-7c0d-4b39-9d2a-0f7a2f2c5a11", "controller": true, "blockOwnerDeletion": true,
    }]);
    let size = stored("DroneRegistration", &spec, &status, &owner);
    assert!(size <= MOST, "{size} bytes");
    status["lastFailure"] = json!({
        "class": "Memory", "reason": "OOMKilled", "message": "The drone used more memory than its limit of 2Gi.",
        "exitCode": 137, "at": "2026-11-28T03:52:26Z", "retryable": true,
        "advice": "Give the class more memory (spec.resources.limits.memory).",
    });
    let size = stored("DroneRegistration", &spec, &status, &owner);
    assert!(size <= MOST_AFTER_A_FAILURE, "{size} bytes");
    // A name that is misspelt here would make the figures wrong.
    serde_json::from_value::<crds::DroneRegistrationStatus>(status).unwrap();
}

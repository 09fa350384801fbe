//! The API server of the simulation: objects, versions, generations, owners, and what the watches have yet to say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

#[derive(Debug, Default)]
pub(super) struct World {
    objects: BTreeMap<(&'static str, String), Value>,
    /// Counts up with each change; uids come from it as well.
    version: u64,
    /// What the watches have not said yet.
    pub(super) changes: VecDeque<Change>,
    /// What was asked for by the operator, and granted.
    pub(super) writes: Vec<String>,
    /// The next requests are answered with these codes, or with none: then the answer is lost after the deed.
    pub(super) faults: VecDeque<Fault>,
    /// Requests to create these are refused with these words.
    pub(super) refused: BTreeMap<&'static str, (u16, String)>,
    /// The same for patches, and how often one was asked for.
    pub(super) refused_patches: BTreeMap<&'static str, (u16, String)>,
    pub(super) asked_in_vain: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) plural: &'static str,
    pub(super) object: Value,
    pub(super) is_gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not done, and this said.
    Code(u16),
    /// Done, and an error said.
    AnswerLost,
}

pub(super) type Refused = (u16, String);

const PLURALS: &[&str] =
    &["chatsessions", "droneregistrations", "droneclasses", "pods", "persistentvolumeclaims", "events"];

impl World {
    pub(super) fn get(&self, plural: &'static str, name: &str) -> Option<&Value> {
        self.objects.get(&(plural, name.to_owned()))
    }

    pub(super) fn names(&self, plural: &'static str) -> Vec<String> {
        self.objects.keys().filter(|(of, _)| *of == plural).map(|(_, name)| name.clone()).collect()
    }

    fn changed(&mut self, plural: &'static str, name: &str) {
        self.version += 1;
        let version = self.version.to_string();
        if let Some(object) = self.objects.get_mut(&(plural, name.to_owned())) {
            object["metadata"]["resourceVersion"] = json!(version);
            self.changes.push_back(Change { plural, object: object.clone(), is_gone: false });
        }
    }

    pub(super) fn create(&mut self, plural: &'static str, mut object: Value) -> Result<Value, Refused> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if let Some((code, words)) = self.refused.get(plural) {
            return Err((*code, words.clone()));
        }
        if self.get(plural, &name).is_some() {
            return Err((409, format!("{plural} \"{name}\" already exists")));
        }
        self.version += 1;
        object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["creationTimestamp"] = json!("2027-01-15T08:00:00Z");
        object["metadata"]["namespace"] = json!("drones");
        self.objects.insert((plural, name.clone()), object);
        self.changed(plural, &name);
        Ok(self.get(plural, &name).cloned().unwrap_or_default())
    }

    pub(super) fn patch(
        &mut self,
        plural: &'static str,
        name: &str,
        patch: &Value,
        is_status: bool,
    ) -> Result<Value, Refused> {
        let Some(object) = self.objects.get_mut(&(plural, name.to_owned())) else {
            return Err((404, format!("{plural} \"{name}\" not found")));
        };
        for field in ["uid", "resourceVersion"] {
            let wanted = &patch["metadata"][field];
            if !wanted.is_null() && *wanted != object["metadata"][field] {
                return Err((409, format!("{field} is another")));
            }
        }
        let before = object.clone();
        if is_status {
            let mut status = object["status"].take();
            merge(&mut status, &patch["status"]);
            object["status"] = status;
        } else {
            let mut patch = patch.clone();
            patch["status"] = before["status"].clone();
            merge(object, &patch);
            if object["spec"] != before["spec"] {
                let generation = before["metadata"]["generation"].as_i64().unwrap_or_default() + 1;
                object["metadata"]["generation"] = json!(generation);
            }
        }
        if *object != before {
            self.changed(plural, name);
        }
        Ok(self.get(plural, name).cloned().unwrap_or_default())
    }

    /// Pods on a node, and claims in use, are marked and go later.
    pub(super) fn delete(&mut self, plural: &'static str, name: &str) -> Result<(), Refused> {
        let is_used = plural == "persistentvolumeclaims" && self.uses(name);
        let Some(object) = self.objects.get_mut(&(plural, name.to_owned())) else {
            return Err((404, format!("{plural} \"{name}\" not found")));
        };
        let phase = object["status"]["phase"].as_str().unwrap_or_default();
        let is_over = matches!(phase, "Succeeded" | "Failed");
        let waits = plural == "pods" && object["spec"]["nodeName"].is_string() && !is_over;
        if waits || is_used {
            if object["metadata"]["deletionTimestamp"].is_null() {
                object["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
                self.changed(plural, name);
            }
            return Ok(());
        }
        self.remove(plural, name);
        Ok(())
    }

    fn uses(&self, claim: &str) -> bool {
        self.objects.iter().any(|((plural, _), object)| {
            *plural == "pods"
                && object["spec"]["volumes"].as_array().is_some_and(|volumes| {
                    volumes.iter().any(|volume| volume["persistentVolumeClaim"]["claimName"] == claim)
                })
        })
    }

    pub(super) fn remove(&mut self, plural: &'static str, name: &str) {
        self.version += 1;
        if let Some(mut object) = self.objects.remove(&(plural, name.to_owned())) {
            object["metadata"]["resourceVersion"] = json!(self.version.to_string());
            self.changes.push_back(Change { plural, object, is_gone: true });
        }
        let unused: Vec<String> = self
            .names("persistentvolumeclaims")
            .into_iter()
            .filter(|claim| {
                let object = self.get("persistentvolumeclaims", claim);
                object.is_some_and(|object| object["metadata"]["deletionTimestamp"].is_string())
                    && !self.uses(claim)
            })
            .collect();
        for claim in unused {
            self.remove("persistentvolumeclaims", &claim);
        }
    }

    /// Deletes what has only owners that are gone.
    pub(super) fn collect_garbage(&mut self) {
        let uids: Vec<Value> =
            self.objects.values().map(|object| object["metadata"]["uid"].clone()).collect();
        let orphans: Vec<(&'static str, String)> = self
            .objects
            .iter()
            .filter(|(_, object)| {
                let owners = object["metadata"]["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
                !owners.is_empty() && owners.iter().all(|owner| !uids.contains(&owner["uid"]))
            })
            .map(|(key, _)| key.clone())
            .collect();
        for (plural, name) in orphans {
            let _ = self.delete(plural, &name);
        }
    }

    /// What a new watch says: everything that is there.
    pub(super) fn relist(&mut self) {
        self.changes = self
            .objects
            .iter()
            .map(|((plural, _), object)| Change { plural, object: object.clone(), is_gone: false })
            .collect();
    }

    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> Result<Value, Refused> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let at = parts.iter().position(|part| *part == "drones").unwrap_or_default() + 1;
        let plural = PLURALS
            .iter()
            .find(|plural| parts.get(at) == Some(plural))
            .ok_or_else(|| (404, "the server could not find the requested resource".to_owned()))?;
        let name = parts.get(at + 1).copied().unwrap_or_default();
        let is_status = parts.get(at + 2) == Some(&"status");
        let fault = self.faults.pop_front();
        if let Some(Fault::Code(code)) = fault {
            return Err((code, "a fault".to_owned()));
        }
        let done = match *method {
            Method::POST => self.create(plural, body.clone()),
            Method::PATCH if self.refused_patches.contains_key(plural) => {
                self.asked_in_vain += 1;
                Err(self.refused_patches[plural].clone())
            }
            Method::PATCH => self.patch(plural, name, body, is_status),
            Method::DELETE => {
                let uid = &body["preconditions"]["uid"];
                match self.get(plural, name) {
                    Some(object) if !uid.is_null() && object["metadata"]["uid"] != *uid => {
                        Err((409, "uid is another".to_owned()))
                    }
                    _ => self.delete(plural, name).map(|()| json!({ "kind": "Status", "status": "Success" })),
                }
            }
            _ => Err((405, "nothing is read".to_owned())),
        };
        if done.is_ok() {
            let named =
                if name.is_empty() { body["metadata"]["name"].as_str().unwrap_or_default() } else { name };
            let of = if is_status { "/status" } else { "" };
            self.writes.push(format!("{method} {plural}/{named}{of}"));
        }
        if let Some(Fault::AnswerLost) = fault {
            return Err((504, "the answer was lost".to_owned()));
        }
        done
    }
}

/// RFC 7396.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            if let Some(target) = target.as_object_mut() {
                target.remove(key);
            }
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// A real client whose requests the world answers.
pub(super) fn client(world: &Arc<Mutex<World>>) -> Client {
    let world = Arc::clone(world);
    let service = tower::service_fn(move |request: Request<Body>| {
        let world = Arc::clone(&world);
        async move {
            let (head, body) = request.into_parts();
            let bytes = body.collect().await?.to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or_default();
            let answer = world.lock().answer(&head.method, head.uri.path(), &body);
            let (code, body) = match answer {
                Ok(object) => (200, object),
                Err((code, words)) => {
                    let status = json!({
                        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": words,
                        "reason": if code == 409 { "Conflict" } else { "" },
                    });
                    (code, status)
                }
            };
            let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
            Ok::<_, tower::BoxError>(response?)
        }
    });
    Client::new(service, "drones")
}

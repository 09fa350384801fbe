//! What Gadget's operator makes of a session, read once and written again by the floor, and with the same pod and claim
//! by agent-sandbox: all columns write objects of the same size.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::write::{Kind, Writer};

/// The session whose objects are read. Its name is in no other text.
pub(super) const PROBE: &str = "probe-of-the-bench";

/// Bodies of requests, with names and uids to be put in.
#[derive(Clone, Debug)]
pub(super) struct Templates {
    session_uid: String,
    drone_uid: String,
    drone: String,
    claim: String,
    pod: String,
    drone_status: String,
    session_status: String,
    sandbox: String,
}

/// One object's bodies.
pub(super) struct Filled<'a> {
    templates: &'a Templates,
    name: &'a str,
    session_uid: &'a str,
}

impl Templates {
    /// Once the probe is ready.
    pub(super) async fn read(writer: &Writer) -> Result<Self> {
        let session = writer.get(Kind::Session, PROBE).await?;
        let drone = writer.get(Kind::Drone, PROBE).await?;
        let pod = writer.get(Kind::Pod, PROBE).await?;
        let claim = writer.get(Kind::Claim, &format!("ws-{PROBE}")).await?;
        let uid = |object: &Value| {
            object["metadata"]["uid"].as_str().map(ToOwned::to_owned).context("an object has a uid")
        };
        let status = |object: &Value| json!({ "status": object["status"] }).to_string();
        let body = |object: &Value| as_made(object).to_string();
        Ok(Self {
            session_uid: uid(&session)?,
            drone_uid: uid(&drone)?,
            drone: body(&drone),
            claim: body(&claim),
            pod: body(&pod),
            drone_status: status(&drone),
            session_status: status(&session),
            sandbox: sandbox(&pod, &claim)?.to_string(),
        })
    }

    pub(super) fn sandbox(&self, name: &str) -> String {
        self.sandbox.replace(PROBE, name)
    }

    pub(super) fn of<'a>(&'a self, name: &'a str, session_uid: &'a str) -> Filled<'a> {
        Filled { templates: self, name, session_uid }
    }
}

impl Filled<'_> {
    pub(super) fn drone(&self) -> String {
        self.fill(&self.templates.drone)
    }

    pub(super) fn claim(&self) -> String {
        self.fill(&self.templates.claim)
    }

    pub(super) fn pod(&self, drone_uid: &str) -> String {
        self.fill(&self.templates.pod).replace(&self.templates.drone_uid, drone_uid)
    }

    pub(super) fn drone_status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.fill(&self.templates.drone_status))?)
    }

    pub(super) fn session_status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.fill(&self.templates.session_status))?)
    }

    fn fill(&self, text: &str) -> String {
        text.replace(PROBE, self.name).replace(&self.templates.session_uid, self.session_uid)
    }
}

/// An object as it was before the API server and the nodes knew it.
fn as_made(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let kept = ["name", "labels", "annotations", "ownerReferences"]
        .map(|key| (key.to_owned(), metadata[key].clone()))
        .into_iter()
        .filter(|(_, value)| !value.is_null());
    let mut spec = object["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("nodeName");
        spec.remove("volumeName");
    }
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"],
        "metadata": Value::Object(kept.collect()), "spec": spec,
    })
}

/// One with the same pod and the same claim.
fn sandbox(pod: &Value, claim: &Value) -> Result<Value> {
    let mut pod = as_made(pod);
    let volumes = pod["spec"]["volumes"].as_array_mut().context("the pod has no volumes")?;
    let place = volumes.iter().position(|volume| volume.get("persistentVolumeClaim").is_some());
    let volume = volumes.remove(place.context("the pod has no claim")?);
    let claim = as_made(claim);
    Ok(json!({
        "apiVersion": "agents.x-k8s.io/v1beta1", "kind": "Sandbox", "metadata": { "name": PROBE },
        "spec": {
            "podTemplate": {
                "metadata": { "labels": pod["metadata"]["labels"], "annotations": pod["metadata"]["annotations"] },
                "spec": pod["spec"],
            },
            "volumeClaimTemplates": [{ "metadata": { "name": volume["name"] }, "spec": claim["spec"] }],
        },
    }))
}

//! What the hub reads of a resource. Everything else is dropped where it arrives, so that 3,000 sessions stay small.

use std::collections::BTreeMap;
use std::time::Duration;

use crds::chat_session::{Adoption, SessionPhase};
use crds::drone_registration::{Activity, DronePhase as ResourcePhase};
use crds::value::OperatingMode;
use crds::{ChatSession, DroneRegistration, conditions, duration, names};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use protocol::value::{ChatSessionMode, ReasoningEffort};

use crate::fleet::ModelFacts;

/// Whether a pod should run, and who wants that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Run,
    /// Suspended by the hub for lack of work: whoever wants to work lets it run again.
    Sleep,
    /// Suspended by a person: only a person lets it run again.
    Stop,
}

/// One word for machines and more for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) reason: String,
    pub(crate) message: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) version: u64,
    pub(crate) created_at: Option<jiff::Timestamp>,
    /// Made by a hub, by what its label says.
    pub(crate) of_hub: bool,
    pub(crate) user: String,
    pub(crate) slug: String,
    pub(crate) git_url: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) mode: Option<ChatSessionMode>,
    pub(crate) model: Option<ModelFacts>,
    pub(crate) wish: Wish,
    /// The wish says [`Wish::Run`], and the mark of a hub's suspending is still there.
    pub(crate) stale_mark: bool,
    /// `None`: the hub's own.
    pub(crate) idle_timeout: Option<Duration>,
    /// The drone that works for it, or will.
    pub(crate) drone: String,
    pub(crate) phase: Option<SessionPhase>,
    pub(crate) ready: Option<Words>,
    pub(crate) restarts: u32,
    pub(crate) adoption: Option<Adoption>,
    pub(crate) deleting: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Drone {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) user: String,
    /// Name of the ChatSession.
    pub(crate) session: Option<String>,
    pub(crate) wish: Wish,
    pub(crate) phase: Option<ResourcePhase>,
    pub(crate) pod: Option<String>,
    pub(crate) pod_uid: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) restarts: u32,
    pub(crate) ready: Option<Words>,
    /// What went wrong last, with what a person can do.
    pub(crate) failure: Option<Words>,
    pub(crate) activity: Option<Activity>,
    pub(crate) deleting: bool,
}

impl Session {
    /// `None`: it has no name or no uid, so it did not come from an API server.
    pub(crate) fn of(resource: ChatSession) -> Option<Self> {
        let ChatSession { metadata, spec, status } = resource;
        let status = status.unwrap_or_default();
        let (wish, stale_mark) = wish(spec.operating_mode, &metadata);
        let name = metadata.name.clone()?;
        let drone = status.drone_name.or(spec.drone).unwrap_or_else(|| names::drone(&name));
        let labels = metadata.labels.as_ref();
        Some(Self {
            drone,
            name,
            uid: metadata.uid.clone()?,
            version: version(&metadata),
            created_at: metadata.creation_timestamp.as_ref().map(|time| time.0),
            of_hub: labels.is_some_and(|labels| is(labels, names::MANAGED_BY, names::HUB)),
            user: spec.user,
            slug: spec.project.slug,
            git_url: spec.project.git_url,
            title: spec.title,
            mode: spec.mode.map(mode),
            model: spec.model.map(|model| ModelFacts {
                provider: model.provider,
                name: model.name,
                effort: model.reasoning_effort.map(effort),
            }),
            wish,
            stale_mark,
            idle_timeout: spec.idle_timeout.as_deref().and_then(duration::parse),
            phase: status.phase,
            ready: words(&status.conditions),
            restarts: count(status.restarts),
            adoption: status.adoption,
            deleting: metadata.deletion_timestamp.is_some(),
        })
    }
}

impl Drone {
    pub(crate) fn of(resource: DroneRegistration) -> Option<Self> {
        let DroneRegistration { metadata, spec, status } = resource;
        let status = status.unwrap_or_default();
        let (wish, _) = wish(spec.operating_mode, &metadata);
        Some(Self {
            name: metadata.name.clone()?,
            version: version(&metadata),
            user: spec.user,
            session: spec.chat_session,
            wish,
            phase: status.phase,
            pod: status.pod_name,
            pod_uid: status.pod_uid,
            node: status.node_name,
            restarts: count(status.restarts),
            ready: words(&status.conditions),
            failure: status.last_failure.map(|failure| Words {
                reason: failure.reason,
                message: match (&*failure.message, &*failure.advice) {
                    (message, "") => message.to_owned(),
                    ("", advice) => advice.to_owned(),
                    (message, advice) => format!("{message}; {advice}"),
                },
            }),
            activity: status.activity,
            deleting: metadata.deletion_timestamp.is_some(),
        })
    }

    /// Whether anything but what the hub itself writes is different.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        let bare = |drone: &Self| Self { activity: None, version: 0, ..drone.clone() };
        bare(self) != bare(other)
    }
}

fn wish(mode: OperatingMode, metadata: &ObjectMeta) -> (Wish, bool) {
    let marked = metadata
        .annotations
        .as_ref()
        .is_some_and(|annotations| is(annotations, names::SUSPENDED_FOR, names::IDLE));
    match (mode, marked) {
        (OperatingMode::Running, stale) => (Wish::Run, stale),
        (OperatingMode::Suspended, true) => (Wish::Sleep, false),
        (OperatingMode::Suspended, false) => (Wish::Stop, false),
    }
}

fn is(map: &BTreeMap<String, String>, key: &str, value: &str) -> bool {
    map.get(key).is_some_and(|has| has == value)
}

fn words(conditions: &[Condition]) -> Option<Words> {
    let ready = conditions::find(conditions, conditions::READY)?;
    Some(Words { reason: ready.reason.clone(), message: ready.message.clone() })
}

/// Versions of one server are numbers that grow; of what is none, the newest to arrive counts.
fn version(metadata: &ObjectMeta) -> u64 {
    metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(u64::MAX)
}

fn count(number: Option<i32>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

fn mode(mode: crds::value::SessionMode) -> ChatSessionMode {
    use crds::value::SessionMode;
    match mode {
        SessionMode::Plan => ChatSessionMode::Plan,
        SessionMode::Build => ChatSessionMode::Build,
        SessionMode::Test => ChatSessionMode::Test,
        SessionMode::Ship => ChatSessionMode::Ship,
        SessionMode::Develop => ChatSessionMode::Develop,
    }
}

fn effort(effort: crds::value::ReasoningEffort) -> ReasoningEffort {
    use crds::value::ReasoningEffort as Resource;
    match effort {
        Resource::Off => ReasoningEffort::Off,
        Resource::Low => ReasoningEffort::Low,
        Resource::Medium => ReasoningEffort::Medium,
        Resource::High => ReasoningEffort::High,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn session(metadata: serde_json::Value, spec: serde_json::Value) -> Session {
        let mut all = json!({ "name": "fix-login", "uid": "u-1", "resourceVersion": "7" });
        all.as_object_mut().unwrap().extend(metadata.as_object().unwrap().clone());
        let mut spec_all = json!({ "user": "ada", "project": { "slug": "shop" } });
        spec_all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let resource = json!({ "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "ChatSession",
            "metadata": all, "spec": spec_all });
        Session::of(serde_json::from_value(resource).unwrap()).unwrap()
    }

    #[test]
    fn who_suspended_a_session_is_told_by_the_hub_s_mark() {
        let idle = json!({ "annotations": { names::SUSPENDED_FOR: names::IDLE } });
        let suspended = json!({ "operatingMode": "Suspended" });
        assert_eq!(session(json!({}), json!({})).wish, Wish::Run);
        assert_eq!(session(json!({}), suspended.clone()).wish, Wish::Stop);
        assert_eq!(session(idle.clone(), suspended).wish, Wish::Sleep);
        let resumed = session(idle, json!({ "operatingMode": "Running" }));
        assert_eq!((resumed.wish, resumed.stale_mark), (Wish::Run, true));
    }

    #[test]
    fn five_lines_are_enough_and_name_their_drone() {
        let seen = session(json!({}), json!({ "idleTimeout": "1h" }));
        assert_eq!((&*seen.drone, seen.version, seen.of_hub), ("fix-login", 7, false));
        assert_eq!(seen.idle_timeout, Some(Duration::from_hours(1)));
        assert_eq!(session(json!({}), json!({ "drone": "mine" })).drone, "mine");
    }
}

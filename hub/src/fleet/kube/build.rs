//! What the hub writes into the cluster, as values. Pure.

use std::collections::BTreeMap;

use crds::chat_session::{ChatSessionSpec, ModelChoice, ProjectRef};
use crds::drone_registration::{DroneRegistrationSpec, DroneWorkspace};
use crds::value::{OperatingMode, ReasoningEffort as ResourceEffort, SessionMode};
use crds::{ChatSession, DroneRegistration, names};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use protocol::value::{ChatSessionMode, ReasoningEffort};
use serde_json::{Value, json};

use crate::fleet::{ModelFacts, SessionFacts};

/// Longest title that the resource takes.
const LONGEST_TITLE: usize = 200;

/// A chat session of the hub's. `drone`: an unbound drone that it is to use.
pub(super) fn session(name: &str, owner: &str, facts: &SessionFacts, drone: Option<&str>) -> ChatSession {
    let SessionFacts { title, slug, git_url, mode, model } = facts;
    let title = title.as_deref().map(|title| title.chars().take(LONGEST_TITLE).collect::<String>());
    ChatSession {
        metadata: metadata(name),
        spec: ChatSessionSpec {
            user: owner.to_owned(),
            project: ProjectRef { slug: slug.clone(), git_url: git_url.clone(), git_ref: None },
            title: title.filter(|title| !title.trim().is_empty()),
            mode: Some(session_mode(*mode)),
            model: model.as_ref().filter(|model| is_label(&model.provider)).map(model_choice),
            operating_mode: OperatingMode::Running,
            idle_timeout: None,
            class_name: None,
            workspace: None,
            drone: drone.map(str::to_owned),
        },
        status: None,
    }
}

/// A drone that works for no session yet.
pub(super) fn free_drone(name: &str, owner: &str, class: &str) -> DroneRegistration {
    DroneRegistration {
        metadata: metadata(name),
        spec: DroneRegistrationSpec {
            user: owner.to_owned(),
            chat_session: None,
            class_name: class.to_owned(),
            workspace: DroneWorkspace::default(),
            operating_mode: OperatingMode::Running,
        },
        status: None,
    }
}

/// Lets a pod run, whoever had suspended it.
pub(super) fn run() -> Value {
    json!({ "metadata": { "annotations": { names::SUSPENDED_FOR: null } }, "spec": { "operatingMode": "Running" } })
}

/// Suspends for lack of work.
pub(super) fn sleep() -> Value {
    json!({ "metadata": { "annotations": { names::SUSPENDED_FOR: names::IDLE } }, "spec": { "operatingMode": "Suspended" } })
}

/// Suspends for a person.
pub(super) fn stop() -> Value {
    json!({ "metadata": { "annotations": { names::SUSPENDED_FOR: null } }, "spec": { "operatingMode": "Suspended" } })
}

/// Takes the hub's mark off a resource that a person lets run again.
pub(super) fn unmark() -> Value {
    json!({ "metadata": { "annotations": { names::SUSPENDED_FOR: null } } })
}

fn metadata(name: &str) -> ObjectMeta {
    let labels = [(names::NAME, names::PRODUCT), (names::MANAGED_BY, names::HUB)];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    ObjectMeta { name: Some(name.to_owned()), labels: Some(BTreeMap::from(labels)), ..ObjectMeta::default() }
}

fn model_choice(model: &ModelFacts) -> ModelChoice {
    let ModelFacts { provider, name, effort } = model;
    ModelChoice {
        provider: provider.clone(),
        name: name.clone(),
        reasoning_effort: effort.map(|effort| match effort {
            ReasoningEffort::Off => ResourceEffort::Off,
            ReasoningEffort::Low => ResourceEffort::Low,
            ReasoningEffort::Medium => ResourceEffort::Medium,
            ReasoningEffort::High => ResourceEffort::High,
        }),
    }
}

fn session_mode(mode: ChatSessionMode) -> SessionMode {
    match mode {
        ChatSessionMode::Plan => SessionMode::Plan,
        ChatSessionMode::Build => SessionMode::Build,
        ChatSessionMode::Test => SessionMode::Test,
        ChatSessionMode::Ship => SessionMode::Ship,
        ChatSessionMode::Develop => SessionMode::Develop,
    }
}

/// The resource is stricter with the names of providers than the hub; a first value is no reason to refuse a session.
fn is_label(text: &str) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| inner(&byte))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> SessionFacts {
        SessionFacts {
            title: Some("Fix the login".into()),
            slug: "shop".into(),
            git_url: Some("https://git.example/shop.git".into()),
            mode: ChatSessionMode::Build,
            model: Some(ModelFacts { provider: "openai".into(), name: "gpt".into(), effort: None }),
        }
    }

    #[test]
    fn a_session_says_what_the_hub_knows_at_first() {
        let made = serde_json::to_value(session("01j", "ada", &facts(), None)).unwrap();
        let expected = json!({
            "apiVersion": "gadgetcode.dev/v1alpha1",
            "kind": "ChatSession",
            "metadata": {
                "name": "01j",
                "labels": { "app.kubernetes.io/managed-by": "gadget-hub", "app.kubernetes.io/name": "gadget" },
            },
            "spec": {
                "user": "ada",
                "project": { "slug": "shop", "gitUrl": "https://git.example/shop.git" },
                "title": "Fix the login",
                "mode": "build",
                "model": { "provider": "openai", "name": "gpt" },
                "operatingMode": "Running",
            },
        });
        assert_eq!(made, expected);
    }

    #[test]
    fn first_values_that_the_resource_cannot_hold_are_left_out() {
        let model = ModelFacts { provider: "My Provider".into(), name: "m".into(), effort: None };
        let odd = SessionFacts { title: Some("x".repeat(300)), model: Some(model), ..facts() };
        let spec = session("a", "ada", &odd, Some("mine")).spec;
        assert_eq!((spec.title.map(|title| title.len()), spec.model), (Some(200), None));
        assert_eq!(spec.drone.as_deref(), Some("mine"));
        let blank = SessionFacts { title: Some("  ".into()), ..facts() };
        assert_eq!(session("a", "ada", &blank, None).spec.title, None);
    }

    #[test]
    fn only_the_hub_s_own_suspending_leaves_its_mark() {
        let mark =
            |patch: &Value| patch.pointer("/metadata/annotations/gadgetcode.dev~1suspended-for").cloned();
        assert_eq!(mark(&sleep()), Some(json!("idle")));
        for patch in [run(), stop(), unmark()] {
            assert_eq!(mark(&patch), Some(Value::Null), "{patch}");
        }
    }
}

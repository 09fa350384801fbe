//! Events for people: `kubectl describe` shows them. Sent one after the other from a bounded queue, so that no reconcile
//! ever waits for one; when the queue is full, the event is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use tokio::sync::mpsc;

use crate::api::MANAGER;
use crate::index::Uid;
use crate::metrics::SharedMetrics;

/// How many may wait to be sent.
const WAITING: usize = 512;
/// The API server takes no longer note.
const LONGEST_NOTE: usize = 1000;

/// What happened to an object, in words for its owner, with what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub kind: NoteKind,
    /// One word, such as `OOMKilled`.
    pub reason: String,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    Normal,
    Warning,
}

impl Note {
    pub fn normal(reason: impl Into<String>, text: impl Into<String>) -> Self {
        Self { kind: NoteKind::Normal, reason: reason.into(), text: text.into() }
    }

    pub fn warning(reason: impl Into<String>, text: impl Into<String>) -> Self {
        Self { kind: NoteKind::Warning, reason: reason.into(), text: text.into() }
    }
}

/// The object that a note is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: Uid,
}

impl About {
    pub fn new<K: Resource<DynamicType = ()>>(name: &str, uid: &Uid) -> Self {
        Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            name: name.to_owned(),
            uid: Arc::clone(uid),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<(About, Note)>,
    metrics: SharedMetrics,
}

/// Sends what [`Events`] takes.
#[derive(Debug)]
pub struct Sender {
    queue: mpsc::Receiver<(About, Note)>,
    api: Api<Event>,
    namespace: String,
    instance: String,
    time_out: Duration,
    metrics: SharedMetrics,
}

impl Events {
    pub fn new(
        client: Client,
        namespace: &str,
        instance: &str,
        time_out: Duration,
        metrics: SharedMetrics,
    ) -> (Self, Sender) {
        let (queue, waiting) = mpsc::channel(WAITING);
        let sender = Sender {
            queue: waiting,
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            instance: instance.to_owned(),
            time_out,
            metrics: Arc::clone(&metrics),
        };
        (Self { queue, metrics }, sender)
    }

    pub fn tell(&self, about: &About, note: Note) {
        if self.queue.try_send((about.clone(), note)).is_err() {
            self.metrics.dropped_event();
        }
    }
}

impl Sender {
    /// Until the last [`Events`] is dropped.
    pub async fn run(mut self) {
        while let Some((about, note)) = self.queue.recv().await {
            let event = event(&about, note, &self.namespace, &self.instance, Timestamp::now());
            let params = PostParams::default();
            let sent = self.api.create(&params, &event);
            let error = match tokio::time::timeout(self.time_out, sent).await {
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the API server did not answer in time".to_owned(),
            };
            self.metrics.dropped_event();
            tracing::debug!(%error, kind = %about.kind, name = %about.name, "failed to send an event");
        }
    }
}

fn event(about: &About, note: Note, namespace: &str, instance: &str, now: Timestamp) -> Event {
    /// Several may be sent within one tick of the clock.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) & 0xfff;
    let name = format!("{}.{:x}{count:03x}", about.name, now.as_microsecond());
    let mut text = note.text;
    if text.len() > LONGEST_NOTE {
        let end = (0..LONGEST_NOTE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(MANAGER.to_owned()),
        reporting_instance: Some(instance.chars().take(128).collect()),
        action: Some("Reconcile".to_owned()),
        reason: Some(note.reason),
        note: Some(text),
        type_: Some(
            match note.kind {
                NoteKind::Normal => "Normal",
                NoteKind::Warning => "Warning",
            }
            .to_owned(),
        ),
        regarding: Some(ObjectReference {
            api_version: Some(about.api_version.clone()),
            kind: Some(about.kind.clone()),
            name: Some(about.name.clone()),
            namespace: Some(namespace.to_owned()),
            uid: Some(about.uid.to_string()),
            ..ObjectReference::default()
        }),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_what_the_api_server_asks_for() {
        let about = About {
            api_version: "gadgetcode.dev/v1alpha1".to_owned(),
            kind: "ChatSession".to_owned(),
            name: "fix-login".to_owned(),
            uid: "7".into(),
        };
        let note = Note::warning("OOMKilled", "ü".repeat(900));
        let event = event(&about, note, "drones", "operator-1", Timestamp::UNIX_EPOCH);
        assert!(event.metadata.name.is_some_and(|name| name.starts_with("fix-login.")));
        assert_eq!(event.regarding.and_then(|regarding| regarding.uid).as_deref(), Some("7"));
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert!(event.note.is_some_and(|note| note.len() <= LONGEST_NOTE));
        assert!(event.action.is_some() && event.reporting_controller.is_some() && event.event_time.is_some());
    }
}

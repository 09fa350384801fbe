//! Class `default` is made from the settings when it is missing, and follows them for as long as nobody has edited it.
//! An annotation says which settings it was made of: a class with other contents, or without it, is a person's.

use crds::{DroneClass, DroneClassSpec, names};
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::WriteError;
use crate::config::DEFAULT_CLASS;
use crate::events::{About, Note};
use crate::index::{Class, Name, Seen, Uid};
use crate::ledger::Made;
use crate::merge;
use crate::parts::Parts;
use crate::queue::Next;

#[derive(Debug, thiserror::Error)]
pub enum ClassError {
    #[error("failed to make the DroneClass {DEFAULT_CLASS}")]
    Make(#[source] WriteError),
    #[error("failed to bring the DroneClass {DEFAULT_CLASS} up to the settings")]
    Follow(#[source] WriteError),
    #[error("failed to compare the DroneClass {DEFAULT_CLASS} with the settings")]
    Compare(#[source] serde_json::Error),
}

pub async fn reconcile(parts: &Parts, name: &Name) -> Result<Next, ClassError> {
    let settings = parts.config.default_class.as_ref().filter(|_| &**name == DEFAULT_CLASS);
    match (parts.index.class(name), settings) {
        (Some(Seen::Good(class)), Some(settings)) => follow(parts, &class, settings).await,
        (None, Some(settings)) => make(parts, settings).await,
        (Some(Seen::Broken(broken)), _) => {
            let words = format!(
                "{}; mend it, or upgrade the operator; no pod is made from it until then",
                broken.error
            );
            tell_once(parts, name, &broken.uid, "Malformed", words);
            Ok(Next::OnChange)
        }
        (Some(Seen::Good(_)) | None, None) => Ok(Next::OnChange),
    }
}

async fn make(parts: &Parts, settings: &DroneClassSpec) -> Result<Next, ClassError> {
    match parts.api.create(&seed(settings)).await {
        Ok(_) => {
            tracing::info!(class = DEFAULT_CLASS, "made the class {DEFAULT_CLASS} from the settings");
            Ok(Next::OnChange)
        }
        // Somebody was faster.
        Err(WriteError::Conflict(_)) => Ok(Next::OnChange),
        Err(error) => Err(ClassError::Make(error)),
    }
}

/// Changes the class from the settings that it was made of to those of today.
async fn follow(parts: &Parts, class: &Class, settings: &DroneClassSpec) -> Result<Next, ClassError> {
    let today = settings.fingerprint();
    let Some(made_of) = class.made_of.as_deref().filter(|made_of| *made_of != today) else {
        return Ok(Next::OnChange);
    };
    if class.spec.fingerprint() != made_of {
        let words = "the settings have changed, but so has this class since it was made: it stays as it is; edit it, \
                     or delete it to have it made from the settings";
        tell_once(parts, &class.name, &class.uid, "NotFollowed", words.to_owned());
        return Ok(Next::OnChange);
    }
    let Some(spec) = merge::diff(&class.spec, settings).map_err(ClassError::Compare)? else {
        return Ok(Next::OnChange);
    };
    let patch = Patch {
        metadata: json!({
            // An edit in between must win.
            "uid": class.uid,
            "resourceVersion": class.version,
            "annotations": { names::SETTINGS: today },
        }),
        spec,
    };
    match parts.api.patch::<DroneClass>(&class.name, &patch).await {
        Ok(_) => {
            tracing::info!(class = DEFAULT_CLASS, "changed the class {DEFAULT_CLASS} as the settings have");
            Ok(Next::OnChange)
        }
        // The watch brings what is there now.
        Err(WriteError::Conflict(_) | WriteError::Gone) => Ok(Next::OnChange),
        Err(error) => Err(ClassError::Follow(error)),
    }
}

#[derive(Debug, Serialize)]
struct Patch {
    metadata: Value,
    spec: Value,
}

fn tell_once(parts: &Parts, name: &Name, uid: &Uid, reason: &str, words: String) {
    if !parts.ledger.is_news(Made::Class, name, uid, &words) {
        return;
    }
    tracing::warn!(class = %name, reason, "the class {name}: {words}");
    parts.ledger.reported(Made::Class, name, uid, &words);
    parts.events.tell(&About::new::<DroneClass>(name, uid), Note::warning(reason, words));
}

fn seed(settings: &DroneClassSpec) -> DroneClass {
    let mut class = DroneClass::new(DEFAULT_CLASS, settings.clone());
    class.metadata.labels = Some(
        [(names::NAME, names::PRODUCT), (names::MANAGED_BY, names::OPERATOR)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    );
    class.metadata.annotations = Some([(names::SETTINGS.to_owned(), settings.fingerprint())].into());
    class
}

//! Class `default` is made from the settings when it is missing. Classes are not changed otherwise.

use crds::{DroneClass, DroneClassSpec, names};

use crate::api::WriteError;
use crate::config::DEFAULT_CLASS;
use crate::events::{About, Note};
use crate::index::{Name, Seen};
use crate::ledger::Made;
use crate::parts::Parts;
use crate::queue::Next;

#[derive(Debug, thiserror::Error)]
#[error("failed to make the DroneClass {DEFAULT_CLASS}")]
pub struct SeedError(#[source] WriteError);

pub async fn reconcile(parts: &Parts, name: &Name) -> Result<Next, SeedError> {
    match parts.index.class(name) {
        Some(Seen::Good(_)) => return Ok(Next::OnChange),
        Some(Seen::Broken(broken)) => {
            if parts.ledger.is_news(Made::Class, name, &broken.uid, &broken.error) {
                tracing::warn!(class = %name, error = %broken.error, "the class {name} does not fit the schema");
                parts.ledger.reported(Made::Class, name, &broken.uid, &broken.error);
                let words = format!(
                    "{}; mend it, or upgrade the operator; no pod is made from it until then",
                    broken.error
                );
                parts
                    .events
                    .tell(&About::new::<DroneClass>(name, &broken.uid), Note::warning("Malformed", words));
            }
            return Ok(Next::OnChange);
        }
        None => {}
    }
    let Some(spec) = parts.config.default_class.as_ref().filter(|_| &**name == DEFAULT_CLASS) else {
        return Ok(Next::OnChange);
    };
    match parts.api.create(&seed(spec)).await {
        Ok(_) => {
            tracing::info!(class = DEFAULT_CLASS, "made the class {DEFAULT_CLASS} from the settings");
            Ok(Next::OnChange)
        }
        // Somebody was faster.
        Err(WriteError::Conflict(_)) => Ok(Next::OnChange),
        Err(error) => Err(SeedError(error)),
    }
}

fn seed(spec: &DroneClassSpec) -> DroneClass {
    let mut class = DroneClass::new(DEFAULT_CLASS, spec.clone());
    class.metadata.labels = Some(
        [(names::NAME, names::PRODUCT), (names::MANAGED_BY, names::OPERATOR)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    );
    class
}

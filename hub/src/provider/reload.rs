//! Reading anew what a hub has read once: records, keys from the environment and from files, and what providers offer.

use std::sync::Arc;

use futures_util::future::join_all;
use protocol::value::Sdk;
use schemars::JsonSchema;
use serde::Serialize;

use crate::provider::{Provider, Providers};
use crate::store::StoreError;

/// What has changed of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reloaded {
    pub name: String,
    /// Another key than before, or one where there was none.
    pub key_changed: bool,
    pub models_added: Vec<String>,
    pub models_removed: Vec<String>,
    /// Why its models cannot be asked for, which are left as they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Providers {
    /// Reads everything anew and asks providers that are switched on what they offer. Answers what is not as it was.
    pub async fn reload(&self) -> Result<Vec<Reloaded>, StoreError> {
        let records = self.store.providers().await?;
        let reloads = records.into_iter().map(|record| async {
            let name = record.name.clone();
            let before = self.get(&name);
            let now = self.remember(record);
            if now.record.sdk == Sdk::Demo || !now.record.enabled {
                return changes(before.as_deref(), &now, None);
            }
            match self.probe(&name).await {
                Ok(now) => changes(before.as_deref(), &now, None),
                Err(refusal) => changes(before.as_deref(), &now, Some(refusal.message)),
            }
        });
        let changed: Vec<Reloaded> = join_all(reloads).await.into_iter().flatten().collect();
        let there: Vec<String> =
            self.store.providers().await?.into_iter().map(|record| record.name).collect();
        self.known.write().retain(|name, _: &mut Arc<Provider>| there.contains(name));
        Ok(changed)
    }
}

fn changes(before: Option<&Provider>, now: &Provider, error: Option<String>) -> Option<Reloaded> {
    let offered = |provider: &Provider| -> Vec<String> {
        let models = provider.record.models.iter().filter(|model| !model.removed);
        models.map(|model| model.id.clone()).collect()
    };
    let (old, new) = (before.map(offered).unwrap_or_default(), offered(now));
    let lacking = |all: &[String], some: &[String]| -> Vec<String> {
        all.iter().filter(|id| !some.contains(id)).cloned().collect()
    };
    let reloaded = Reloaded {
        name: now.record.name.clone(),
        key_changed: before.is_none_or(|before| before.key != now.key),
        models_added: lacking(&new, &old),
        models_removed: lacking(&old, &new),
        error,
    };
    let Reloaded { name: _, key_changed, models_added, models_removed, error } = &reloaded;
    let same = !key_changed && models_added.is_empty() && models_removed.is_empty() && error.is_none();
    (!same).then_some(reloaded)
}

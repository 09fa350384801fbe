//! What the providers of the settings offer, asked at the start: nobody else would before a person does. A model server may
//! come up later than its hub.

use std::time::Duration;

use futures_util::future::join_all;

use crate::config::ProviderSetting;
use crate::provider::Providers;

/// Between two questions; each wait is twice the one before.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);

impl Providers {
    /// Ends when each of them has said what it offers, or is not wanted any more.
    pub async fn probe_first(&self, settings: &[ProviderSetting]) {
        join_all(settings.iter().map(|setting| self.probe_until_answered(&setting.name))).await;
    }

    async fn probe_until_answered(&self, name: &str) {
        let mut wait = SHORTEST_WAIT;
        // A person may switch it off or delete it meanwhile.
        while self.get(name).is_some_and(|provider| provider.record.enabled) {
            let Err(refusal) = self.probe(name).await else { return };
            tracing::warn!(provider = name, "{}; it is asked again in {} s", refusal.message, wait.as_secs());
            tokio::time::sleep(wait).await;
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }
}

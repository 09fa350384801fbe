//! Model providers: which there are, with which keys, what they offer, and which one a chat session uses.
//!
//! Records live in the store. What a model call needs of them (base URL, opened key) is kept ready in memory, so that
//! the proxy adds next to nothing to a call; whoever changes a record does it through [`Providers`], which keeps both
//! the same.

mod first_probe;
pub mod key;
pub mod probe;
mod reload;
mod routing;
pub mod select;
pub mod title;

pub use crate::provider::reload::Reloaded;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;
use protocol::document::{Capabilities, ChatSession, Model};
use protocol::drone::ModelTarget;
use protocol::error::{Code, Refusal};
use protocol::value::Sdk;
use scripted_model::{Pace, ScriptedModel, tour};
use url::Url;

use crate::auth::seal::Sealer;
use crate::config::{Demo, ModelChoice, ProviderSetting};
use crate::provider::key::ApiKey;
use crate::provider::probe::ProbeError;
use crate::store::{ProviderKey, ProviderModel, ProviderRecord, SharedStore, StoreError, refuse};

/// The name of the scripted provider.
pub const DEMO: &str = "demo";

/// A provider ready for calls.
#[derive(Clone, Debug)]
pub struct Provider {
    pub record: ProviderRecord,
    /// Absent for the demo provider, which is in this process.
    pub base_url: Option<Url>,
    /// What went wrong with the key, where it is not there: told to who calls.
    pub key: Result<Option<ApiKey>, String>,
}

/// All providers of this hub.
pub struct Providers {
    store: SharedStore,
    sealer: Sealer,
    client: reqwest::Client,
    demo: ScriptedModel,
    default_model: Option<ModelChoice>,
    /// Locked for a look-up or a replacement only, never across an await.
    known: RwLock<BTreeMap<String, Arc<Provider>>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ProvidersError {
    #[error("failed to read or write the providers in the store")]
    Store(#[source] StoreError),
    #[error("failed to make the HTTP client for model calls")]
    Client(#[source] reqwest::Error),
}

impl Providers {
    /// Reads the providers from the store, after the ones named at the start were written to it.
    pub async fn load(
        store: SharedStore,
        sealer: Sealer,
        settings: &[ProviderSetting],
        demo: Demo,
        default_model: Option<ModelChoice>,
    ) -> Result<Self, ProvidersError> {
        let providers = Self {
            store,
            sealer,
            client: http_client().map_err(ProvidersError::Client)?,
            demo: ScriptedModel::tour(Pace::TYPING),
            default_model,
            known: RwLock::default(),
        };
        for setting in settings {
            providers.take_setting(setting).await.map_err(ProvidersError::Store)?;
        }
        providers.take_demo(demo).await.map_err(ProvidersError::Store)?;
        for record in providers.store.providers().await.map_err(ProvidersError::Store)? {
            providers.remember(record);
        }
        Ok(providers)
    }

    /// One connection pool for all calls to providers.
    pub fn http(&self) -> &reqwest::Client {
        &self.client
    }

    /// The scripted model behind the demo provider.
    pub fn demo(&self) -> &ScriptedModel {
        &self.demo
    }

    pub fn get(&self, name: &str) -> Option<Arc<Provider>> {
        self.known.read().get(name).cloned()
    }

    /// In the order of their names.
    pub fn list(&self) -> Vec<Arc<Provider>> {
        self.known.read().values().cloned().collect()
    }

    /// What people may choose from.
    pub fn models(&self) -> Vec<Model> {
        self.list()
            .iter()
            .filter(|provider| provider.record.enabled)
            .flat_map(|provider| provider.record.models.iter().map(|model| (&provider.record, model)))
            .filter(|(_, model)| !model.removed)
            .map(|(record, model)| Model {
                provider: record.name.clone(),
                id: model.id.clone(),
                name: model.name.clone(),
                capabilities: model.capabilities,
                context_window: model.context_window,
                simulated: record.sdk == Sdk::Demo,
            })
            .collect()
    }

    /// Stores a provider, new or changed.
    pub async fn put(&self, record: ProviderRecord) -> Result<Arc<Provider>, StoreError> {
        self.store.put_provider(record.clone()).await?;
        Ok(self.remember(record))
    }

    pub async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.store.delete_provider(name).await?;
        self.known.write().remove(name);
        Ok(())
    }

    /// Seals a key that a person typed in.
    pub fn seal(&self, provider: &str, key: &str) -> Result<ProviderKey, Refusal> {
        key::seal(&self.sealer, provider, key)
            .map_err(|error| Refusal::new(Code::Internal, error.to_string()))
    }

    /// Asks the provider what it offers and stores the answer. Models that are gone stay, marked.
    pub async fn probe(&self, name: &str) -> Result<Arc<Provider>, Refusal> {
        let provider = self
            .get(name)
            .ok_or_else(|| Refusal::new(Code::NotFound, format!("there is no provider {name:?}")))?;
        let mut record = provider.record.clone();
        record.probed_at = Some(Timestamp::now());
        let failure = match self.ask_models(&provider).await {
            Ok(found) => {
                record.models = probe::merge(&record.models, found);
                record.probe_error = None;
                None
            }
            Err(error) => {
                record.probe_error = Some(error.to_string());
                Some(error)
            }
        };
        let stored = self.put(record).await.map_err(refuse)?;
        match failure {
            None => Ok(stored),
            Some(error) => Err(Refusal::new(Code::NoModel, format!("provider {name}: {error}"))),
        }
    }

    async fn ask_models(&self, provider: &Provider) -> Result<Vec<ProviderModel>, ProbeError> {
        let Some(base_url) = &provider.base_url else { return Ok(vec![demo_model()]) };
        let key = provider.key.as_ref().map_err(|why| ProbeError::Key(why.clone()))?.as_ref();
        probe::models(&self.client, provider.record.sdk, base_url, key).await
    }

    /// The model that a turn with this prompt would use now.
    pub async fn resolve(&self, session: &ChatSession, prompt: &str) -> Result<ModelTarget, Refusal> {
        let preferences = self.store.preferences(&session.user).await.map_err(refuse)?;
        let rules = self.store.routing_rules().await.map_err(refuse)?;
        let user = self.store.user(&session.user).await.map_err(refuse)?;
        let has = user.map(|record| record.user.roles).unwrap_or_default();
        let asked = routing::Asked { roles: &has, project: &session.project, mode: session.mode, prompt };
        let wish = select::Wish {
            session: session
                .provider
                .as_deref()
                .map(|provider| (provider, session.selected_model.as_deref())),
            rules: routing::choices(&rules, asked),
            preference: select::preference(&preferences),
            default: self
                .default_model
                .as_ref()
                .map(|choice| (choice.provider.as_str(), choice.model.as_deref())),
        };
        let providers = self.list();
        let records: Vec<&ProviderRecord> = providers.iter().map(|provider| &provider.record).collect();
        select::choose(&records, &wish)
    }

    fn remember(&self, record: ProviderRecord) -> Arc<Provider> {
        let base_url = record.base_url.as_deref().and_then(|text| Url::parse(text).ok());
        let key = key::open(&self.sealer, &record.name, &record.key).map_err(|error| error.to_string());
        let provider = Arc::new(Provider { record, base_url, key });
        self.known.write().insert(provider.record.name.clone(), Arc::clone(&provider));
        provider
    }

    async fn take_setting(&self, setting: &ProviderSetting) -> Result<(), StoreError> {
        let ProviderSetting { name, sdk, base_url, key } = setting;
        let before = self.store.provider(name).await?;
        let models = before.as_ref().map(|record| record.models.clone()).unwrap_or_default();
        let record = ProviderRecord {
            name: name.clone(),
            sdk: *sdk,
            base_url: Some(base_url.to_string()),
            key: key.clone(),
            enabled: true,
            models,
            created_at: before.as_ref().map_or_else(Timestamp::now, |record| record.created_at),
            probed_at: before.as_ref().and_then(|record| record.probed_at),
            probe_error: None,
        };
        self.store.put_provider(record).await
    }

    async fn take_demo(&self, demo: Demo) -> Result<(), StoreError> {
        match (demo, self.store.provider(DEMO).await?) {
            (Demo::On, None) => {
                let record = ProviderRecord {
                    name: DEMO.to_owned(),
                    sdk: Sdk::Demo,
                    base_url: None,
                    key: ProviderKey::None,
                    enabled: true,
                    models: vec![demo_model()],
                    created_at: Timestamp::now(),
                    probed_at: None,
                    probe_error: None,
                };
                self.store.put_provider(record).await
            }
            (Demo::On, Some(_)) | (Demo::Off, None) => Ok(()),
            (Demo::Off, Some(record)) => {
                self.store.put_provider(ProviderRecord { enabled: false, ..record }).await
            }
        }
    }
}

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Providers")
            .field("names", &self.known.read().keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

fn demo_model() -> ProviderModel {
    ProviderModel {
        id: tour::MODEL.to_owned(),
        name: tour::LABEL.to_owned(),
        capabilities: Capabilities { thinking: true, tools: true, vision: false },
        context_window: Some(128_000),
        max_output_tokens: None,
        removed: false,
    }
}

fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    // Another part of the program may have chosen a TLS implementation first, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_mins(1))
        .tcp_nodelay(true)
        // A provider that sends a call elsewhere would be sent the key there as well.
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

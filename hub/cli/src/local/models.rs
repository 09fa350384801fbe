//! Which model the start uses: the one that was asked for, one that is configured, or the demo tour.

use std::time::Duration;

use anyhow::{bail, ensure};
use hub::config::{ModelChoice, ProviderSetting};
use hub::provider::Providers;
use hub::store::{ProviderKey, ProviderRecord};
use protocol::value::Sdk;
use url::Url;

/// What the command line says about models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    pub providers: Vec<ProviderSetting>,
    pub model: Option<String>,
}

/// What the first session uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChosenModel {
    Real {
        provider: String,
        model: Option<String>,
    },
    /// Nothing is configured: a scripted tour over a toy repository.
    Demo,
    /// Nothing is configured, and the tour does not fit a repository of the user's own.
    None,
}

/// How long a start waits for a model server to say what it has.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

const HOW_TO: &str = concat!(
    "  gadget local --ollama http://127.0.0.1:11434\n",
    "  gadget local --openai https://api.openai.com/v1 --key-env OPENAI_API_KEY",
);

impl Wishes {
    pub(super) fn new(
        openai: Option<Url>,
        key_env: Option<String>,
        ollama: Option<Url>,
        model: Option<String>,
    ) -> anyhow::Result<Self> {
        if let Some(name) = &key_env {
            let held = std::env::var_os(name).is_some_and(|key| !key.is_empty());
            ensure!(
                held,
                "the environment variable {name} is not set: put the key into it, or leave --key-env out"
            );
        }
        let key = key_env.map_or(ProviderKey::None, |name| ProviderKey::Environment { name });
        let setting =
            |name: &str, sdk, base_url, key| ProviderSetting { name: name.to_owned(), sdk, base_url, key };
        let openai = openai.map(|url| setting("openai", Sdk::OpenAi, url, key));
        let ollama = ollama.map(|url| setting("ollama", Sdk::Ollama, url, ProviderKey::None));
        for setting in openai.iter().chain(&ollama) {
            let url = &setting.base_url;
            ensure!(
                matches!(url.scheme(), "http" | "https") && url.has_host(),
                "{url} is not an address of a model server: it must begin with http:// or https://"
            );
        }
        Ok(Self { providers: openai.into_iter().chain(ollama).collect(), model })
    }

    /// What sessions get that choose nothing.
    pub(super) fn default_model(&self) -> Option<ModelChoice> {
        let provider = self.providers.first()?.name.clone();
        Some(ModelChoice { provider, model: self.model.clone() })
    }
}

/// Asks the providers of the command line what models they have. What went wrong is a warning: a model server may be
/// started later.
pub(super) async fn look(providers: &Providers, wishes: &Wishes) -> Vec<String> {
    let mut warnings = Vec::new();
    for ProviderSetting { name, base_url, .. } in &wishes.providers {
        match tokio::time::timeout(LOOK_TIMEOUT, providers.probe(name)).await {
            Ok(Ok(_)) => {}
            Ok(Err(refusal)) => warnings.push(refusal.message),
            Err(_) => warnings.push(format!("{name} at {base_url} did not say in time which models it has")),
        }
    }
    warnings
}

/// `stored` are the providers that the store knows, those of the command line among them.
pub(super) fn choose(
    wishes: &Wishes,
    stored: &[ProviderRecord],
    own_project: bool,
) -> anyhow::Result<ChosenModel> {
    if let Some(ModelChoice { provider, model }) = wishes.default_model() {
        return Ok(ChosenModel::Real { provider, model });
    }
    let mut real = stored.iter().filter(|provider| provider.enabled && provider.sdk != Sdk::Demo);
    match &wishes.model {
        Some(model) => {
            let has =
                |provider: &&ProviderRecord| provider.models.iter().any(|m| m.id == *model && !m.removed);
            let Some(provider) = real.find(has) else {
                bail!(
                    "no configured provider has a model {model:?}: name one with --ollama URL or --openai URL"
                )
            };
            Ok(ChosenModel::Real { provider: provider.name.clone(), model: Some(model.clone()) })
        }
        None => Ok(match real.next() {
            Some(provider) => ChosenModel::Real { provider: provider.name.clone(), model: None },
            None if own_project => ChosenModel::None,
            None => ChosenModel::Demo,
        }),
    }
}

impl ChosenModel {
    pub(super) fn label(&self, stored: &[ProviderRecord]) -> String {
        match self {
            Self::Real { provider, model } => {
                let record = stored.iter().find(|record| record.name == *provider);
                let first = || record?.models.iter().find(|m| !m.removed).map(|m| m.id.clone());
                match model.clone().or_else(first) {
                    Some(model) => format!("{model} ({provider})"),
                    None => format!("none known of {provider}"),
                }
            }
            Self::Demo => scripted_model::tour::LABEL.to_owned(),
            Self::None => "none".to_owned(),
        }
    }

    /// What to do about a model that is none.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Real { .. } => None,
            Self::Demo => Some(format!(
                "No model is configured, so this is the demo tour: scripted, no AI. Use a real model:\n{HOW_TO}"
            )),
            Self::None => {
                Some(format!("No model is configured: prompts are refused until there is one.\n{HOW_TO}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hub::store::ProviderModel;

    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn wishes(ollama: Option<Url>, model: Option<&str>) -> Wishes {
        Wishes::new(None, None, ollama, model.map(str::to_owned)).unwrap()
    }

    fn stored(name: &str, sdk: Sdk, enabled: bool) -> ProviderRecord {
        let model = ProviderModel {
            id: format!("{name}-1"),
            name: name.to_owned(),
            capabilities: protocol::document::Capabilities::default(),
            context_window: None,
            max_output_tokens: None,
            removed: false,
        };
        ProviderRecord {
            name: name.to_owned(),
            sdk,
            base_url: None,
            key: ProviderKey::None,
            enabled,
            models: vec![model],
            created_at: jiff::Timestamp::UNIX_EPOCH,
            probed_at: None,
            probe_error: None,
        }
    }

    fn real(provider: &str, model: Option<&str>) -> ChosenModel {
        ChosenModel::Real { provider: provider.to_owned(), model: model.map(str::to_owned) }
    }

    #[test]
    fn what_is_asked_for_wins_over_what_is_configured() {
        let configured = [stored("lab", Sdk::OpenAi, true)];
        let asked = wishes(Some(url("http://127.0.0.1:11434")), Some("qwen3"));
        assert_eq!(choose(&asked, &configured, false).unwrap(), real("ollama", Some("qwen3")));
        assert_eq!(choose(&wishes(None, None), &configured, false).unwrap(), real("lab", None));
        assert_eq!(
            choose(&wishes(None, Some("lab-1")), &configured, false).unwrap(),
            real("lab", Some("lab-1"))
        );
        assert!(choose(&wishes(None, Some("other")), &configured, false).is_err());
    }

    #[test]
    fn the_demo_is_never_chosen_beside_a_real_model_or_for_an_own_project() {
        let demo = stored("demo", Sdk::Demo, true);
        let off = stored("lab", Sdk::OpenAi, false);
        assert_eq!(
            choose(&wishes(None, None), &[demo.clone(), off.clone()], false).unwrap(),
            ChosenModel::Demo
        );
        assert_eq!(choose(&wishes(None, None), &[demo, off], true).unwrap(), ChosenModel::None);
    }

    #[test]
    fn the_model_is_named_also_where_the_provider_chooses_it() {
        let lab = [stored("lab", Sdk::OpenAi, true)];
        assert_eq!(real("lab", None).label(&lab), "lab-1 (lab)");
        assert_eq!(real("lab", Some("big")).label(&lab), "big (lab)");
        assert_eq!(real("ollama", None).label(&lab), "none known of ollama");
    }

    #[test]
    fn a_key_that_is_not_there_is_said_before_anything_starts() {
        let error = Wishes::new(Some(url("http://h/v1")), Some("GADGET_TEST_NO_SUCH_KEY".into()), None, None)
            .unwrap_err();
        assert!(error.to_string().contains("GADGET_TEST_NO_SUCH_KEY is not set"), "{error}");
    }

    #[test]
    fn an_address_that_is_none_of_a_server_is_refused() {
        assert!(Wishes::new(None, None, Some(url("file:///models")), None).is_err());
    }
}

//! `/providers`: where models come from (administrators); `/models`: what everybody may choose from.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use jiff::Timestamp;
use protocol::document::{Capabilities, Model};
use protocol::error::{Code, Refusal};
use protocol::value::Sdk;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::app::SharedApp;
use crate::http::audit;
use crate::http::extract::{Administrator, JsonBody, List, Signed};
use crate::http::problem::Problem;
use crate::provider::{DEMO, Provider};
use crate::store::{ProviderKey, ProviderModel, ProviderRecord};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewProvider {
    /// A short name of your choice.
    name: String,
    sdk: Sdk,
    /// For OpenAI and its like up to and with `/v1`; for Ollama the address alone.
    base_url: String,
    /// The key itself: sealed at once, never shown again.
    #[serde(default)]
    api_key: Option<String>,
    /// Or the name of an environment variable of the hub that holds it.
    #[serde(default)]
    key_env: Option<String>,
    /// Or the path of a file that holds it, as the hub sees it.
    #[serde(default)]
    key_file: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProviderChange {
    #[serde(default)]
    base_url: Option<String>,
    #[serde(default)]
    api_key: Option<String>,
    #[serde(default)]
    key_env: Option<String>,
    #[serde(default)]
    key_file: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
}

/// A provider without its key.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ShownProvider {
    name: String,
    sdk: Sdk,
    base_url: Option<String>,
    /// Where its key comes from: `none`, `environment`, `file`, `sealed`.
    key: &'static str,
    /// What is wrong with the key.
    key_error: Option<String>,
    enabled: bool,
    models: Vec<ShownModel>,
    #[schemars(with = "String")]
    created_at: Timestamp,
    #[schemars(with = "Option<String>")]
    probed_at: Option<Timestamp>,
    probe_error: Option<String>,
    /// Scripted, no AI.
    simulated: bool,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ShownModel {
    id: String,
    name: String,
    capabilities: Capabilities,
    context_window: Option<u64>,
    /// Gone from the provider.
    removed: bool,
}

pub(super) fn routes() -> ApiRouter<SharedApp> {
    ApiRouter::new()
        .api_route("/models", get_with(models, |op| op.tag("models").summary("Models to choose from")))
        .api_route(
            "/providers",
            get_with(list, |op| op.tag("providers").summary("All providers (administrators)"))
                .post_with(create, |op| op.tag("providers").summary("Add a provider (administrators)")),
        )
        .api_route(
            "/providers/{name}",
            get_with(show, |op| op.tag("providers").summary("One provider (administrators)"))
                .patch_with(change, |op| op.tag("providers").summary("Change a provider (administrators)"))
                .delete_with(remove, |op| op.tag("providers").summary("Remove a provider (administrators)")),
        )
        .api_route(
            "/providers/{name}/probe",
            post_with(probe, |op| op.tag("providers").summary("Find a provider's models (administrators)")),
        )
}

async fn models(State(app): State<SharedApp>, Signed(_): Signed) -> Json<List<Model>> {
    Json(List::whole(app.providers.models()))
}

async fn list(State(app): State<SharedApp>, Administrator(_): Administrator) -> Json<List<ShownProvider>> {
    Json(List::whole(app.providers.list().iter().map(|provider| shown(provider)).collect()))
}

async fn show(
    State(app): State<SharedApp>,
    Administrator(_): Administrator,
    Path(name): Path<String>,
) -> Result<Json<ShownProvider>, Problem> {
    Ok(Json(shown(&*find(&app, &name)?)))
}

async fn create(
    State(app): State<SharedApp>,
    Administrator(who): Administrator,
    JsonBody(new): JsonBody<NewProvider>,
) -> Result<(StatusCode, Json<ShownProvider>), Problem> {
    let NewProvider { name, sdk, base_url, api_key, key_env, key_file } = new;
    check_name(&name)?;
    check_sdk(sdk)?;
    if app.providers.get(&name).is_some() {
        return Err(Refusal::new(Code::Conflict, format!("there is a provider {name:?} already")).into());
    }
    let record = ProviderRecord {
        key: key(&app, &name, Keys { api_key, key_env, key_file })?.unwrap_or(ProviderKey::None),
        base_url: Some(checked_url(&base_url)?),
        name,
        sdk,
        enabled: true,
        models: Vec::new(),
        created_at: Timestamp::now(),
        probed_at: None,
        probe_error: None,
    };
    let provider = app.providers.put(record).await?;
    audit::write(&app, &who, "provider.create", &provider.record.name).await?;
    Ok((StatusCode::CREATED, Json(shown(&provider))))
}

async fn change(
    State(app): State<SharedApp>,
    Administrator(who): Administrator,
    Path(name): Path<String>,
    JsonBody(change): JsonBody<ProviderChange>,
) -> Result<Json<ShownProvider>, Problem> {
    let mut record = find(&app, &name)?.record.clone();
    let ProviderChange { base_url, api_key, key_env, key_file, enabled } = change;
    let new_key = key(&app, &name, Keys { api_key, key_env, key_file })?;
    if let Some(base_url) = base_url {
        let base_url = Some(checked_url(&base_url)?);
        // A key goes to the server that it was given for, and to no other.
        if base_url != record.base_url && new_key.is_none() && record.key != ProviderKey::None {
            return Err(Problem::invalid("baseUrl: a changed address needs the key again beside it"));
        }
        record.base_url = base_url;
    }
    if let Some(key) = new_key {
        record.key = key;
    }
    if let Some(enabled) = enabled {
        record.enabled = enabled;
    }
    let provider = app.providers.put(record).await?;
    audit::write(&app, &who, "provider.change", &name).await?;
    Ok(Json(shown(&provider)))
}

async fn remove(
    State(app): State<SharedApp>,
    Administrator(who): Administrator,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    find(&app, &name)?;
    app.providers.delete(&name).await?;
    audit::write(&app, &who, "provider.remove", &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn probe(
    State(app): State<SharedApp>,
    Administrator(_): Administrator,
    Path(name): Path<String>,
) -> Result<Json<ShownProvider>, Problem> {
    Ok(Json(shown(&*app.providers.probe(&name).await?)))
}

fn find(app: &SharedApp, name: &str) -> Result<std::sync::Arc<Provider>, Problem> {
    let found = app.providers.get(name);
    Ok(found.ok_or_else(|| Refusal::new(Code::NotFound, format!("there is no provider {name:?}")))?)
}

fn shown(provider: &Provider) -> ShownProvider {
    let Provider { record, base_url: _, key } = provider;
    let ProviderRecord {
        name,
        sdk,
        base_url,
        key: place,
        enabled,
        models,
        created_at,
        probed_at,
        probe_error,
    } = record.clone();
    ShownProvider {
        name,
        sdk,
        base_url,
        key: match place {
            ProviderKey::None => "none",
            ProviderKey::Environment { .. } => "environment",
            ProviderKey::File { .. } => "file",
            ProviderKey::Sealed { .. } => "sealed",
        },
        key_error: key.as_ref().err().cloned(),
        enabled,
        models: models
            .into_iter()
            .map(|model| {
                let ProviderModel { id, name, capabilities, context_window, max_output_tokens: _, removed } =
                    model;
                ShownModel { id, name, capabilities, context_window, removed }
            })
            .collect(),
        created_at,
        probed_at,
        probe_error,
        simulated: sdk == Sdk::Demo,
    }
}

fn check_name(name: &str) -> Result<(), Problem> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=63).contains(&name.len()) && name.chars().all(fits) && name != DEMO && !name.starts_with('.') {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "name: must be 1 to 63 letters, digits, dashes, dots or underscores, and not {DEMO:?}"
    )))
}

fn check_sdk(sdk: Sdk) -> Result<(), Problem> {
    match sdk {
        Sdk::OpenAi | Sdk::Ollama => Ok(()),
        Sdk::Anthropic | Sdk::Demo => Err(Problem::invalid(
            "sdk: must be openai or ollama; many other servers speak one of the two as well",
        )),
    }
}

fn checked_url(text: &str) -> Result<String, Problem> {
    match Url::parse(text.trim()) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() && url.password().is_none() => {
            Ok(url.to_string())
        }
        _ => Err(Problem::invalid("baseUrl: must be an http or https URL without a password in it")),
    }
}

struct Keys {
    api_key: Option<String>,
    key_env: Option<String>,
    key_file: Option<String>,
}

fn key(app: &SharedApp, provider: &str, keys: Keys) -> Result<Option<ProviderKey>, Problem> {
    match keys {
        Keys { api_key: None, key_env: None, key_file: None } => Ok(None),
        Keys { api_key: Some(key), key_env: None, key_file: None } => {
            Ok(Some(app.providers.seal(provider, &key)?))
        }
        Keys { api_key: None, key_env: Some(name), key_file: None } => {
            Ok(Some(ProviderKey::Environment { name }))
        }
        Keys { api_key: None, key_env: None, key_file: Some(path) } => Ok(Some(ProviderKey::File { path })),
        _ => Err(Problem::invalid("apiKey, keyEnv, keyFile: give one of them")),
    }
}

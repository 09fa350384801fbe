//! What a provider offers: its models, and what they can do, as far as it says.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use protocol::document::Capabilities;
use protocol::value::Sdk;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use crate::provider::key::ApiKey;
use crate::store::ProviderModel;

/// For one question.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one answer.
const MOST: usize = 4 * 1024 * 1024;
/// Tokens that an Ollama model is told to hold unless its own file says otherwise. Ollama reserves memory for all of
/// them when it loads the model, and the largest window that a model allows fits few machines.
const OLLAMA_WINDOW: u64 = 32 * 1024;
/// Models that are looked at in detail.
const MOST_MODELS: usize = 500;

#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("{0}")]
    Key(String),
    #[error("{url} cannot be reached: {why}; check the address, and that something listens there")]
    Unreachable { url: Url, why: String },
    #[error("{url} refuses the key (status {status}); check the key")]
    KeyRefused { url: Url, status: u16 },
    #[error("{url} answers with status {status}; check the base URL (for OpenAI it ends in /v1)")]
    Status { url: Url, status: u16 },
    #[error("{url} answers with something else than a list of models: {why}")]
    Malformed { url: Url, why: String },
    #[error("providers of this kind cannot be used yet")]
    Unsupported,
}

/// Asks the provider for its models.
pub(super) async fn models(
    client: &reqwest::Client,
    sdk: Sdk,
    base_url: &Url,
    key: Option<&ApiKey>,
) -> Result<Vec<ProviderModel>, ProbeError> {
    match sdk {
        Sdk::OpenAi => openai(client, base_url, key).await,
        Sdk::Ollama => ollama(client, base_url, key).await,
        Sdk::Anthropic | Sdk::Demo => Err(ProbeError::Unsupported),
    }
}

/// What was known and what is found now. A model that is gone stays, marked, so that old turns still name it.
pub(super) fn merge(known: &[ProviderModel], found: Vec<ProviderModel>) -> Vec<ProviderModel> {
    let gone: Vec<ProviderModel> = known
        .iter()
        .filter(|model| found.iter().all(|found| found.id != model.id))
        .map(|model| ProviderModel { removed: true, ..model.clone() })
        .collect();
    found.into_iter().chain(gone).collect()
}

async fn openai(
    client: &reqwest::Client,
    base_url: &Url,
    key: Option<&ApiKey>,
) -> Result<Vec<ProviderModel>, ProbeError> {
    /// Servers other than the first of their kind add what they know.
    #[derive(Deserialize)]
    struct Entry {
        id: String,
        #[serde(default, alias = "context_length", alias = "max_model_len")]
        context_window: Option<u64>,
        #[serde(default)]
        supported_parameters: Option<Vec<String>>,
    }
    #[derive(Deserialize)]
    struct List {
        data: Vec<Entry>,
    }
    let url = below(base_url, &["models"]);
    let List { data } = ask(client.get(url.clone()), &url, key).await?;
    let mut models: Vec<ProviderModel> = data
        .into_iter()
        .take(MOST_MODELS)
        .map(|Entry { id, context_window, supported_parameters }| {
            let has =
                |name: &str| supported_parameters.as_ref().map(|list| list.iter().any(|entry| entry == name));
            ProviderModel {
                capabilities: Capabilities {
                    thinking: has("reasoning").unwrap_or_else(|| name_says_thinking(&id)),
                    tools: has("tools").unwrap_or(true),
                    vision: false,
                },
                name: id.clone(),
                id,
                context_window,
                max_output_tokens: None,
                removed: false,
            }
        })
        .collect();
    models.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(models)
}

/// The list of OpenAI itself says nothing of capabilities; its families that think are known by their names.
fn name_says_thinking(id: &str) -> bool {
    let id = id.rsplit('/').next().unwrap_or(id);
    ["o1", "o3", "o4", "gpt-5"].iter().any(|family| id.starts_with(family))
}

async fn ollama(
    client: &reqwest::Client,
    base_url: &Url,
    key: Option<&ApiKey>,
) -> Result<Vec<ProviderModel>, ProbeError> {
    #[derive(Deserialize)]
    struct Tag {
        name: String,
    }
    #[derive(Deserialize)]
    struct Tags {
        models: Vec<Tag>,
    }
    let url = below(base_url, &["api", "tags"]);
    let Tags { models } = ask(client.get(url.clone()), &url, key).await?;
    let show = below(base_url, &["api", "show"]);
    let mut found: Vec<ProviderModel> = stream::iter(models.into_iter().take(MOST_MODELS))
        .map(|Tag { name }| {
            let show = show.clone();
            async move {
                let question = client.post(show.clone()).json(&json!({ "model": name }));
                // A model whose details cannot be had is still there.
                let details: Value = ask(question, &show, key).await.unwrap_or(Value::Null);
                ollama_model(name, &details)
            }
        })
        .buffer_unordered(4)
        .collect()
        .await;
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

fn ollama_model(name: String, details: &Value) -> ProviderModel {
    let can = |what: &str| {
        details["capabilities"]
            .as_array()
            .is_some_and(|list| list.iter().any(|capability| capability == what))
    };
    ProviderModel {
        id: name.clone(),
        name,
        capabilities: Capabilities { thinking: can("thinking"), tools: can("tools"), vision: can("vision") },
        context_window: ollama_window(details),
        max_output_tokens: None,
        removed: false,
    }
}

fn ollama_window(details: &Value) -> Option<u64> {
    let own = details["parameters"].as_str().and_then(|parameters| {
        parameters.lines().find_map(|line| line.trim().strip_prefix("num_ctx")?.trim().parse().ok())
    });
    let largest = details["model_info"].as_object().and_then(|info| {
        info.iter().find(|(key, _)| key.ends_with(".context_length")).and_then(|(_, value)| value.as_u64())
    });
    own.or_else(|| largest.map(|largest| largest.min(OLLAMA_WINDOW)))
}

async fn ask<T: DeserializeOwned>(
    request: reqwest::RequestBuilder,
    url: &Url,
    key: Option<&ApiKey>,
) -> Result<T, ProbeError> {
    let request = match key {
        Some(key) => request.header(http::header::AUTHORIZATION, key.bearer()),
        None => request,
    };
    let unreachable =
        |error: reqwest::Error| ProbeError::Unreachable { url: url.clone(), why: cause(&error) };
    let response = request.timeout(TIMEOUT).send().await.map_err(unreachable)?;
    let status = response.status().as_u16();
    match status {
        200..=299 => {}
        401 | 403 => return Err(ProbeError::KeyRefused { url: url.clone(), status }),
        _ => return Err(ProbeError::Status { url: url.clone(), status }),
    }
    let malformed = |why: String| ProbeError::Malformed { url: url.clone(), why };
    let mut body = Vec::new();
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        body.extend_from_slice(&piece.map_err(unreachable)?);
        if body.len() > MOST {
            return Err(malformed("it is too long".to_owned()));
        }
    }
    serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))
}

/// The innermost cause: "connection refused" helps, "error sending request" does not.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// `base_url` with path segments after its own.
pub fn below(base_url: &Url, segments: &[&str]) -> Url {
    let mut url = base_url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

#[cfg(test)]
mod tests;

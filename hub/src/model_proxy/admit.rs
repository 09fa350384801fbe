//! Whether a drone may make this call. Nothing is sent before.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use protocol::drone::ModelTarget;
use protocol::error::{Code, Refusal};
use protocol::value::Dialect;
use serde::Deserialize;

use crate::app::SharedApp;
use crate::auth::DroneSession;
use crate::model_proxy::refusal::ProxyRefusal;
use crate::provider::Provider;
use crate::store::refuse;

/// A call that may be made.
pub(super) struct AdmittedCall {
    pub(super) provider: Arc<Provider>,
    /// Below the provider's base URL.
    pub(super) path: &'static [&'static str],
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The part of a request's body that decides. A key that stands there twice is refused by the parser.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
}

pub(super) async fn admit(
    app: &SharedApp,
    provider: &str,
    path: &str,
    request: Request,
) -> Result<AdmittedCall, ProxyRefusal> {
    let (head, body) = request.into_parts();
    let who = live_drone(app, &head.headers).await.map_err(ProxyRefusal::Who)?;
    let body = read(body, app.config.limits.model_body).await?;
    let asked: Asked<'_> = serde_json::from_slice(&body)
        .map_err(|error| ProxyRefusal::Malformed(format!("the body is no request for a model: {error}")))?;
    let turn = app
        .store
        .processing_turn(&who.session)
        .await
        .map_err(|error| ProxyRefusal::Store(refuse(error)))?
        .ok_or_else(|| ProxyRefusal::NotAllowed("no turn is running in this session".to_owned()))?;
    check(&turn.model, provider, &asked.model)?;
    let path = allowed_path(turn.model.dialect, path)?;
    let provider =
        app.providers.get(provider).filter(|provider| provider.record.enabled).ok_or_else(|| {
            ProxyRefusal::NotAllowed(format!("the provider {provider:?} is gone or switched off"))
        })?;
    Ok(AdmittedCall { provider, path, headers: head.headers, body })
}

/// The token's drone, if it is the one that is connected now: an older one of the same registration is shut out.
pub(crate) async fn live_drone(app: &SharedApp, headers: &HeaderMap) -> Result<DroneSession, Refusal> {
    let token = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| Refusal::new(Code::Unauthorized, "a session token is needed"))?;
    let who = app.auth.verify_drone_session(token)?;
    let current = app.generations.current(&who.drone, app.store.as_ref()).await.map_err(refuse)?;
    if current == Some(who.generation) {
        Ok(who)
    } else {
        Err(Refusal::new(Code::Superseded, "a newer connection of this drone has taken over"))
    }
}

async fn read(body: Body, most: usize) -> Result<Bytes, ProxyRefusal> {
    to_bytes(body, most).await.map_err(|error| {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        if cause.is::<http_body_util::LengthLimitError>() {
            ProxyRefusal::TooLarge { most }
        } else {
            ProxyRefusal::Malformed(format!("the body broke off: {cause}"))
        }
    })
}

fn check(turn: &ModelTarget, provider: &str, model: &str) -> Result<(), ProxyRefusal> {
    if turn.provider == provider && turn.model == model {
        return Ok(());
    }
    Err(ProxyRefusal::NotAllowed(format!(
        "this turn uses {}/{}, not {provider}/{model}",
        turn.provider, turn.model
    )))
}

/// Chat alone: a key may be good for much more than that.
fn allowed_path(dialect: Dialect, path: &str) -> Result<&'static [&'static str], ProxyRefusal> {
    let allowed: &'static [&'static str] = match dialect {
        Dialect::OpenAi => &["chat", "completions"],
        Dialect::OpenAiResponses => &["responses"],
        Dialect::Anthropic => &["v1", "messages"],
        Dialect::Ollama => &["api", "chat"],
    };
    if path.split('/').eq(allowed.iter().copied()) {
        return Ok(allowed);
    }
    Err(ProxyRefusal::NotAllowed(format!(
        "only {} may be called, not {path:?} (status {})",
        allowed.join("/"),
        StatusCode::FORBIDDEN.as_u16()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_dialect_s_own_chat_path_is_passed_on() {
        assert!(allowed_path(Dialect::OpenAi, "chat/completions").is_ok());
        for path in ["chat", "chat/completions/", "chat/completions/../../files", "api/chat", "files"] {
            assert!(allowed_path(Dialect::OpenAi, path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_second_model_in_the_body_is_refused() {
        let twice = r#"{"model":"cheap","messages":[{"model":"inner"}],"model":"dear"}"#;
        assert!(serde_json::from_str::<Asked<'_>>(twice).is_err());
        let once: Asked<'_> =
            serde_json::from_str(r#"{"messages":[{"model":"inner"}],"model":"cheap"}"#).unwrap();
        assert_eq!(once.model, "cheap");
    }
}

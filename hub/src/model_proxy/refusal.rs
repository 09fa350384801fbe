//! Why the hub itself does not pass a model call on.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use protocol::error::{Code, Refusal};
use serde_json::json;

use crate::model_proxy::HUB_HEADER;

#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyRefusal {
    #[error("the hub is going away; call again in a moment")]
    Draining,
    #[error("too many model calls are under way; call again in a moment")]
    Full,
    /// The token is not good, or nobody can say whether it is.
    #[error("{0}")]
    Who(Refusal),
    #[error("{0}")]
    NotAllowed(String),
    #[error("{0}")]
    Malformed(String),
    #[error("the request is longer than {most} bytes")]
    TooLarge { most: usize },
    #[error("the provider's key cannot be used: {0}")]
    Key(String),
    #[error("the provider cannot be reached: {why}")]
    Unreachable { why: String },
    #[error("{0}")]
    Store(Refusal),
}

impl ProxyRefusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Draining | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Who(refusal) if refusal.code == Code::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Full => StatusCode::TOO_MANY_REQUESTS,
            Self::Who(_) => StatusCode::UNAUTHORIZED,
            Self::NotAllowed(_) | Self::Key(_) => StatusCode::FORBIDDEN,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unreachable { .. } => StatusCode::BAD_GATEWAY,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Full => "rate_limited",
            Self::Who(refusal) | Self::Store(refusal) => refusal.code.as_str(),
            Self::NotAllowed(_) => "forbidden",
            Self::Malformed(_) => "invalid",
            Self::TooLarge { .. } => "too_large",
            Self::Key(_) => "no_model",
            Self::Unreachable { .. } => "provider_unreachable",
        }
    }
}

impl IntoResponse for ProxyRefusal {
    /// In the shape of a provider's own error, so that a drone reads both alike.
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": { "message": self.to_string(), "code": self.code() } }));
        let mut response = (self.status(), body).into_response();
        let mark = if matches!(self, Self::Draining) { "draining" } else { "refused" };
        response.headers_mut().insert(HUB_HEADER, HeaderValue::from_static(mark));
        response
    }
}

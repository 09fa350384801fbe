//! Errors of REST: problem details (RFC 9457) with the code of the contract.

use aide::OperationOutput;
use aide::generate::GenContext;
use aide::openapi::{MediaType, Operation, Response as ApiResponse, SchemaObject};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use protocol::error::{Code, Refusal};
use schemars::JsonSchema;
use serde::Serialize;

use crate::store::{StoreError, refuse};

/// What a refused request is answered with, as `application/problem+json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Problem {
    /// The HTTP status again.
    status: u16,
    /// The status in words.
    title: String,
    /// What is wrong with this request, and what to do.
    detail: String,
    /// For programs: does not change.
    code: Code,
    /// Seconds; goes into `Retry-After`.
    #[serde(skip)]
    retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, refusal: Refusal) -> Self {
        let Refusal { code, message } = refusal;
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Self { status: status.as_u16(), title, detail: message, code, retry_after: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Refusal::new(Code::Invalid, message).into()
    }

    pub(super) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "failed to answer a request");
        Refusal::new(Code::Internal, "the hub failed to do this; its log says why").into()
    }

    pub(super) fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(status_of(refusal.code), refusal)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        refuse(error).into()
    }
}

/// The status that says about the same as the code.
fn status_of(code: Code) -> StatusCode {
    match code {
        Code::Unauthorized | Code::TokenExpired => StatusCode::UNAUTHORIZED,
        Code::Forbidden | Code::Superseded | Code::PathEscape => StatusCode::FORBIDDEN,
        Code::NotFound | Code::UnknownEvent | Code::NotAFile => StatusCode::NOT_FOUND,
        Code::Conflict
        | Code::Busy
        | Code::Mode
        | Code::DroneLocked
        | Code::TabLocked
        | Code::NoSession
        | Code::NoTurn
        | Code::NoDrone
        | Code::NoModel
        | Code::Suspended
        | Code::FileChanged
        | Code::SyncFailed => StatusCode::CONFLICT,
        Code::Invalid | Code::Protocol => StatusCode::UNPROCESSABLE_ENTITY,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::DroneUnreachable => StatusCode::GATEWAY_TIMEOUT,
        Code::StoreUnavailable | Code::Draining => StatusCode::SERVICE_UNAVAILABLE,
        // The list of codes may grow; one that is not known here is our fault.
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl OperationOutput for Problem {
    type Inner = Self;

    fn operation_response(context: &mut GenContext, _operation: &mut Operation) -> Option<ApiResponse> {
        let json_schema = context.schema.subschema_for::<Self>();
        let schema = Some(SchemaObject { json_schema, example: None, external_docs: None });
        let media = MediaType { schema, ..MediaType::default() };
        Some(ApiResponse {
            description: "What is wrong, and what to do.".to_owned(),
            content: [("application/problem+json".to_owned(), media)].into_iter().collect(),
            ..ApiResponse::default()
        })
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<aide::openapi::StatusCode>, ApiResponse)> {
        Self::operation_response(context, operation).map(|response| (None, response)).into_iter().collect()
    }
}

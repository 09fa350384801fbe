//! REST: every route of `/api/v1`, described by the code that serves it, and what stands beside the API.

mod audit;
pub(crate) mod cors;
mod drones;
mod extract;
mod health;
pub mod host;
mod invite;
pub mod page;
mod preferences;
mod problem;
mod projects;
mod providers;
mod routing;
mod sessions;
mod sign_in;
mod tester;
mod transcript;
mod users;

use std::sync::Arc;

use aide::axum::ApiRouter;
use aide::openapi::{Info, OpenApi, SecurityScheme};
use aide::transform::TransformOpenApi;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Json, Router};
use protocol::error::{Code, Refusal};

use crate::app::SharedApp;
use crate::http::problem::Problem;

/// Where the description of the API is.
pub const OPENAPI: &str = "/api/openapi.json";

/// The API with its description.
pub fn router() -> Router<SharedApp> {
    aide::generate::extract_schemas(true);
    let mut openapi = OpenApi {
        info: Info {
            title: "Gadget hub".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Info::default()
        },
        ..OpenApi::default()
    };
    let api = ApiRouter::new()
        .merge(sign_in::routes())
        .merge(invite::routes())
        .merge(tester::routes())
        .merge(users::routes())
        .merge(projects::routes())
        .merge(sessions::routes())
        .merge(transcript::routes())
        .merge(drones::routes())
        .merge(providers::routes())
        .merge(routing::routes())
        .merge(preferences::routes())
        .merge(audit::routes());
    ApiRouter::new()
        .nest("/api/v1", api)
        .finish_api_with(&mut openapi, describe)
        .route(OPENAPI, get(description))
        .route("/api/{*rest}", axum::routing::any(nothing_here))
        .layer(Extension(Arc::new(openapi)))
        .merge(health::routes())
}

fn describe(api: TransformOpenApi<'_>) -> TransformOpenApi<'_> {
    api.description(
        "Errors are problem details (RFC 9457) with a `code` that does not change. Lists come in parts: hand \
         `nextCursor` in as `cursor`. A document of another user is answered as one that is not there.",
    )
    .security_scheme(
        "bearer",
        SecurityScheme::Http {
            scheme: "bearer".to_owned(),
            bearer_format: Some("JWT".to_owned()),
            description: Some("The token of POST /api/v1/auth/sign-in".to_owned()),
            extensions: std::iter::empty().collect(),
        },
    )
    .security_requirement("bearer")
    .default_response::<Problem>()
}

async fn description(Extension(openapi): Extension<Arc<OpenApi>>) -> impl IntoResponse {
    Json(openapi.as_ref().clone())
}

pub(crate) async fn wrong_method() -> Problem {
    let refusal =
        Refusal::new(Code::Invalid, format!("not with this method; {OPENAPI} describes what there is"));
    Problem::new(http::StatusCode::METHOD_NOT_ALLOWED, refusal)
}

pub(crate) async fn nothing_here() -> Problem {
    Refusal::new(Code::NotFound, format!("there is nothing here; {OPENAPI} describes what there is")).into()
}

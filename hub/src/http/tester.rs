//! `/auth/tester`: how the pod of `helm test` signs in, by the token of its service account.

use std::time::Duration;

use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use protocol::error::{Code, Refusal};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::SharedApp;
use crate::fleet::FleetError;
use crate::http::audit;
use crate::http::extract::JsonBody;
use crate::http::invite;
use crate::http::problem::Problem;
use crate::http::sign_in::SignInAnswer;

/// A test takes a few minutes.
const LIFE: Duration = Duration::from_mins(15);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tester {
    /// Of the pod's service account, for the audience `gadget-hub`.
    token: String,
}

pub(super) fn routes() -> ApiRouter<SharedApp> {
    ApiRouter::new().api_route(
        "/auth/tester",
        post_with(sign_in, |op| {
            op.tag("auth").summary("Sign the pod of `helm test` in, to an account of its own")
        }),
    )
}

async fn sign_in(
    State(app): State<SharedApp>,
    JsonBody(Tester { token }): JsonBody<Tester>,
) -> Result<Json<SignInAnswer>, Problem> {
    if !app.fleet.is_tester(&token).await.map_err(problem)? {
        return Err(Refusal::new(Code::Unauthorized, "this is no token of the pod of `helm test`").into());
    }
    let user = app.auth.ensure_tester().await.map_err(invite::problem)?.user;
    let issued = app.auth.issue_for(&user, LIFE).map_err(|error| Problem::internal(&error))?;
    audit::write_for(&app, &user.id, "tester.sign-in", &user.handle).await?;
    Ok(Json(SignInAnswer { token: issued.token, expires_at: issued.expires_at, user }))
}

fn problem(error: FleetError) -> Problem {
    match error {
        FleetError::TesterBusy => {
            let refusal = Refusal::new(Code::RateLimited, error.to_string());
            Problem::new(StatusCode::TOO_MANY_REQUESTS, refusal)
        }
        error => Problem::internal(&error),
    }
}

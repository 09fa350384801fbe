//! `/auth/redeem`: signing in by a one-time link.

use aide::axum::ApiRouter;
use aide::axum::routing::post_with;
use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use protocol::error::{Code, Refusal};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::task::spawn_blocking;

use crate::app::SharedApp;
use crate::auth::{AccountError, invite};
use crate::http::audit;
use crate::http::extract::JsonBody;
use crate::http::problem::Problem;
use crate::http::sign_in::SignInAnswer;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Redeem {
    /// What `gadget-hub invite` printed after `#invite=`.
    invite: String,
}

pub(super) fn routes() -> ApiRouter<SharedApp> {
    ApiRouter::new().api_route(
        "/auth/redeem",
        post_with(redeem, |op| op.tag("auth").summary("Sign in by a one-time link of `gadget-hub invite`")),
    )
}

async fn redeem(
    State(app): State<SharedApp>,
    JsonBody(Redeem { invite: code }): JsonBody<Redeem>,
) -> Result<Json<SignInAnswer>, Problem> {
    let data = app.config.data_dir.clone();
    let redeemed = spawn_blocking(move || invite::redeem(&data, &code, Timestamp::now())).await;
    let invite = redeemed
        .map_err(|error| Problem::internal(&error))?
        .map_err(|error| Problem::internal(&error))?
        .ok_or_else(|| {
            let words = "the link was used already, or is over; ask for a new one (gadget-hub invite)";
            Refusal::new(Code::Unauthorized, words)
        })?;
    let user = app.auth.ensure_invited(&invite.account).await.map_err(problem)?.user;
    let issued = app.auth.issue(&user).map_err(|error| Problem::internal(&error))?;
    audit::write_for(&app, &user.id, "invite.redeem", &invite.account).await?;
    Ok(Json(SignInAnswer { token: issued.token, expires_at: issued.expires_at, user }))
}

pub(super) fn problem(error: AccountError) -> Problem {
    match error {
        AccountError::Refused(refusal) => refusal.into(),
        AccountError::Store(error) => error.into(),
        AccountError::Password(_) => Problem::internal(&error),
    }
}

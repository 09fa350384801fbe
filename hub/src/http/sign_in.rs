//! `/auth`: signing in and out, renewing; `/me`: who is signed in.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use jiff::Timestamp;
use protocol::document::User;
use protocol::error::{Code, Refusal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::SharedApp;
use crate::auth::{SignInError, SignedIn};
use crate::http::extract::{ClientAddress, JsonBody, Signed};
use crate::http::problem::Problem;
use crate::socket::sockets::end_token;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    email: String,
    password: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SignInAnswer {
    /// A JWT: send it as `Authorization: Bearer …`, and as `auth.token` when connecting by Socket.IO.
    pub(super) token: String,
    #[schemars(with = "String")]
    pub(super) expires_at: Timestamp,
    pub(super) user: User,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Renewed {
    success: bool,
    token: String,
    #[schemars(with = "String")]
    expires_at: Timestamp,
}

pub(super) fn routes() -> ApiRouter<SharedApp> {
    ApiRouter::new()
        .api_route(
            "/auth/sign-in",
            post_with(sign_in, |op| op.tag("auth").summary("Sign in by e-mail address and password")),
        )
        .api_route(
            "/auth/sign-out",
            post_with(sign_out, |op| op.tag("auth").summary("Make the token of this request worthless")),
        )
        .api_route(
            "/auth/renew-token",
            post_with(renew, |op| op.tag("auth").summary("Get a fresh token for one that is still good")),
        )
        .api_route("/me", get_with(me, |op| op.tag("auth").summary("The signed-in user")))
        .api_route("/auth/me", get_with(me, |op| op.tag("auth").summary("The signed-in user")))
}

async fn sign_in(
    State(app): State<SharedApp>,
    ClientAddress(address): ClientAddress,
    JsonBody(SignIn { email, password }): JsonBody<SignIn>,
) -> Result<Json<SignInAnswer>, Problem> {
    let SignedIn { issued, user } = app.auth.sign_in(&email, &password, address).await.map_err(problem)?;
    Ok(Json(SignInAnswer { token: issued.token, expires_at: issued.expires_at, user }))
}

async fn sign_out(State(app): State<SharedApp>, Signed(who): Signed) -> Result<StatusCode, Problem> {
    app.auth.sign_out(&who).await?;
    end_token(&app, who.token_id());
    Ok(StatusCode::NO_CONTENT)
}

async fn renew(State(app): State<SharedApp>, Signed(who): Signed) -> Result<Json<Renewed>, Problem> {
    let issued = app.auth.issue(who.user()).map_err(|error| Problem::internal(&error))?;
    Ok(Json(Renewed { success: true, token: issued.token, expires_at: issued.expires_at }))
}

async fn me(Signed(who): Signed) -> Json<User> {
    Json(who.user().clone())
}

fn problem(error: SignInError) -> Problem {
    match error {
        SignInError::Wrong => {
            let refusal = Refusal::new(Code::Unauthorized, error.to_string());
            Problem::new(StatusCode::UNAUTHORIZED, refusal)
        }
        SignInError::TooMany { retry_after } => {
            let refusal = Refusal::new(Code::RateLimited, error.to_string());
            Problem::from(refusal).after(retry_after.as_secs().max(1))
        }
        SignInError::Store(error) => error.into(),
        SignInError::Password(_) | SignInError::Sign(_) => Problem::internal(&error),
    }
}

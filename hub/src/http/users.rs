//! `/users`: accounts, made and changed by administrators.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use jiff::Timestamp;
use protocol::document::User;
use protocol::error::{Code, Refusal};
use protocol::ids::UserId;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::SharedApp;
use crate::auth::AccountError;
use crate::auth::account::{NewAccount, Role, role_names};
use crate::http::audit;
use crate::http::extract::{Administrator, JsonBody, List, Paging, Query, present};
use crate::http::problem::Problem;
use crate::socket::sockets::end_user;
use crate::store::UserRecord;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewUser {
    email: String,
    /// A DNS label; made from the address when absent.
    #[serde(default)]
    handle: Option<String>,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    persona: Option<String>,
    /// `member` when absent.
    #[serde(default)]
    roles: Vec<Role>,
    /// At least 8 characters; without one the user cannot sign in by password.
    #[serde(default)]
    password: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UserChange {
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[expect(clippy::option_option, reason = "absent: as it was; null: none")]
    persona: Option<Option<String>>,
    #[serde(default)]
    roles: Option<Vec<Role>>,
    /// Signs the user out everywhere.
    #[serde(default)]
    password: Option<String>,
    /// A disabled user cannot sign in, and tokens are refused.
    #[serde(default)]
    disabled: Option<bool>,
}

pub(super) fn routes() -> ApiRouter<SharedApp> {
    ApiRouter::new()
        .api_route(
            "/users",
            get_with(list, |op| op.tag("users").summary("All accounts (administrators)"))
                .post_with(create, |op| op.tag("users").summary("Make an account (administrators)")),
        )
        .api_route(
            "/users/{id}",
            get_with(show, |op| op.tag("users").summary("One account (administrators)"))
                .patch_with(change, |op| op.tag("users").summary("Change an account (administrators)")),
        )
        .api_route(
            "/users/{id}/sign-out",
            post_with(sign_out, |op| op.tag("users").summary("Sign a user out everywhere (administrators)")),
        )
}

async fn list(
    State(app): State<SharedApp>,
    Administrator(_): Administrator,
    Query(paging): Query<Paging>,
) -> Result<Json<List<User>>, Problem> {
    let page = app.store.users(paging.oldest_first()?).await?;
    Ok(Json(List::of(page, |record| record.user)))
}

async fn create(
    State(app): State<SharedApp>,
    Administrator(who): Administrator,
    JsonBody(new): JsonBody<NewUser>,
) -> Result<(StatusCode, Json<User>), Problem> {
    let NewUser { email, handle, display_name, persona, roles, password } = new;
    let account = NewAccount { email, handle, display_name, persona, roles };
    let record = app.auth.create_account(account, password.as_deref()).await.map_err(problem)?;
    audit::write(&app, &who, "user.create", record.user.id.as_str()).await?;
    Ok((StatusCode::CREATED, Json(record.user)))
}

async fn show(
    State(app): State<SharedApp>,
    Administrator(_): Administrator,
    Path(id): Path<String>,
) -> Result<Json<User>, Problem> {
    Ok(Json(find(&app, id).await?.user))
}

async fn change(
    State(app): State<SharedApp>,
    Administrator(who): Administrator,
    Path(id): Path<String>,
    JsonBody(change): JsonBody<UserChange>,
) -> Result<Json<User>, Problem> {
    let mut record = find(&app, id).await?;
    let UserChange { display_name, persona, roles, password, disabled } = change;
    if let Some(name) = display_name.map(|name| name.trim().to_owned()) {
        if name.is_empty() {
            return Err(Problem::invalid("displayName: must not be empty"));
        }
        record.user.display_name = name;
    }
    if let Some(persona) = persona {
        record.user.persona = persona;
    }
    let is_self = record.user.id == *who.id();
    if let Some(roles) = roles {
        if is_self && !roles.contains(&Role::Admin) {
            return Err(Problem::invalid(
                "roles: nobody can take the admin role from themselves; ask another one",
            ));
        }
        record.user.roles = role_names(&roles);
    }
    if let Some(disabled) = disabled {
        if is_self && disabled {
            return Err(Problem::invalid(
                "disabled: nobody can disable themselves; ask another administrator",
            ));
        }
        record.disabled = disabled;
    }
    let ends = record.disabled || password.is_some();
    if let Some(password) = password {
        app.auth.set_password(&mut record, &password).await.map_err(problem)?;
    }
    app.store.update_user(record.clone()).await?;
    if ends {
        end_user(&app, &record.user.id);
    }
    audit::write(&app, &who, "user.change", record.user.id.as_str()).await?;
    Ok(Json(record.user))
}

async fn sign_out(
    State(app): State<SharedApp>,
    Administrator(who): Administrator,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut record = find(&app, id).await?;
    record.tokens_valid_from = Timestamp::now();
    app.store.update_user(record.clone()).await?;
    end_user(&app, &record.user.id);
    audit::write(&app, &who, "user.sign-out", record.user.id.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn find(app: &SharedApp, id: String) -> Result<UserRecord, Problem> {
    let found = app.store.user(&UserId::from(id)).await?;
    Ok(found.ok_or_else(|| Refusal::new(Code::NotFound, "there is no such user"))?)
}

fn problem(error: AccountError) -> Problem {
    match error {
        AccountError::Refused(refusal) => refusal.into(),
        AccountError::Password(error) => Problem::invalid(format!("password: {error}")),
        AccountError::Store(error) => error.into(),
    }
}

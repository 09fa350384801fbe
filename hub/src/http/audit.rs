//! `/audit`: what administrators have changed.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use protocol::ids::{UserId, next_ulid};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::app::SharedApp;
use crate::auth::Principal;
use crate::http::extract::{Administrator, List, Paging, Query};
use crate::http::problem::Problem;
use crate::store::{AuditRecord, StoreError};

#[derive(Serialize, JsonSchema)]
struct Entry {
    #[serde(rename = "_id")]
    id: String,
    #[schemars(with = "String")]
    at: Timestamp,
    user: Option<UserId>,
    /// `user.create`, `provider.change`, …
    action: String,
    /// The id or name of what was changed.
    subject: String,
    detail: Value,
}

pub(super) fn routes() -> ApiRouter<SharedApp> {
    ApiRouter::new().api_route(
        "/audit",
        get_with(list, |op| op.tag("audit").summary("Changes, newest first (administrators)")),
    )
}

/// Remembers that somebody changed something.
pub(super) async fn write(
    app: &SharedApp,
    who: &Principal,
    action: &'static str,
    subject: &str,
) -> Result<(), StoreError> {
    write_for(app, who.id(), action, subject).await
}

/// The same for somebody who has only just become known.
pub(super) async fn write_for(
    app: &SharedApp,
    user: &UserId,
    action: &'static str,
    subject: &str,
) -> Result<(), StoreError> {
    let record = AuditRecord {
        id: next_ulid(),
        at: Timestamp::now(),
        user: Some(user.clone()),
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail: Value::Null,
    };
    app.store.audit(record).await
}

async fn list(
    State(app): State<SharedApp>,
    Administrator(_): Administrator,
    Query(paging): Query<Paging>,
) -> Result<Json<List<Entry>>, Problem> {
    let page = app.store.audit_log(paging.newest_first()?).await?;
    Ok(Json(List::of(page, |record| {
        let AuditRecord { id, at, user, action, subject, detail } = record;
        Entry { id, at, user, action, subject, detail }
    })))
}

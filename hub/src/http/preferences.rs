//! `/preferences`: what a user likes; small JSON that programs may add to.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};

use crate::app::SharedApp;
use crate::http::extract::{JsonBody, Signed};
use crate::http::problem::Problem;

const MOST: usize = 64 * 1024;

pub(super) fn routes() -> ApiRouter<SharedApp> {
    ApiRouter::new().api_route(
        "/preferences",
        get_with(show, |op| op.tag("preferences").summary("Your preferences"))
            .put_with(replace, |op| op.tag("preferences").summary("Replace your preferences"))
            .patch_with(merge, |op| {
                op.tag("preferences").summary("Change some of your preferences; null removes one")
            }),
    )
}

async fn show(
    State(app): State<SharedApp>,
    Signed(who): Signed,
) -> Result<Json<Map<String, Value>>, Problem> {
    Ok(Json(stored(&app, &who).await?))
}

async fn replace(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    JsonBody(new): JsonBody<Map<String, Value>>,
) -> Result<Json<Map<String, Value>>, Problem> {
    store(&app, &who, new).await
}

async fn merge(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    JsonBody(change): JsonBody<Map<String, Value>>,
) -> Result<Json<Map<String, Value>>, Problem> {
    let mut preferences = stored(&app, &who).await?;
    for (name, value) in change {
        match value {
            Value::Null => preferences.remove(&name),
            value => preferences.insert(name, value),
        };
    }
    store(&app, &who, preferences).await
}

async fn stored(app: &SharedApp, who: &crate::auth::Principal) -> Result<Map<String, Value>, Problem> {
    match app.store.preferences(who.id()).await? {
        Value::Object(preferences) => Ok(preferences),
        _ => Ok(Map::new()),
    }
}

async fn store(
    app: &SharedApp,
    who: &crate::auth::Principal,
    preferences: Map<String, Value>,
) -> Result<Json<Map<String, Value>>, Problem> {
    let value = Value::Object(preferences.clone());
    if value.to_string().len() > MOST {
        return Err(Problem::invalid(format!("preferences must be at most {MOST} bytes")));
    }
    app.store.put_preferences(who.id(), value).await?;
    Ok(Json(preferences))
}

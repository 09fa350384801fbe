//! `/routing/rules`: which model prompts get whose sessions name none; `/admin/reload`: reading settings anew.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, patch_with, post_with};
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use jiff::Timestamp;
use protocol::document::{RoutingAction, RoutingCondition, RoutingRule};
use protocol::error::{Code, Refusal};
use protocol::ids::next_ulid;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::app::SharedApp;
use crate::http::audit;
use crate::http::extract::{Administrator, JsonBody, List};
use crate::http::problem::Problem;
use crate::provider::Reloaded;

/// All are looked at for a prompt.
const MOST_RULES: usize = 200;
const MOST_CONDITIONS: usize = 16;
/// Bytes of a name or a value.
const LONGEST: usize = 1000;

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewRule {
    name: String,
    /// The lowest is looked at first; 0 when absent.
    #[serde(default)]
    priority: i32,
    /// Absent: it is.
    #[serde(default)]
    enabled: Option<bool>,
    /// All must hold.
    #[serde(default)]
    conditions: Vec<RoutingCondition>,
    action: RoutingAction,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RuleChange {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    priority: Option<i32>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    conditions: Option<Vec<RoutingCondition>>,
    #[serde(default)]
    action: Option<RoutingAction>,
}

pub(super) fn routes() -> ApiRouter<SharedApp> {
    ApiRouter::new()
        .api_route(
            "/routing/rules",
            get_with(list, |op| {
                op.tag("routing")
                    .summary("All rules, in the order in which they are looked at (administrators)")
            })
            .post_with(create, |op| op.tag("routing").summary("Add a rule (administrators)")),
        )
        .api_route(
            "/routing/rules/{id}",
            patch_with(change, |op| op.tag("routing").summary("Change a rule (administrators)"))
                .get_with(show, |op| op.tag("routing").summary("One rule (administrators)"))
                .delete_with(remove, |op| op.tag("routing").summary("Remove a rule (administrators)")),
        )
        .api_route(
            "/admin/reload",
            post_with(reload, |op| {
                op.tag("providers")
                    .summary("Read providers and their keys anew, and say what has changed (administrators)")
            }),
        )
}

async fn list(
    State(app): State<SharedApp>,
    Administrator(_): Administrator,
) -> Result<Json<List<RoutingRule>>, Problem> {
    Ok(Json(List::whole(app.store.routing_rules().await?)))
}

async fn show(
    State(app): State<SharedApp>,
    Administrator(_): Administrator,
    Path(id): Path<String>,
) -> Result<Json<RoutingRule>, Problem> {
    Ok(Json(find(&app, &id).await?))
}

async fn create(
    State(app): State<SharedApp>,
    Administrator(who): Administrator,
    JsonBody(new): JsonBody<NewRule>,
) -> Result<(StatusCode, Json<RoutingRule>), Problem> {
    let NewRule { name, priority, enabled, conditions, action } = new;
    let rule = RoutingRule {
        id: next_ulid(),
        created_at: Timestamp::now(),
        name,
        priority,
        enabled: enabled.unwrap_or(true),
        conditions,
        action,
    };
    check(&app, &rule)?;
    if app.store.routing_rules().await?.len() >= MOST_RULES {
        return Err(Problem::invalid(format!("there may be {MOST_RULES} rules; remove one first")));
    }
    app.store.put_routing_rule(rule.clone()).await?;
    audit::write(&app, &who, "routing.create", &rule.id).await?;
    Ok((StatusCode::CREATED, Json(rule)))
}

async fn change(
    State(app): State<SharedApp>,
    Administrator(who): Administrator,
    Path(id): Path<String>,
    JsonBody(change): JsonBody<RuleChange>,
) -> Result<Json<RoutingRule>, Problem> {
    let RuleChange { name, priority, enabled, conditions, action } = change;
    let before = find(&app, &id).await?;
    let rule = RoutingRule {
        name: name.unwrap_or(before.name),
        priority: priority.unwrap_or(before.priority),
        enabled: enabled.unwrap_or(before.enabled),
        conditions: conditions.unwrap_or(before.conditions),
        action: action.unwrap_or(before.action),
        ..before
    };
    check(&app, &rule)?;
    app.store.put_routing_rule(rule.clone()).await?;
    audit::write(&app, &who, "routing.change", &rule.id).await?;
    Ok(Json(rule))
}

async fn remove(
    State(app): State<SharedApp>,
    Administrator(who): Administrator,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.store.delete_routing_rule(&id).await?;
    audit::write(&app, &who, "routing.remove", &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn reload(
    State(app): State<SharedApp>,
    Administrator(who): Administrator,
) -> Result<Json<List<Reloaded>>, Problem> {
    let changed = app.providers.reload().await?;
    audit::write(&app, &who, "admin.reload", "").await?;
    Ok(Json(List::whole(changed)))
}

async fn find(app: &SharedApp, id: &str) -> Result<RoutingRule, Problem> {
    let found = app.store.routing_rules().await?.into_iter().find(|rule| rule.id == id);
    Ok(found.ok_or_else(|| Refusal::new(Code::NotFound, "there is no such rule"))?)
}

fn check(app: &SharedApp, rule: &RoutingRule) -> Result<(), Problem> {
    let RoutingRule { name, conditions, action: RoutingAction { provider, model: _ }, .. } = rule;
    if name.trim().is_empty() || name.len() > LONGEST {
        return Err(Problem::invalid(
            "name: must be a text that is not empty, and not longer than 1000 bytes",
        ));
    }
    if conditions.len() > MOST_CONDITIONS {
        return Err(Problem::invalid(format!("conditions: must be {MOST_CONDITIONS} at most")));
    }
    if conditions.iter().any(|one| one.value.is_empty() || one.value.len() > LONGEST) {
        return Err(Problem::invalid("conditions: each value must have 1 to 1000 bytes"));
    }
    if app.providers.get(provider).is_none() {
        return Err(Problem::invalid(format!(
            "action.provider: there is no provider {provider:?}; GET /providers lists what there is"
        )));
    }
    Ok(())
}

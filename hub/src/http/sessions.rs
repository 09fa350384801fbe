//! `/chat-sessions`: conversations, each with a drone of its own.

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use jiff::Timestamp;
use protocol::document::{ChatSession, NEW_SESSION_NAME, SessionStats};
use protocol::error::{Code, Refusal};
use protocol::ids::{ChatSessionId, ProjectId};
use protocol::value::{ChatSessionMode, ReasoningEffort};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::app::SharedApp;
use crate::auth::access;
use crate::http::extract::{JsonBody, List, Query, Signed, present};
use crate::http::problem::Problem;
use crate::session::drones;
use crate::session::state::input::Input;
use crate::store::{Archive, PageRequest, Rename, SessionFilter, SessionModel, SessionPatch};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewSession {
    project: ProjectId,
    #[serde(default)]
    name: Option<String>,
    /// `build` when absent.
    #[serde(default)]
    mode: Option<ChatSessionMode>,
    /// The name of a provider; absent: chosen at the first prompt.
    #[serde(default)]
    provider: Option<String>,
    #[serde(default)]
    selected_model: Option<String>,
    /// `off` when absent.
    #[serde(default)]
    reasoning_effort: Option<ReasoningEffort>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::option_option, reason = "absent: as it was; null: none")]
struct SessionChange {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    mode: Option<ChatSessionMode>,
    #[serde(default, deserialize_with = "present")]
    provider: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    selected_model: Option<Option<String>>,
    #[serde(default)]
    reasoning_effort: Option<ReasoningEffort>,
    #[serde(default)]
    archived: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    #[serde(default)]
    cursor: Option<String>,
    /// How many, 1 to 200; 50 when absent.
    #[serde(default)]
    limit: Option<u32>,
    /// Only sessions of this project.
    #[serde(default, alias = "projectId")]
    project: Option<ProjectId>,
    /// Only archived ones, or only those that are not; absent: both.
    #[serde(default)]
    archived: Option<bool>,
}

pub(super) fn routes() -> ApiRouter<SharedApp> {
    ApiRouter::new()
        .api_route(
            "/chat-sessions",
            get_with(list, |op| op.tag("chat sessions").summary("Your sessions, newest first"))
                .post_with(create, |op| op.tag("chat sessions").summary("Make a session")),
        )
        .api_route(
            "/chat-sessions/{id}",
            get_with(show, |op| op.tag("chat sessions").summary("One session"))
                .put_with(change, |op| op.tag("chat sessions").summary("Change a session"))
                .patch_with(change, |op| op.tag("chat sessions").summary("Change a session"))
                .delete_with(remove, |op| {
                    op.tag("chat sessions").summary("Delete a session with its transcript")
                }),
        )
}

async fn list(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Query(wanted): Query<Wanted>,
) -> Result<Json<List<ChatSession>>, Problem> {
    let Wanted { cursor, limit, project, archived } = wanted;
    let limit = limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(Problem::invalid("limit: must be 1 to 200"));
    }
    let page = PageRequest { cursor, limit, newest_first: true };
    let page = app.store.sessions(who.id(), SessionFilter { project, archived }, page).await?;
    Ok(Json(List::of(page, |session| session)))
}

async fn create(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    JsonBody(new): JsonBody<NewSession>,
) -> Result<(StatusCode, Json<ChatSession>), Problem> {
    let NewSession { project, name, mode, provider, selected_model, reasoning_effort } = new;
    let project = access::project(app.store.as_ref(), &who, &project).await?;
    check_model(&app, provider.as_deref(), selected_model.as_deref())?;
    let session = ChatSession {
        id: ChatSessionId::generate(),
        created_at: Timestamp::now(),
        user: who.id().clone(),
        project: project.id,
        name: match name {
            Some(name) => checked_name(&name)?,
            None => NEW_SESSION_NAME.to_owned(),
        },
        mode: mode.unwrap_or(ChatSessionMode::Build),
        provider,
        selected_model,
        reasoning_effort: reasoning_effort.unwrap_or(ReasoningEffort::Off),
        workspace_id: None,
        stats: SessionStats::default(),
        archived_at: None,
    };
    app.store.insert_session(session.clone()).await?;
    Ok((StatusCode::CREATED, Json(session)))
}

async fn show(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<String>,
) -> Result<Json<ChatSession>, Problem> {
    Ok(Json(access::session(app.store.as_ref(), &who, &id.into()).await?))
}

async fn change(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<String>,
    JsonBody(change): JsonBody<SessionChange>,
) -> Result<Json<ChatSession>, Problem> {
    let session = access::session(app.store.as_ref(), &who, &id.into()).await?;
    let SessionChange { name, mode, provider, selected_model, reasoning_effort, archived } = change;
    let model = match (provider, selected_model) {
        (None, None) => None,
        // A model of one provider is none of another.
        (Some(provider), model) => Some(SessionModel { provider, selected_model: model.flatten() }),
        (None, Some(selected_model)) => Some(SessionModel { provider: session.provider, selected_model }),
    };
    if let Some(SessionModel { provider, selected_model }) = &model {
        check_model(&app, provider.as_deref(), selected_model.as_deref())?;
    }
    let patch = SessionPatch {
        name: name.map(|name| checked_name(&name).map(Rename::To)).transpose()?,
        mode,
        model,
        reasoning_effort,
        workspace_id: None,
        archive: archived
            .map(|archived| if archived { Archive::At(Timestamp::now()) } else { Archive::Never }),
    };
    let session = app.store.patch_session(&session.id, patch).await?;
    app.sessions.tell(&session.id, || Input::SessionUpdated(json!(session)));
    Ok(Json(session))
}

async fn remove(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let session = access::session(app.store.as_ref(), &who, &id.into()).await?;
    app.store.delete_session(&session.id).await?;
    app.sessions.tell(&session.id, || Input::Deleted);
    drones::session_deleted(&app, &session.id).await;
    Ok(StatusCode::NO_CONTENT)
}

fn check_model(app: &SharedApp, provider: Option<&str>, model: Option<&str>) -> Result<(), Problem> {
    match (provider, model) {
        (None, Some(_)) => Err(Problem::invalid("selectedModel: needs a provider beside it")),
        (Some(name), _) if app.providers.get(name).is_none() => {
            let message = format!("provider: there is no provider {name:?}; GET /models lists what there is");
            Err(Refusal::new(Code::Invalid, message).into())
        }
        _ => Ok(()),
    }
}

fn checked_name(name: &str) -> Result<String, Problem> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 200 {
        return Err(Problem::invalid("name: must be 1 to 200 characters"));
    }
    Ok(name.to_owned())
}

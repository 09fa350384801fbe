//! `/drones`: what works for a user's sessions, and a person's hand on it; and what a session's turns add up to.

use aide::axum::ApiRouter;
use aide::axum::routing::{get_with, post_with};
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use protocol::document::DroneRegistration;
use protocol::error::{Code, Refusal};
use protocol::ids::{ChatSessionId, DroneId};
use protocol::value::ChatTurnStatus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::SharedApp;
use crate::auth::access;
use crate::http::extract::{JsonBody, List, Paging, Query, Signed};
use crate::http::problem::Problem;
use crate::session::drones::{self, person};
use crate::session::state::effect::DroneChoice;
use crate::store::{PageRequest, TurnRecord};

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewDrone {
    /// The session that it works for; absent: none yet.
    #[serde(default)]
    chat_session: Option<ChatSessionId>,
}

/// What the turns of a session add up to.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct SessionMetrics {
    turns: TurnCounts,
    tokens: TokenCounts,
    tool_calls: u64,
    /// Work orders sent, retries after crashes included.
    attempts: u64,
    /// Model calls that had to be made again.
    retries: u64,
    /// Between consecutive turns.
    model_switches: u64,
    duration_ms: u64,
    time_to_first_token_ms: Times,
}

#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct TurnCounts {
    total: u64,
    processing: u64,
    finished: u64,
    aborted: u64,
    error: u64,
}

#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct TokenCounts {
    /// Fresh input: neither read from nor written to a cache.
    input: u64,
    cache_read: u64,
    cache_write: u64,
    /// Thinking included.
    output: u64,
    thinking: u64,
}

#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Times {
    #[serde(skip_serializing_if = "Option::is_none")]
    median: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worst: Option<u64>,
}

pub(super) fn routes() -> ApiRouter<SharedApp> {
    ApiRouter::new()
        .api_route(
            "/drones",
            get_with(list, |op| op.tag("drones").summary("Your drones, newest first"))
                .post_with(start, |op| op.tag("drones").summary("Start a drone")),
        )
        .api_route(
            "/drones/{id}/workspace",
            get_with(workspace, |op| op.tag("drones").summary("The drone's workspace.json, asked of it now")),
        )
        .api_route(
            "/drone/registration/{id}/terminate",
            post_with(terminate, |op| op.tag("drones").summary("Stop a drone for good; its workspace stays")),
        )
        .api_route(
            "/drone/registration/{id}/suspend",
            post_with(suspend, |op| op.tag("drones").summary("Stop a drone until it is resumed")),
        )
        .api_route(
            "/drone/registration/{id}/resume",
            post_with(resume, |op| op.tag("drones").summary("Let a stopped drone run again")),
        )
        .api_route(
            "/sessions/{id}/metrics",
            get_with(metrics, |op| op.tag("chat sessions").summary("What a session's turns add up to")),
        )
}

async fn list(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Query(paging): Query<Paging>,
) -> Result<Json<List<DroneRegistration>>, Problem> {
    let page = app.store.drones(who.id(), paging.newest_first()?).await?;
    Ok(Json(List::of(page, |record| drones::shown(&app, record))))
}

async fn start(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    JsonBody(new): JsonBody<NewDrone>,
) -> Result<(StatusCode, Json<DroneRegistration>), Problem> {
    let drone = match new.chat_session {
        Some(session) => {
            let session = access::session(&*app.store, &who, &session).await?;
            // A person asks for it, which lifts a person's hold.
            if let Some(record) = app.store.drone_of_session(&session.id).await?
                && record.held
            {
                person::resume(&app, &record.registration.id).await?;
            }
            drones::claim(&app, &session.id, who.id(), &DroneChoice::Own).await?
        }
        None => drones::start_free(&app, who.id()).await?,
    };
    Ok((StatusCode::CREATED, shown(&app, &drone).await?))
}

async fn workspace(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<DroneId>,
) -> Result<Json<Value>, Problem> {
    access::drone(&*app.store, &who, &id).await?;
    Ok(Json(drones::workspace_state(&app, &id).await?))
}

async fn terminate(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<DroneId>,
) -> Result<Json<DroneRegistration>, Problem> {
    access::drone(&*app.store, &who, &id).await?;
    let record = person::terminate(&app, &id).await?;
    Ok(Json(drones::shown(&app, record)))
}

async fn suspend(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<DroneId>,
) -> Result<Json<DroneRegistration>, Problem> {
    access::drone(&*app.store, &who, &id).await?;
    person::suspend(&app, &id).await?;
    shown(&app, &id).await
}

async fn resume(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<DroneId>,
) -> Result<Json<DroneRegistration>, Problem> {
    access::drone(&*app.store, &who, &id).await?;
    person::resume(&app, &id).await?;
    shown(&app, &id).await
}

async fn shown(app: &SharedApp, id: &DroneId) -> Result<Json<DroneRegistration>, Problem> {
    let record = app.store.drone(id).await?;
    let record = record.ok_or_else(|| Refusal::new(Code::NotFound, "there is no such drone"))?;
    Ok(Json(drones::shown(app, record)))
}

async fn metrics(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<ChatSessionId>,
) -> Result<Json<SessionMetrics>, Problem> {
    let session = access::session(&*app.store, &who, &id).await?;
    let mut sums = Sums::default();
    let mut cursor = None;
    loop {
        let page =
            app.store.turns(&session.id, PageRequest { cursor, limit: 200, newest_first: false }).await?;
        page.items.iter().for_each(|turn| sums.add(turn));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(Json(sums.finish()));
        }
    }
}

#[derive(Default)]
struct Sums {
    metrics: SessionMetrics,
    first_tokens: Vec<u64>,
    model: Option<(String, String)>,
}

impl Sums {
    fn add(&mut self, turn: &TurnRecord) {
        let SessionMetrics {
            turns,
            tokens,
            tool_calls,
            attempts,
            retries,
            model_switches,
            duration_ms,
            time_to_first_token_ms: _,
        } = &mut self.metrics;
        turns.total += 1;
        match turn.status {
            ChatTurnStatus::Processing => turns.processing += 1,
            ChatTurnStatus::Finished => turns.finished += 1,
            ChatTurnStatus::Aborted => turns.aborted += 1,
            ChatTurnStatus::Error => turns.error += 1,
        }
        let stats = &turn.stats;
        tokens.input += stats.input_tokens;
        tokens.cache_read += stats.cache_read_tokens;
        tokens.cache_write += stats.cache_write_tokens;
        tokens.output += stats.response_tokens + stats.thinking_token_count;
        tokens.thinking += stats.thinking_token_count;
        *tool_calls += stats.tool_call_count;
        *attempts += u64::from(turn.attempts);
        *retries += u64::from(stats.retries);
        *duration_ms += stats.duration_ms;
        self.first_tokens.extend(stats.time_to_first_token_ms);
        let model = (turn.model.provider.clone(), turn.model.model.clone());
        *model_switches += u64::from(self.model.as_ref().is_some_and(|before| *before != model));
        self.model = Some(model);
    }

    fn finish(mut self) -> SessionMetrics {
        self.first_tokens.sort_unstable();
        self.metrics.time_to_first_token_ms = Times {
            median: self.first_tokens.get(self.first_tokens.len() / 2).copied(),
            worst: self.first_tokens.last().copied(),
        };
        self.metrics
    }
}

//! What was said in a session: turns, events, and the whole as one file.

mod markdown;

use aide::axum::ApiRouter;
use aide::axum::routing::get_with;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use protocol::document::{ChatSession, ChatTurn};
use protocol::event::Meta;
use protocol::ids::ChatSessionId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::SharedApp;
use crate::auth::access;
use crate::http::extract::{List, Paging, Query, Signed};
use crate::http::problem::Problem;
use crate::store::{EventRecord, PageRequest};

/// Events in one answer.
const MOST_EVENTS: u32 = 1000;
/// Turns that are read from the store at once for an export.
const EXPORT_PAGE: u32 = 50;

#[derive(Deserialize, JsonSchema)]
struct EventsWanted {
    /// Events numbered above this; 0 when absent.
    #[serde(default)]
    after: u64,
    /// How many, 1 to 1000; 1000 when absent.
    #[serde(default)]
    limit: Option<u32>,
}

/// An event as an IDE gets it: `args` end with the meta object.
#[derive(Serialize, JsonSchema)]
struct Event {
    event: &'static str,
    args: Vec<Value>,
}

#[derive(Deserialize, JsonSchema)]
struct ExportWanted {
    /// `json` or `markdown`; `json` when absent.
    #[serde(default)]
    format: Format,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Markdown,
}

#[derive(Serialize)]
struct Export<'a> {
    session: &'a ChatSession,
    turns: &'a [ChatTurn],
}

pub(super) fn routes() -> ApiRouter<SharedApp> {
    ApiRouter::new()
        .api_route(
            "/chat-sessions/{id}/turns",
            get_with(turns, |op| op.tag("chat sessions").summary("A session's turns, oldest first")),
        )
        .api_route(
            "/chat-sessions/{id}/events",
            get_with(events, |op| {
                op.tag("chat sessions").summary("A session's events above a number, in order")
            }),
        )
        .api_route(
            "/chat-sessions/{id}/export",
            get_with(export, |op| {
                op.tag("chat sessions")
                    .summary("The whole session as a file, in JSON or Markdown")
                    .response::<200, ()>()
            }),
        )
}

async fn turns(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Json<List<ChatTurn>>, Problem> {
    let session = access::session(app.store.as_ref(), &who, &id.into()).await?;
    let page = app.store.full_turns(&session.id, paging.oldest_first()?).await?;
    Ok(Json(List::of(page, |turn| turn)))
}

async fn events(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<String>,
    Query(EventsWanted { after, limit }): Query<EventsWanted>,
) -> Result<Json<List<Event>>, Problem> {
    let session = access::session(app.store.as_ref(), &who, &id.into()).await?;
    let limit = limit.unwrap_or(MOST_EVENTS);
    if !(1..=MOST_EVENTS).contains(&limit) {
        return Err(Problem::invalid(format!("limit: must be 1 to {MOST_EVENTS}")));
    }
    let records = app.store.events_after(&session.id, after, limit).await?;
    let events: Result<Vec<Event>, serde_json::Error> = records.into_iter().map(event).collect();
    Ok(Json(List::whole(events.map_err(|error| Problem::internal(&error))?)))
}

fn event(record: EventRecord) -> Result<Event, serde_json::Error> {
    let EventRecord { seq, turn, attempt: _, at, event } = record;
    let mut args: Vec<Value> = serde_json::from_str(event.args.get())?;
    let meta = Meta { turn_id: turn, seq, at, replay: true, notes: event.notes };
    args.push(serde_json::to_value(meta)?);
    Ok(Event { event: event.name.as_str(), args })
}

async fn export(
    State(app): State<SharedApp>,
    Signed(who): Signed,
    Path(id): Path<String>,
    Query(ExportWanted { format }): Query<ExportWanted>,
) -> Result<Response, Problem> {
    let session = access::session(app.store.as_ref(), &who, &id.into()).await?;
    let turns = all_turns(&app, &session.id).await?;
    let (body, content_type, ending) = match format {
        Format::Json => {
            let export = Export { session: &session, turns: &turns };
            let json = serde_json::to_string_pretty(&export).map_err(|error| Problem::internal(&error))?;
            (json, "application/json", "json")
        }
        Format::Markdown => (markdown::export(&session, &turns), "text/markdown; charset=utf-8", "md"),
    };
    let mut response = (StatusCode::OK, body).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(disposition) =
        HeaderValue::from_str(&format!("attachment; filename=\"{}.{ending}\"", session.id))
    {
        response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

async fn all_turns(app: &SharedApp, session: &ChatSessionId) -> Result<Vec<ChatTurn>, Problem> {
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let page = PageRequest { cursor, limit: EXPORT_PAGE, newest_first: false };
        let page = app.store.full_turns(session, page).await?;
        all.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}

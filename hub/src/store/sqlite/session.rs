//! Chat sessions in the database. Counts are columns, since turns change them and documents that are put do not.

use protocol::document::{ChatSession, SessionStats, TurnStats};
use protocol::ids::{ChatSessionId, UserId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::fault::Outcome;
use super::row::{List, changed, from_json, page, to_json};
use super::turn;
use crate::store::{Page, PageRequest, SessionFilter, SessionPatch, StoreError};

const COLUMNS: &str = "id, body, turn_count, input_tokens, output_tokens, tool_call_count";

pub(super) fn insert(connection: &Connection, session: &ChatSession) -> Outcome<()> {
    let SessionStats { turn_count, input_tokens, output_tokens, tool_call_count } = session.stats;
    connection
        .prepare_cached(
            "INSERT INTO chat_sessions (id, user, project, archived, turn_count, input_tokens, output_tokens, \
             tool_call_count, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            session.id.as_str(),
            session.user.as_str(),
            session.project.as_str(),
            session.archived_at.is_some(),
            turn_count,
            input_tokens,
            output_tokens,
            tool_call_count,
            to_json(session)?
        ])?;
    Ok(())
}

pub(super) fn patch(
    connection: &Connection,
    id: &ChatSessionId,
    patch: SessionPatch,
) -> Outcome<ChatSession> {
    let mut session = get(connection, id)?.ok_or(StoreError::NotFound)?;
    patch.apply(&mut session);
    connection
        .prepare_cached("UPDATE chat_sessions SET archived = ?, body = ? WHERE id = ?")?
        .execute(params![session.archived_at.is_some(), to_json(&session)?, id.as_str()])?;
    Ok(session)
}

pub(super) fn count_turn(connection: &Connection, id: &ChatSessionId) -> Outcome<()> {
    let rows = connection
        .prepare_cached("UPDATE chat_sessions SET turn_count = turn_count + 1 WHERE id = ?")?
        .execute([id.as_str()])?;
    changed(rows)
}

pub(super) fn count_usage(connection: &Connection, id: &ChatSessionId, stats: &TurnStats) -> Outcome<()> {
    let input = stats.input_tokens + stats.cache_read_tokens + stats.cache_write_tokens;
    let output = stats.response_tokens + stats.thinking_token_count;
    let rows = connection
        .prepare_cached(
            "UPDATE chat_sessions SET input_tokens = input_tokens + ?, output_tokens = output_tokens + ?, \
             tool_call_count = tool_call_count + ? WHERE id = ?",
        )?
        .execute(params![input, output, stats.tool_call_count, id.as_str()])?;
    changed(rows)
}

pub(super) fn get(connection: &Connection, id: &ChatSessionId) -> Outcome<Option<ChatSession>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM chat_sessions WHERE id = ?"))?
        .query_row([id.as_str()], |row| Ok(read(row)))
        .optional()?
        .transpose()
}

pub(super) fn list(
    connection: &Connection,
    user: &UserId,
    filter: &SessionFilter,
    request: &PageRequest,
) -> Outcome<Page<ChatSession>> {
    let SessionFilter { project, archived } = filter;
    let mut list = List {
        columns: COLUMNS,
        table: "chat_sessions",
        conditions: vec!["user = ?"],
        values: vec![user.to_string()],
    };
    if let Some(project) = project {
        list.conditions.push("project = ?");
        list.values.push(project.to_string());
    }
    match archived {
        Some(true) => list.conditions.push("archived <> 0"),
        Some(false) => list.conditions.push("archived = 0"),
        None => {}
    }
    page(connection, list, request, read)
}

/// Its events go later, by [`super::event::clear_deleted`]: there may be very many.
pub(super) fn delete(connection: &Connection, id: &ChatSessionId) -> Outcome<()> {
    if turn::processing_in(connection, id)?.is_some() {
        return Err(StoreError::TurnRunning.into());
    }
    let rows = connection
        .prepare_cached("INSERT INTO deleted_sessions (key) SELECT key FROM chat_sessions WHERE id = ?")?
        .execute([id.as_str()])?;
    changed(rows)?;
    connection.prepare_cached("DELETE FROM chat_sessions WHERE id = ?")?.execute([id.as_str()])?;
    Ok(())
}

fn read(row: &Row<'_>) -> Outcome<ChatSession> {
    let session: ChatSession = from_json(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
    let stats = SessionStats {
        turn_count: row.get(2)?,
        input_tokens: row.get(3)?,
        output_tokens: row.get(4)?,
        tool_call_count: row.get(5)?,
    };
    Ok(ChatSession { stats, ..session })
}

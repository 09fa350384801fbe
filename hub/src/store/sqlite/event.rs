//! Turn events in the database: append, read on from a number, clear away.

use protocol::ids::{ChatSessionId, TurnId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::event_body::{EventRow, pack};
use super::fault::Outcome;
use super::turn;
use crate::store::{Append, EventRecord, StoreError};

/// Rows of deleted sessions that go in one write, so that others get their turn.
const CLEARED_AT_ONCE: u32 = 200;

/// Stores what is not stored yet, then the end of the turn.
pub(super) fn append(connection: &Connection, append: &Append, rows: &[EventRow]) -> Outcome<()> {
    let Append { session, events, end } = append;
    let (key, stored) = connection
        .prepare_cached(
            "SELECT key, (SELECT max(last_seq) FROM turn_events WHERE session = key) FROM chat_sessions WHERE id = ?",
        )?
        .query_row([session.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<u64>>(1)?)))
        .optional()?
        .ok_or(StoreError::NotFound)?;
    let stored = stored.unwrap_or(0);
    if rows.first().is_none_or(|row| row.first_seq > stored) {
        insert(connection, key, rows)?;
    } else {
        // A retried write that had landed, in whole or in part.
        let missing: Vec<EventRecord> = events.iter().filter(|event| event.seq > stored).cloned().collect();
        insert(connection, key, &pack(&missing)?)?;
    }
    if let Some(end) = end {
        let last_seq = events.last().map_or(stored, |event| event.seq.max(stored));
        turn::end(connection, session, end, last_seq)?;
    }
    Ok(())
}

fn insert(connection: &Connection, session: i64, rows: &[EventRow]) -> Outcome<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO turn_events (session, first_seq, last_seq, turn, attempt, body) VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for EventRow { first_seq, last_seq, turn, attempt, body } in rows {
        statement.execute(params![session, first_seq, last_seq, turn.as_str(), attempt, body])?;
    }
    Ok(())
}

pub(super) fn last_seq(connection: &Connection, session: &ChatSessionId) -> Outcome<u64> {
    let last: Option<u64> = connection
        .prepare_cached(
            "SELECT max(last_seq) FROM turn_events WHERE session = (SELECT key FROM chat_sessions WHERE id = ?)",
        )?
        .query_row([session.as_str()], |row| row.get(0))?;
    Ok(last.unwrap_or(0))
}

pub(super) fn after(
    connection: &Connection,
    session: &ChatSessionId,
    after: u64,
    limit: u32,
) -> Outcome<Vec<EventRecord>> {
    let mut events = Vec::new();
    each_row(connection, session, after, |row| {
        events.extend(row.unpack()?.into_iter().filter(|event| event.seq > after));
        Ok(events.len() < limit as usize)
    })?;
    events.truncate(limit as usize);
    Ok(events)
}

/// The events of one turn, in order.
pub(super) fn of_turn(
    connection: &Connection,
    session: &ChatSessionId,
    turn: &TurnId,
    seq_before: u64,
) -> Outcome<Vec<EventRecord>> {
    let mut events = Vec::new();
    each_row(connection, session, seq_before, |row| {
        let ours = row.turn == *turn;
        if ours {
            events.extend(row.unpack()?);
        }
        // Turns of a session do not overlap: the first row of another is the end of this.
        Ok(ours)
    })?;
    Ok(events)
}

/// Rows that hold events numbered above `after`, in order, while `take` wants more.
fn each_row(
    connection: &Connection,
    session: &ChatSessionId,
    after: u64,
    mut take: impl FnMut(EventRow) -> Outcome<bool>,
) -> Outcome<()> {
    let mut statement = connection.prepare_cached(
        "SELECT first_seq, last_seq, turn, attempt, body FROM turn_events \
         WHERE session = (SELECT key FROM chat_sessions WHERE id = ?) AND last_seq > ? ORDER BY last_seq",
    )?;
    let mut rows = statement.query(params![session.as_str(), after])?;
    while let Some(row) = rows.next()? {
        if !take(read(row)?)? {
            break;
        }
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        first_seq: row.get(0)?,
        last_seq: row.get(1)?,
        turn: row.get::<_, String>(2)?.into(),
        attempt: row.get(3)?,
        body: row.get(4)?,
    })
}

/// Clears away some events of deleted sessions. `true`: there may be more.
pub(super) fn clear_deleted(connection: &Connection) -> Outcome<bool> {
    let Some(key) = connection
        .prepare_cached("SELECT key FROM deleted_sessions LIMIT 1")?
        .query_row([], |row| row.get::<_, i64>(0))
        .optional()?
    else {
        return Ok(false);
    };
    let cleared = connection
        .prepare_cached(
            "DELETE FROM turn_events WHERE rowid IN (SELECT rowid FROM turn_events WHERE session = ? LIMIT ?)",
        )?
        .execute(params![key, CLEARED_AT_ONCE])?;
    if cleared == 0 {
        connection.prepare_cached("DELETE FROM deleted_sessions WHERE key = ?")?.execute([key])?;
    }
    Ok(true)
}

//! Drones in the database. The generation is a column that only counts up, whatever a document says that is put.

use protocol::ids::{ChatSessionId, DroneId, UserId};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::fault::Outcome;
use super::row::{List, changed, from_json, page, to_json};
use crate::store::{DroneRecord, Page, PageRequest, StoreError};

const COLUMNS: &str = "id, body, generation";

pub(super) fn put(connection: &Connection, record: &DroneRecord) -> Outcome<()> {
    let drone = &record.registration;
    connection
        .prepare_cached(
            "INSERT INTO drones (id, user, session, generation, body) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (id) DO UPDATE SET user = excluded.user, session = excluded.session, \
             generation = max(generation, excluded.generation), body = excluded.body",
        )?
        .execute(params![
            drone.id.as_str(),
            drone.user.as_str(),
            drone.chat_session_id.as_ref().map(ChatSessionId::as_str),
            record.generation,
            to_json(record)?
        ])?;
    Ok(())
}

pub(super) fn get(connection: &Connection, id: &DroneId) -> Outcome<Option<DroneRecord>> {
    one(connection, &format!("SELECT {COLUMNS} FROM drones WHERE id = ?"), id.as_str())
}

/// The newest, should there be several.
pub(super) fn of_session(connection: &Connection, session: &ChatSessionId) -> Outcome<Option<DroneRecord>> {
    one(
        connection,
        &format!("SELECT {COLUMNS} FROM drones WHERE session = ? ORDER BY id DESC LIMIT 1"),
        session.as_str(),
    )
}

fn one(connection: &Connection, sql: &str, value: &str) -> Outcome<Option<DroneRecord>> {
    connection.prepare_cached(sql)?.query_row([value], |row| Ok(read(row))).optional()?.transpose()
}

pub(super) fn list(
    connection: &Connection,
    user: &UserId,
    request: &PageRequest,
) -> Outcome<Page<DroneRecord>> {
    let list = List {
        columns: COLUMNS,
        table: "drones",
        conditions: vec!["user = ?"],
        values: vec![user.to_string()],
    };
    page(connection, list, request, read)
}

pub(super) fn all(connection: &Connection) -> Outcome<Vec<DroneRecord>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM drones ORDER BY id"))?;
    let mut rows = statement.query([])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(read(row)?);
    }
    Ok(records)
}

pub(super) fn next_generation(connection: &Connection, id: &DroneId) -> Outcome<u64> {
    connection
        .prepare_cached("UPDATE drones SET generation = generation + 1 WHERE id = ? RETURNING generation")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?
        .ok_or_else(|| StoreError::NotFound.into())
}

pub(super) fn delete(connection: &Connection, id: &DroneId) -> Outcome<()> {
    changed(connection.prepare_cached("DELETE FROM drones WHERE id = ?")?.execute([id.as_str()])?)
}

fn read(row: &Row<'_>) -> Outcome<DroneRecord> {
    let record: DroneRecord = from_json(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
    Ok(DroneRecord { generation: row.get(2)?, ..record })
}

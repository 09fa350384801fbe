//! Users, revoked tokens and preferences in the database.

use jiff::Timestamp;
use protocol::ids::UserId;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;

use super::fault::Outcome;
use super::row::{changed, find, to_json};
use crate::store::UserRecord;

pub(super) fn insert(connection: &Connection, record: &UserRecord) -> Outcome<()> {
    let user = &record.user;
    connection
        .prepare_cached("INSERT INTO users (id, email, handle, body) VALUES (?, ?, ?, ?)")?
        .execute(params![user.id.as_str(), user.email, user.handle, to_json(record)?])?;
    Ok(())
}

pub(super) fn update(connection: &Connection, record: &UserRecord) -> Outcome<()> {
    let user = &record.user;
    let rows = connection
        .prepare_cached("UPDATE users SET email = ?, handle = ?, body = ? WHERE id = ?")?
        .execute(params![user.email, user.handle, to_json(record)?, user.id.as_str()])?;
    changed(rows)
}

pub(super) fn get(connection: &Connection, id: &UserId) -> Outcome<Option<UserRecord>> {
    find(connection, "SELECT body FROM users WHERE id = ?", [id.as_str()])
}

pub(super) fn by_email(connection: &Connection, email: &str) -> Outcome<Option<UserRecord>> {
    find(connection, "SELECT body FROM users WHERE email = ?", [email])
}

pub(super) fn by_handle(connection: &Connection, handle: &str) -> Outcome<Option<UserRecord>> {
    find(connection, "SELECT body FROM users WHERE handle = ?", [handle])
}

/// Forgets tokens that have expired meanwhile.
pub(super) fn revoke(
    connection: &Connection,
    token: &str,
    expires_at: Timestamp,
    now: Timestamp,
) -> Outcome<()> {
    connection.prepare_cached("DELETE FROM revoked_tokens WHERE expires_at < ?")?.execute([
        // A token is taken for some seconds longer than its time.
        now.as_second() - 3600,
    ])?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO revoked_tokens (id, expires_at) VALUES (?, ?)")?
        .execute(params![token, expires_at.as_second()])?;
    Ok(())
}

pub(super) fn revoked(connection: &Connection, token: &str) -> Outcome<bool> {
    let found: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM revoked_tokens WHERE id = ?")?
        .query_row([token], |row| row.get(0))
        .optional()?;
    Ok(found.is_some())
}

pub(super) fn preferences(connection: &Connection, user: &UserId) -> Outcome<Value> {
    let found = find(connection, "SELECT body FROM preferences WHERE user = ?", [user.as_str()])?;
    Ok(found.unwrap_or_else(|| Value::Object(serde_json::Map::new())))
}

pub(super) fn put_preferences(connection: &Connection, user: &UserId, preferences: &Value) -> Outcome<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO preferences (user, body) VALUES (?, ?)")?
        .execute(params![user.as_str(), to_json(preferences)?])?;
    Ok(())
}

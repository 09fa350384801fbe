//! Projects and their git credentials in the database.

use protocol::document::Project;
use protocol::ids::{ProjectId, UserId};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::fault::Outcome;
use super::row::{changed, find, to_json};
use crate::store::{CredentialRecord, StoreError};

pub(super) fn insert(connection: &Connection, project: &Project) -> Outcome<()> {
    connection
        .prepare_cached("INSERT INTO projects (id, user, slug, body) VALUES (?, ?, ?, ?)")?
        .execute(params![project.id.as_str(), project.user.as_str(), project.slug, to_json(project)?])?;
    Ok(())
}

pub(super) fn update(connection: &Connection, project: &Project) -> Outcome<()> {
    let rows = connection
        .prepare_cached("UPDATE projects SET slug = ?, body = ? WHERE id = ?")?
        .execute(params![project.slug, to_json(project)?, project.id.as_str()])?;
    changed(rows)
}

pub(super) fn get(connection: &Connection, id: &ProjectId) -> Outcome<Option<Project>> {
    find(connection, "SELECT body FROM projects WHERE id = ?", [id.as_str()])
}

pub(super) fn by_slug(connection: &Connection, user: &UserId, slug: &str) -> Outcome<Option<Project>> {
    find(connection, "SELECT body FROM projects WHERE user = ? AND slug = ?", [user.as_str(), slug])
}

pub(super) fn delete(connection: &Connection, id: &ProjectId) -> Outcome<()> {
    let used: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM chat_sessions WHERE project = ? LIMIT 1")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?;
    if used.is_some() {
        return Err(StoreError::InUse("the project has chat sessions; delete them first".to_owned()).into());
    }
    changed(connection.prepare_cached("DELETE FROM projects WHERE id = ?")?.execute([id.as_str()])?)
}

pub(super) fn put_credential(connection: &Connection, credential: &CredentialRecord) -> Outcome<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO credentials (project, body) VALUES (?, ?)")?
        .execute(params![credential.project.as_str(), to_json(credential)?])?;
    Ok(())
}

pub(super) fn credential(connection: &Connection, project: &ProjectId) -> Outcome<Option<CredentialRecord>> {
    find(connection, "SELECT body FROM credentials WHERE project = ?", [project.as_str()])
}

pub(super) fn delete_credential(connection: &Connection, project: &ProjectId) -> Outcome<()> {
    let rows = connection
        .prepare_cached("DELETE FROM credentials WHERE project = ?")?
        .execute([project.as_str()])?;
    if rows == 0 { Err(StoreError::NotFound.into()) } else { Ok(()) }
}

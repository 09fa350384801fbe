//! Providers, routing rules and the audit log in the database, and the question whether it takes writes.

use jiff::Timestamp;
use protocol::document::RoutingRule;
use rusqlite::{Connection, params};

use super::fault::Outcome;
use super::row::{all, changed, find, to_json};
use crate::store::{AuditRecord, ProviderRecord};

/// A store that cannot take so much is as good as full.
const CHECK_BYTES: u32 = 64 * 1024;

pub(super) fn put_provider(connection: &Connection, provider: &ProviderRecord) -> Outcome<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO providers (name, body) VALUES (?, ?)")?
        .execute(params![provider.name, to_json(provider)?])?;
    Ok(())
}

pub(super) fn provider(connection: &Connection, name: &str) -> Outcome<Option<ProviderRecord>> {
    find(connection, "SELECT body FROM providers WHERE name = ?", [name])
}

pub(super) fn providers(connection: &Connection) -> Outcome<Vec<ProviderRecord>> {
    all(connection, "SELECT body FROM providers ORDER BY name", [])
}

pub(super) fn delete_provider(connection: &Connection, name: &str) -> Outcome<()> {
    changed(connection.prepare_cached("DELETE FROM providers WHERE name = ?")?.execute([name])?)
}

pub(super) fn put_routing_rule(connection: &Connection, rule: &RoutingRule) -> Outcome<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO routing_rules (id, priority, body) VALUES (?, ?, ?)")?
        .execute(params![rule.id, rule.priority, to_json(rule)?])?;
    Ok(())
}

pub(super) fn routing_rules(connection: &Connection) -> Outcome<Vec<RoutingRule>> {
    all(connection, "SELECT body FROM routing_rules ORDER BY priority, id", [])
}

pub(super) fn delete_routing_rule(connection: &Connection, id: &str) -> Outcome<()> {
    changed(connection.prepare_cached("DELETE FROM routing_rules WHERE id = ?")?.execute([id])?)
}

pub(super) fn audit(connection: &Connection, record: &AuditRecord) -> Outcome<()> {
    connection
        .prepare_cached("INSERT INTO audit (id, body) VALUES (?, ?)")?
        .execute(params![record.id, to_json(record)?])?;
    Ok(())
}

/// Takes space and gives it back, in one transaction: a full file refuses the first, a broken disk the commit.
pub(super) fn check(connection: &Connection, now: Timestamp) -> Outcome<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO write_check (id, at, filler) VALUES (1, ?, zeroblob(?))")?
        .execute(params![now.as_millisecond(), CHECK_BYTES])?;
    connection.prepare_cached("UPDATE write_check SET filler = x'' WHERE id = 1")?.execute([])?;
    Ok(())
}

//! The numbered versions of the database's tables. A released one never changes; a change is a new one.

use rusqlite::{Connection, TransactionBehavior};

/// Step `n` (from 1) brings a database of version `n - 1` to version `n`.
pub(super) const STEPS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error(
        "the database is of version {found}, this program knows versions up to {known}; \
         run the newer program again, or restore a backup from before it ran"
    )]
    Newer { found: usize, known: usize },
    #[error("failed to bring the database to version {version}")]
    Step {
        version: usize,
        #[source]
        source: rusqlite::Error,
    },
    #[error("failed to read the database's version")]
    Version(#[source] rusqlite::Error),
}

/// Brings the database to the newest version, each step whole or not at all.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), SchemaError> {
    migrate_to(connection, STEPS.len())
}

pub(super) fn migrate_to(connection: &mut Connection, wanted: usize) -> Result<(), SchemaError> {
    let found = version(connection).map_err(SchemaError::Version)?;
    if found > STEPS.len() {
        return Err(SchemaError::Newer { found, known: STEPS.len() });
    }
    for (step, version) in STEPS.iter().zip(1..=wanted).skip(found) {
        apply(connection, step, version).map_err(|source| SchemaError::Step { version, source })?;
    }
    Ok(())
}

fn apply(connection: &mut Connection, step: &str, version: usize) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    transaction.execute_batch(step)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<usize> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

//! What can go wrong inside one operation, and what the store's callers are told of it.

use crate::store::StoreError;

/// An operation's failure, before it is known which operation it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Refused(StoreError),
    #[error("the database failed")]
    Sqlite(#[source] rusqlite::Error),
    #[error("a stored document is damaged or cannot be written")]
    Document(#[source] serde_json::Error),
    #[error("a time is out of range")]
    Time(#[source] jiff::Error),
}

pub(super) type Outcome<T> = Result<T, Fault>;

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match taken(&error) {
            Some(refusal) => Self::Refused(refusal),
            None => Self::Sqlite(error),
        }
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Document(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl Fault {
    pub(super) fn into_store_error(self, action: &'static str) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Sqlite(error) => StoreError::Unavailable { action, source: error.into() },
            Self::Document(error) => StoreError::Unavailable { action, source: error.into() },
            Self::Time(error) => StoreError::Unavailable { action, source: error.into() },
        }
    }
}

/// A refusal by a unique index or a reference, in the store's words.
fn taken(error: &rusqlite::Error) -> Option<StoreError> {
    let rusqlite::Error::SqliteFailure(code, Some(message)) = error else { return None };
    if code.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY {
        return Some(StoreError::NotFound);
    }
    let columns = message.strip_prefix("UNIQUE constraint failed: ")?;
    match columns {
        "users.email" => Some(StoreError::Taken("email")),
        "users.handle" => Some(StoreError::Taken("handle")),
        "projects.user, projects.slug" => Some(StoreError::Taken("slug")),
        "turns.session" => Some(StoreError::TurnRunning),
        _ => Some(StoreError::Taken("_id")),
    }
}

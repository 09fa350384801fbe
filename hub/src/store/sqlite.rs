//! The embedded store: SQLite in the data directory, one writer with group commit, a few readers.

mod checkpoint;
mod connection;
mod drone;
mod event;
mod event_body;
mod fault;
mod metrics;
mod project;
mod readers;
mod row;
mod schema;
mod session;
mod setting;
mod turn;
mod user;
mod writer;

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;
use protocol::document::{ChatSession, ChatTurn, Project, RoutingRule};
use protocol::ids::{ChatSessionId, DroneId, ProjectId, TurnId, UserId};
use rusqlite::Connection;
use serde_json::Value;

use self::fault::Outcome;
use self::readers::Readers;
use self::writer::Writer;
use crate::store::{
    Append, AuditRecord, CredentialRecord, DroneRecord, EventRecord, Page, PageRequest, ProviderRecord,
    SessionFilter, SessionPatch, Store, StoreError, TurnPatch, TurnRecord, UserRecord,
};

pub use self::metrics::StoreMetrics;
pub use self::schema::SchemaError;

/// The name of the database in the data directory.
pub const FILE: &str = "gadget.db";

/// How the database is used.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Reads at the same time.
    pub readers: usize,
    /// Largest size of the file, in pages of 4 KiB; absent: as large as the disk.
    pub max_pages: Option<u32>,
    pub metrics: StoreMetrics,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { readers: 4, max_pages: None, metrics: StoreMetrics::default() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("failed to create {path}")]
    Create {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("failed to open the database {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("failed to bring {path} up to date")]
    Schema {
        path: PathBuf,
        #[source]
        source: SchemaError,
    },
    #[error("failed to finish an interrupted deletion")]
    Clear(#[source] StoreError),
    #[error("failed to start the store's writer")]
    Writer(#[source] std::io::Error),
}

/// The embedded store.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
}

impl SqliteStore {
    /// Opens the database in `dir`, makes it where there is none, brings an older one up to date. Blocks.
    pub fn open(dir: &Path, options: SqliteOptions) -> Result<Self, OpenError> {
        let SqliteOptions { readers, max_pages, metrics } = options;
        let path = dir.join(FILE);
        create_private(&path).map_err(|source| OpenError::Create { path: path.clone(), source })?;
        let mut connection = connection::open_writer(&path, max_pages)
            .map_err(|source| OpenError::Open { path: path.clone(), source })?;
        schema::migrate(&mut connection)
            .map_err(|source| OpenError::Schema { path: path.clone(), source })?;
        // What a hub that died while it deleted a session has left.
        while event::clear_deleted(&connection)
            .map_err(|fault| OpenError::Clear(fault.into_store_error("clear away deleted events")))?
        {}
        drop(connection);
        let readers = Readers::new(path.clone(), readers);
        let writer = Writer::start(path, max_pages, metrics).map_err(OpenError::Writer)?;
        Ok(Self { writer, readers })
    }

    async fn write<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.write(action, work).await
    }

    async fn read<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> Outcome<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.read(action, work).await
    }

    /// A turn that is over is assembled once. Nobody waits for that, and that it could not be kept is no reason not to show
    /// it.
    async fn keep(&self, to_keep: Option<(TurnId, String)>) {
        let Some((id, content)) = to_keep else { return };
        let kept = self.writer.post("keep an assembled turn", move |c| turn::keep(c, &id, &content)).await;
        if let Err(error) = kept {
            tracing::debug!(%error, "an assembled turn was not kept");
        }
    }

    async fn clear_deleted(&self) -> Result<(), StoreError> {
        while self.write("clear away deleted events", event::clear_deleted).await? {}
        Ok(())
    }
}

/// For the user of the hub alone, from the first moment.
fn create_private(path: &Path) -> std::io::Result<()> {
    std::fs::File::options().append(true).create(true).mode(0o600).open(path).map(drop)
}

#[async_trait]
impl Store for SqliteStore {
    async fn check(&self) -> Result<(), StoreError> {
        self.write("check the store", |c| setting::check(c, Timestamp::now())).await
    }

    async fn insert_user(&self, record: UserRecord) -> Result<(), StoreError> {
        self.write("store a user", move |c| user::insert(c, &record)).await
    }

    async fn update_user(&self, record: UserRecord) -> Result<(), StoreError> {
        self.write("change a user", move |c| user::update(c, &record)).await
    }

    async fn user(&self, id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        let id = id.clone();
        self.read("read a user", move |c| user::get(c, &id)).await
    }

    async fn user_by_email(&self, email: &str) -> Result<Option<UserRecord>, StoreError> {
        let email = email.to_owned();
        self.read("read a user", move |c| user::by_email(c, &email)).await
    }

    async fn user_by_handle(&self, handle: &str) -> Result<Option<UserRecord>, StoreError> {
        let handle = handle.to_owned();
        self.read("read a user", move |c| user::by_handle(c, &handle)).await
    }

    async fn users(&self, page: PageRequest) -> Result<Page<UserRecord>, StoreError> {
        self.read("list users", move |c| row::page_of_documents(c, "users", None, &page)).await
    }

    async fn revoke_token(&self, token_id: &str, expires_at: Timestamp) -> Result<(), StoreError> {
        let token_id = token_id.to_owned();
        self.write("revoke a token", move |c| user::revoke(c, &token_id, expires_at, Timestamp::now())).await
    }

    async fn token_revoked(&self, token_id: &str) -> Result<bool, StoreError> {
        let token_id = token_id.to_owned();
        self.read("look up a token", move |c| user::revoked(c, &token_id)).await
    }

    async fn insert_project(&self, project: Project) -> Result<(), StoreError> {
        self.write("store a project", move |c| project::insert(c, &project)).await
    }

    async fn update_project(&self, project: Project) -> Result<(), StoreError> {
        self.write("change a project", move |c| project::update(c, &project)).await
    }

    async fn project(&self, id: &ProjectId) -> Result<Option<Project>, StoreError> {
        let id = id.clone();
        self.read("read a project", move |c| project::get(c, &id)).await
    }

    async fn project_by_slug(&self, user: &UserId, slug: &str) -> Result<Option<Project>, StoreError> {
        let user = user.clone();
        let slug = slug.to_owned();
        self.read("read a project", move |c| project::by_slug(c, &user, &slug)).await
    }

    async fn projects(&self, user: &UserId, page: PageRequest) -> Result<Page<Project>, StoreError> {
        let user = user.clone();
        self.read("list projects", move |c| {
            row::page_of_documents(c, "projects", Some(("user = ?", user.as_str())), &page)
        })
        .await
    }

    async fn delete_project(&self, id: &ProjectId) -> Result<(), StoreError> {
        let id = id.clone();
        self.write("delete a project", move |c| project::delete(c, &id)).await
    }

    async fn put_credential(&self, credential: CredentialRecord) -> Result<(), StoreError> {
        self.write("store a credential", move |c| project::put_credential(c, &credential)).await
    }

    async fn credential(&self, project: &ProjectId) -> Result<Option<CredentialRecord>, StoreError> {
        let project = project.clone();
        self.read("read a credential", move |c| project::credential(c, &project)).await
    }

    async fn delete_credential(&self, project: &ProjectId) -> Result<(), StoreError> {
        let project = project.clone();
        self.write("delete a credential", move |c| project::delete_credential(c, &project)).await
    }

    async fn insert_session(&self, session: ChatSession) -> Result<(), StoreError> {
        self.write("store a chat session", move |c| session::insert(c, &session)).await
    }

    async fn patch_session(
        &self,
        id: &ChatSessionId,
        patch: SessionPatch,
    ) -> Result<ChatSession, StoreError> {
        let id = id.clone();
        self.write("change a chat session", move |c| session::patch(c, &id, patch)).await
    }

    async fn session(&self, id: &ChatSessionId) -> Result<Option<ChatSession>, StoreError> {
        let id = id.clone();
        self.read("read a chat session", move |c| session::get(c, &id)).await
    }

    async fn sessions(
        &self,
        user: &UserId,
        filter: SessionFilter,
        page: PageRequest,
    ) -> Result<Page<ChatSession>, StoreError> {
        let user = user.clone();
        self.read("list chat sessions", move |c| session::list(c, &user, &filter, &page)).await
    }

    async fn delete_session(&self, id: &ChatSessionId) -> Result<(), StoreError> {
        let id = id.clone();
        self.write("delete a chat session", move |c| session::delete(c, &id)).await?;
        self.clear_deleted().await
    }

    async fn insert_turn(&self, turn: TurnRecord) -> Result<(), StoreError> {
        self.write("store a turn", move |c| turn::insert(c, &turn)).await
    }

    async fn patch_turn(&self, id: &TurnId, patch: TurnPatch) -> Result<(), StoreError> {
        let id = id.clone();
        self.write("change a turn", move |c| turn::patch(c, &id, &patch)).await
    }

    async fn turn(&self, id: &TurnId) -> Result<Option<TurnRecord>, StoreError> {
        let id = id.clone();
        self.read("read a turn", move |c| turn::get(c, &id)).await
    }

    async fn turns(
        &self,
        session: &ChatSessionId,
        page: PageRequest,
    ) -> Result<Page<TurnRecord>, StoreError> {
        let session = session.clone();
        self.read("list turns", move |c| turn::list(c, &session, &page)).await
    }

    async fn processing_turn(&self, session: &ChatSessionId) -> Result<Option<TurnRecord>, StoreError> {
        let session = session.clone();
        self.read("read a turn", move |c| turn::processing_in(c, &session)).await
    }

    async fn processing_turns(&self, user: Option<&UserId>) -> Result<Vec<TurnRecord>, StoreError> {
        let user = user.cloned();
        self.read("list turns", move |c| turn::processing(c, user.as_ref())).await
    }

    async fn append(&self, append: Append) -> Result<(), StoreError> {
        let action = "store events";
        // Here and not in the writer: there is one writer, and callers are many.
        let rows = event_body::pack(&append.events).map_err(|fault| fault.into_store_error(action))?;
        self.write(action, move |c| event::append(c, &append, &rows)).await
    }

    async fn last_seq(&self, session: &ChatSessionId) -> Result<u64, StoreError> {
        let session = session.clone();
        self.read("read an event number", move |c| event::last_seq(c, &session)).await
    }

    async fn events_after(
        &self,
        session: &ChatSessionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let session = session.clone();
        self.read("read events", move |c| event::after(c, &session, after, limit)).await
    }

    async fn full_turn(&self, id: &TurnId) -> Result<Option<ChatTurn>, StoreError> {
        let id = id.clone();
        let Some(turn::Assembly { turn, to_keep }) =
            self.read("read a turn", move |c| turn::full(c, &id)).await?
        else {
            return Ok(None);
        };
        self.keep(to_keep).await;
        Ok(Some(turn))
    }

    async fn full_turns(
        &self,
        session: &ChatSessionId,
        page: PageRequest,
    ) -> Result<Page<ChatTurn>, StoreError> {
        let session = session.clone();
        let page = self.read("list turns", move |c| turn::full_list(c, &session, &page)).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for turn::Assembly { turn, to_keep } in page.items {
            self.keep(to_keep).await;
            items.push(turn);
        }
        Ok(Page { items, next_cursor: page.next_cursor })
    }

    async fn put_drone(&self, record: DroneRecord) -> Result<(), StoreError> {
        self.write("store a drone", move |c| drone::put(c, &record)).await
    }

    async fn drone(&self, id: &DroneId) -> Result<Option<DroneRecord>, StoreError> {
        let id = id.clone();
        self.read("read a drone", move |c| drone::get(c, &id)).await
    }

    async fn drones(&self, user: &UserId, page: PageRequest) -> Result<Page<DroneRecord>, StoreError> {
        let user = user.clone();
        self.read("list drones", move |c| drone::list(c, &user, &page)).await
    }

    async fn all_drones(&self) -> Result<Vec<DroneRecord>, StoreError> {
        self.read("list drones", drone::all).await
    }

    async fn drone_of_session(&self, session: &ChatSessionId) -> Result<Option<DroneRecord>, StoreError> {
        let session = session.clone();
        self.read("read a drone", move |c| drone::of_session(c, &session)).await
    }

    async fn next_generation(&self, id: &DroneId) -> Result<u64, StoreError> {
        let id = id.clone();
        self.write("count up a generation", move |c| drone::next_generation(c, &id)).await
    }

    async fn delete_drone(&self, id: &DroneId) -> Result<(), StoreError> {
        let id = id.clone();
        self.write("delete a drone", move |c| drone::delete(c, &id)).await
    }

    async fn put_provider(&self, provider: ProviderRecord) -> Result<(), StoreError> {
        self.write("store a provider", move |c| setting::put_provider(c, &provider)).await
    }

    async fn provider(&self, name: &str) -> Result<Option<ProviderRecord>, StoreError> {
        let name = name.to_owned();
        self.read("read a provider", move |c| setting::provider(c, &name)).await
    }

    async fn providers(&self) -> Result<Vec<ProviderRecord>, StoreError> {
        self.read("list providers", setting::providers).await
    }

    async fn delete_provider(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write("delete a provider", move |c| setting::delete_provider(c, &name)).await
    }

    async fn put_routing_rule(&self, rule: RoutingRule) -> Result<(), StoreError> {
        self.write("store a routing rule", move |c| setting::put_routing_rule(c, &rule)).await
    }

    async fn routing_rules(&self) -> Result<Vec<RoutingRule>, StoreError> {
        self.read("read routing rules", setting::routing_rules).await
    }

    async fn delete_routing_rule(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write("delete a routing rule", move |c| setting::delete_routing_rule(c, &id)).await
    }

    async fn preferences(&self, user: &UserId) -> Result<Value, StoreError> {
        let user = user.clone();
        self.read("read preferences", move |c| user::preferences(c, &user)).await
    }

    async fn put_preferences(&self, user: &UserId, preferences: Value) -> Result<(), StoreError> {
        let user = user.clone();
        self.write("store preferences", move |c| user::put_preferences(c, &user, &preferences)).await
    }

    async fn audit(&self, record: AuditRecord) -> Result<(), StoreError> {
        self.write("store an audit record", move |c| setting::audit(c, &record)).await
    }

    async fn audit_log(&self, page: PageRequest) -> Result<Page<AuditRecord>, StoreError> {
        self.read("list audit records", move |c| row::page_of_documents(c, "audit", None, &page)).await
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.close();
    }
}

#[cfg(test)]
mod tests;

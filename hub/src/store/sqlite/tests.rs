mod broken;
mod child;
mod crash;
mod full;
mod replay;

use super::*;
use crate::store::suite::{self, store_suite};
use tempfile::TempDir;

fn open() -> (SqliteStore, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap(), dir)
}

store_suite!(open);

#[tokio::test]
async fn a_commit_waits_for_the_disk() {
    let (_, dir) = open();
    let connection = connection::open_writer(&dir.path().join(FILE), None).unwrap();
    let pragma =
        |name| connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
    assert_eq!(pragma("journal_mode").unwrap(), rusqlite::types::Value::Text("wal".into()));
    // 2 is FULL.
    assert_eq!(pragma("synchronous").unwrap(), rusqlite::types::Value::Integer(2));
}

#[tokio::test]
async fn what_was_stored_is_there_after_opening_again() {
    let (store, dir) = open();
    let turn = suite::stored_turn(&store).await;
    store.append(suite::texts(&turn, 1, 3)).await.unwrap();
    store.close().await;
    let store = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap();
    assert_eq!(suite::stored_seqs(&store, &turn.session).await, [1, 2, 3]);
    assert_eq!(store.turn(&turn.id).await.unwrap(), Some(turn));
}

#[test]
fn a_database_of_every_older_version_is_brought_up_to_date() {
    for older in 0..=schema::STEPS.len() {
        let dir = tempfile::tempdir().unwrap();
        let mut connection = Connection::open(dir.path().join(FILE)).unwrap();
        schema::migrate_to(&mut connection, older).unwrap();
        drop(connection);
        drop(SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap());
        let connection = Connection::open(dir.path().join(FILE)).unwrap();
        assert_eq!(schema::version(&connection).unwrap(), schema::STEPS.len());
    }
}

#[test]
fn a_released_version_of_the_schema_never_changes() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use sha2::Digest as _;
    let known =
        ["yaE6rU62i/7rzktRofTo8C8MEiWEmavL+0zR5GRA+Uc=", "AVgWrqNDkd44jf4Qz36IpV2BjTaEUwA5nahjYEh+iug="];
    for (step, known) in schema::STEPS.iter().zip(known) {
        assert_eq!(BASE64.encode(sha2::Sha256::digest(step)), known);
    }
    assert_eq!(schema::STEPS.len(), known.len());
}

#[test]
fn a_database_of_a_newer_program_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let connection = Connection::open(dir.path().join(FILE)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let Err(error) = SqliteStore::open(dir.path(), SqliteOptions::default()) else { panic!("opened") };
    let OpenError::Schema { source: SchemaError::Newer { found: 99, .. }, .. } = error else {
        panic!("{error:?}");
    };
}

#[test]
fn the_database_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_store, dir) = open();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.file_name());
    }
}

#[tokio::test]
async fn the_log_is_carried_over_while_writes_go_on() {
    let (store, dir) = open();
    let turn = suite::stored_turn(&store).await;
    let in_database = || std::fs::metadata(dir.path().join(FILE)).unwrap().len();
    let content = "x".repeat(1024 * 1024);
    let mut seq = 0;
    while in_database() < 8 * 1024 * 1024 {
        seq += 1;
        assert!(seq < 400, "nothing was carried over in {seq} MiB");
        let events = vec![suite::text(&turn.id, seq, &content)];
        store.append(Append { session: turn.session.clone(), events, end: None }).await.unwrap();
    }
    assert_eq!(store.last_seq(&turn.session).await.unwrap(), seq);
    store.close().await;
}

#[tokio::test]
async fn an_interrupted_deletion_is_finished_at_the_next_start() {
    let (store, dir) = open();
    let turn = suite::stored_turn(&store).await;
    let mut append = suite::texts(&turn, 1, 3000);
    append.end = Some(suite::finished(&turn));
    store.append(append).await.unwrap();
    let id = turn.session.clone();
    // As far as a hub gets that is killed right after it.
    store.write("delete a chat session", move |c| session::delete(c, &id)).await.unwrap();
    store.close().await;
    let store = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap();
    let left = store
        .read("count", |c| {
            Ok(c.query_row("SELECT count(*) FROM turn_events", [], |row| row.get::<_, u64>(0))?)
        })
        .await
        .unwrap();
    assert_eq!(left, 0);
}

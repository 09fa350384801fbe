//! Documents in rows: JSON in and out, and lists in pages.

use rusqlite::{Connection, OptionalExtension as _, Params, params_from_iter};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::Outcome;
use crate::store::{Page, PageRequest, StoreError};

const MOST_PER_PAGE: u32 = 200;

pub(super) fn to_json<T: Serialize>(document: &T) -> Outcome<String> {
    Ok(serde_json::to_string(document)?)
}

pub(super) fn from_json<T: DeserializeOwned>(body: &str) -> Outcome<T> {
    Ok(serde_json::from_str(body)?)
}

/// The document in the first column of the only row, if there is one.
pub(super) fn find<T: DeserializeOwned>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Outcome<Option<T>> {
    let body: Option<String> =
        connection.prepare_cached(sql)?.query_row(params, |row| row.get(0)).optional()?;
    body.as_deref().map(from_json).transpose()
}

/// The documents in the first column.
pub(super) fn all<T: DeserializeOwned>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Outcome<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut documents = Vec::new();
    while let Some(row) = rows.next()? {
        documents.push(from_json(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?);
    }
    Ok(documents)
}

/// Refuses when nothing was there to change.
pub(super) fn changed(rows: usize) -> Outcome<()> {
    if rows == 0 { Err(StoreError::NotFound.into()) } else { Ok(()) }
}

/// What a list is made from: rows of a table, filtered.
pub(super) struct List<'a> {
    /// Columns to read; `id` must be the first.
    pub(super) columns: &'a str,
    pub(super) table: &'a str,
    /// Conditions with `?` in the order of `values`, joined by AND. May be empty.
    pub(super) conditions: Vec<&'a str>,
    pub(super) values: Vec<String>,
}

/// One page in the order of ids. `read` makes an item from a row.
pub(super) fn page<T>(
    connection: &Connection,
    list: List<'_>,
    request: &PageRequest,
    mut read: impl FnMut(&rusqlite::Row<'_>) -> Outcome<T>,
) -> Outcome<Page<T>> {
    let List { columns, table, mut conditions, mut values } = list;
    let (after, order) = if request.newest_first { ("id < ?", "DESC") } else { ("id > ?", "ASC") };
    if let Some(cursor) = &request.cursor {
        conditions.push(after);
        values.push(cursor.clone());
    }
    let filter =
        if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let limit = request.limit.clamp(1, MOST_PER_PAGE);
    let sql = format!("SELECT {columns} FROM {table} {filter} ORDER BY id {order} LIMIT {}", limit + 1);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut page = Page { items: Vec::new(), next_cursor: None };
    let mut previous = None;
    while let Some(row) = rows.next()? {
        if page.items.len() == limit as usize {
            page.next_cursor = previous;
            break;
        }
        previous = Some(row.get::<_, String>(0)?);
        page.items.push(read(row)?);
    }
    Ok(page)
}

/// A page of documents that are whole in the column `body`.
pub(super) fn page_of_documents<T: DeserializeOwned>(
    connection: &Connection,
    table: &str,
    owner: Option<(&str, &str)>,
    request: &PageRequest,
) -> Outcome<Page<T>> {
    let list = List {
        columns: "id, body",
        table,
        conditions: owner.iter().map(|(condition, _)| *condition).collect(),
        values: owner.iter().map(|(_, value)| (*value).to_owned()).collect(),
    };
    page(connection, list, request, |row| from_json(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?))
}

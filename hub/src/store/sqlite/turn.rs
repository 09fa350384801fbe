//! Turns in the database: heads that change, and what readers see of them.

use protocol::assemble::{Assembled, TurnAssembler};
use protocol::document::{Block, ChatTurn, ToolCall, TurnStats};
use protocol::error::Refusal;
use protocol::ids::{ChatSessionId, TurnId, UserId};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::fault::Outcome;
use super::row::{List, all, changed, find, from_json, page, page_of_documents, to_json};
use super::{event, session};
use crate::store::{Page, PageRequest, StoreError, TurnEnd, TurnPatch, TurnRecord};

/// A page of turns ends early when it has so many bytes of content.
const BYTES_PER_PAGE: usize = 8 * 1024 * 1024;

pub(super) fn insert(connection: &Connection, turn: &TurnRecord) -> Outcome<()> {
    connection
        .prepare_cached("INSERT INTO turns (id, session, user, status, body) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![
            turn.id.as_str(),
            turn.session.as_str(),
            turn.user.as_str(),
            turn.status.as_str(),
            to_json(turn)?
        ])?;
    session::count_turn(connection, &turn.session)
}

pub(super) fn patch(connection: &Connection, id: &TurnId, patch: &TurnPatch) -> Outcome<()> {
    let TurnPatch { attempts, barren_attempts, work_order, attempt_seq_before, drone, abort_requested } =
        patch;
    let mut turn = get(connection, id)?.ok_or(StoreError::NotFound)?;
    turn.attempts = attempts.unwrap_or(turn.attempts);
    turn.barren_attempts = barren_attempts.unwrap_or(turn.barren_attempts);
    turn.work_order = work_order.clone().or(turn.work_order);
    turn.attempt_seq_before = attempt_seq_before.unwrap_or(turn.attempt_seq_before);
    turn.drone = drone.clone().or(turn.drone);
    turn.abort_requested = abort_requested.unwrap_or(turn.abort_requested);
    update(connection, &turn)
}

/// Ends the turn and adds its counts to its session's. A turn that is over stays as it ended.
pub(super) fn end(
    connection: &Connection,
    session: &ChatSessionId,
    end: &TurnEnd,
    last_seq: u64,
) -> Outcome<()> {
    let TurnEnd { turn: id, status, error_message, stats, ended_at } = end;
    let mut turn =
        get(connection, id)?.filter(|turn| turn.session == *session).ok_or(StoreError::NotFound)?;
    if turn.status.is_over() {
        return Ok(());
    }
    turn.status = *status;
    turn.error_message.clone_from(error_message);
    turn.stats = stats.clone();
    turn.last_seq = last_seq.max(turn.seq_before);
    update(connection, &turn)?;
    connection
        .prepare_cached("UPDATE turns SET ended_at = ? WHERE id = ?")?
        .execute(params![ended_at.to_string(), id.as_str()])?;
    session::count_usage(connection, session, stats)
}

fn update(connection: &Connection, turn: &TurnRecord) -> Outcome<()> {
    let rows = connection
        .prepare_cached("UPDATE turns SET status = ?, body = ? WHERE id = ?")?
        .execute(params![turn.status.as_str(), to_json(turn)?, turn.id.as_str()])?;
    changed(rows)
}

pub(super) fn get(connection: &Connection, id: &TurnId) -> Outcome<Option<TurnRecord>> {
    find(connection, "SELECT body FROM turns WHERE id = ?", [id.as_str()])
}

pub(super) fn list(
    connection: &Connection,
    session: &ChatSessionId,
    request: &PageRequest,
) -> Outcome<Page<TurnRecord>> {
    page_of_documents(connection, "turns", Some(("session = ?", session.as_str())), request)
}

pub(super) fn processing_in(connection: &Connection, session: &ChatSessionId) -> Outcome<Option<TurnRecord>> {
    find(connection, "SELECT body FROM turns WHERE session = ? AND status = 'processing'", [session.as_str()])
}

pub(super) fn processing(connection: &Connection, user: Option<&UserId>) -> Outcome<Vec<TurnRecord>> {
    all(
        connection,
        "SELECT body FROM turns WHERE status = 'processing' AND (?1 IS NULL OR user = ?1) ORDER BY id",
        [user.map(UserId::as_str)],
    )
}

/// What the events of a turn amount to, as it is kept once the turn is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Content {
    blocks: Vec<Block>,
    tool_calls: Vec<ToolCall>,
    stats: TurnStats,
    last_seq: u64,
}

/// A turn as readers see it, and its content if that should be kept.
pub(super) struct Assembly {
    pub(super) turn: ChatTurn,
    pub(super) to_keep: Option<(TurnId, String)>,
}

pub(super) fn full(connection: &Connection, id: &TurnId) -> Outcome<Option<Assembly>> {
    get(connection, id)?.map(|record| Ok(assemble(connection, record)?.0)).transpose()
}

/// Ends before the limit when the turns so far are large.
pub(super) fn full_list(
    connection: &Connection,
    session: &ChatSessionId,
    request: &PageRequest,
) -> Outcome<Page<Assembly>> {
    let list = List {
        columns: "id, body",
        table: "turns",
        conditions: vec!["session = ?"],
        values: vec![session.to_string()],
    };
    let heads: Page<TurnRecord> =
        page(connection, list, request, |row| from_json(&row.get::<_, String>(1)?))?;
    let mut bytes = 0;
    let mut full = Page { items: Vec::new(), next_cursor: heads.next_cursor };
    let mut heads = heads.items.into_iter().peekable();
    while let Some(head) = heads.next() {
        let id = head.id.to_string();
        let (assembly, size) = assemble(connection, head)?;
        full.items.push(assembly);
        bytes += size;
        if bytes > BYTES_PER_PAGE && heads.peek().is_some() {
            full.next_cursor = Some(id);
            break;
        }
    }
    Ok(full)
}

/// Also about how many bytes it is.
fn assemble(connection: &Connection, record: TurnRecord) -> Outcome<(Assembly, usize)> {
    let kept: Option<String> = connection
        .prepare_cached("SELECT body FROM assembled_turns WHERE turn = ?")?
        .query_row([record.id.as_str()], |row| row.get(0))
        .optional()?;
    if let Some(kept) = kept {
        let content = from_json(&kept)?;
        return Ok((Assembly { turn: chat_turn(record, content), to_keep: None }, kept.len()));
    }
    let events = event::of_turn(connection, &record.session, &record.id, record.seq_before)?;
    let mut size = record.prompts.user.len();
    let mut last_seq = record.seq_before;
    let mut assembler = TurnAssembler::default();
    for stored in events {
        size += stored.event.args.get().len();
        last_seq = stored.seq;
        match stored.event.parse() {
            Ok(event) => assembler.apply(stored.seq, stored.at, event),
            Err(Refusal { code: _, message }) => {
                // Checked before it was stored; a newer program may have stored what this one cannot read.
                tracing::warn!(turn = %record.id, seq = stored.seq, "a stored event cannot be read: {message}");
            }
        }
    }
    let Assembled { blocks, tool_calls, stats } = assembler.finish();
    let content = Content { blocks, tool_calls, stats, last_seq };
    let to_keep = if record.status.is_over() { Some((record.id.clone(), to_json(&content)?)) } else { None };
    Ok((Assembly { turn: chat_turn(record, content), to_keep }, size))
}

/// Keeps what was assembled, if the turn is still there.
pub(super) fn keep(connection: &Connection, turn: &TurnId, content: &str) -> Outcome<()> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO assembled_turns (turn, body) SELECT id, ? FROM turns WHERE id = ?",
        )?
        .execute([content, turn.as_str()])?;
    Ok(())
}

fn chat_turn(record: TurnRecord, content: Content) -> ChatTurn {
    let simulated = record.simulated();
    let TurnRecord {
        id,
        created_at,
        user,
        project,
        session,
        model,
        mode,
        reasoning_effort,
        status,
        prompts,
        error_message,
        seq_before: _,
        last_seq: _,
        attempts,
        barren_attempts: _,
        work_order: _,
        attempt_seq_before: _,
        drone: _,
        abort_requested: _,
        stats,
    } = record;
    let Content { blocks, tool_calls, stats: so_far, last_seq } = content;
    ChatTurn {
        id,
        created_at,
        user,
        project,
        session,
        provider: model.provider,
        llm: model.model,
        mode,
        reasoning_effort,
        status,
        prompts,
        blocks,
        tool_calls,
        stats: if status.is_over() { stats } else { so_far },
        error_message,
        last_seq,
        attempts,
        simulated,
    }
}

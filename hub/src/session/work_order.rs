//! Turns on their way into the store and to a drone: records, work orders, the conversation before them.

use std::sync::Arc;

use jiff::Timestamp;
use protocol::document::{ChatSession, ChatTurn, DroneRegistration, Project, Prompts, TurnStats, User};
use protocol::drone::{Context, ContextTurn, WorkOrder, WorkOrderSession, WorkOrderTurn};
use protocol::error::Refusal;
use protocol::ids::{ChatSessionId, DroneId, TurnId, WorkOrderId};
use protocol::value::ChatTurnStatus;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use crate::app::SharedApp;
use crate::session::state::effect::{Dispatch, NewTurn};
use crate::session::state::no_such_session;
use crate::store::{PageRequest, Store, StoreError, TurnPatch, TurnRecord, refuse};

/// Turns of the conversation that a work order carries at most.
const CONTEXT_TURNS: u32 = 100;
/// And their size as JSON.
const CONTEXT_BYTES: usize = 2 * 1024 * 1024;

/// Stores a prompt as a processing turn, for the model that the session uses now.
pub(super) async fn store_turn(
    app: &SharedApp,
    session: &ChatSessionId,
    new: NewTurn,
) -> Result<TurnRecord, Refusal> {
    let NewTurn { turn: id, prompt, seq_before, drone } = new;
    let session = app.store.session(session).await.map_err(refuse)?.ok_or_else(no_such_session)?;
    let model = app.providers.resolve(&session, &prompt).await?;
    let record = TurnRecord {
        id,
        created_at: Timestamp::now(),
        user: session.user.clone(),
        project: session.project.clone(),
        session: session.id.clone(),
        model,
        mode: session.mode,
        reasoning_effort: session.reasoning_effort,
        status: ChatTurnStatus::Processing,
        prompts: Prompts { user: prompt, system: None },
        error_message: None,
        seq_before,
        last_seq: seq_before,
        attempts: u32::from(drone.is_some()),
        barren_attempts: 0,
        work_order: drone.is_some().then(WorkOrderId::generate),
        attempt_seq_before: seq_before,
        drone,
        abort_requested: false,
        stats: TurnStats::default(),
    };
    app.store.insert_turn(record.clone()).await.map_err(refuse)?;
    Ok(record)
}

/// Makes the attempt's head durable and puts together what the drone is sent.
pub(super) async fn prepare(
    store: &dyn Store,
    session: &ChatSessionId,
    dispatch: &Dispatch,
) -> Result<Arc<[Box<RawValue>]>, StoreError> {
    let Dispatch {
        ticket: _,
        conn: _,
        drone,
        generation,
        turn,
        attempt,
        barren_attempts,
        first_seq,
        is_stored,
    } = dispatch;
    if !is_stored {
        let patch = TurnPatch {
            attempts: Some(*attempt),
            barren_attempts: Some(*barren_attempts),
            work_order: Some(WorkOrderId::generate()),
            attempt_seq_before: Some(first_seq - 1),
            drone: Some(drone.clone()),
            abort_requested: None,
        };
        store.patch_turn(turn, patch).await?;
    }
    let (record, documents, turns) =
        tokio::try_join!(store.turn(turn), documents(store, session, drone), newest_turns(store, session))?;
    let record = record.ok_or(StoreError::NotFound)?;
    let work_order_id = record.work_order.clone().ok_or(StoreError::NotFound)?;
    let Documents { session, project, user, registration } = documents;
    let context = context(turns, &session, turn);
    let work_order = WorkOrder {
        work_order_id,
        attempt: *attempt,
        generation: *generation,
        first_seq: *first_seq,
        context,
        model: record.model.clone(),
    };
    let turn = WorkOrderTurn {
        id: record.id,
        created_at: record.created_at,
        user: record.user,
        project: record.project,
        session: work_order_session(session, user, project),
        provider: record.model.provider,
        llm: record.model.model,
        mode: record.mode,
        reasoning_effort: record.reasoning_effort,
        status: record.status,
        prompts: record.prompts,
        blocks: Vec::new(),
        tool_calls: Vec::new(),
        stats: record.stats,
        last_seq: first_seq - 1,
        attempts: *attempt,
        work_order,
    };
    let unreadable = |error: serde_json::Error| StoreError::Unavailable {
        action: "write a work order",
        source: error.into(),
    };
    let registration = to_raw_value(&registration).map_err(unreadable)?;
    Ok([registration, to_raw_value(&turn).map_err(unreadable)?].into())
}

/// The arguments of `requestSessionLock` towards a drone.
pub(super) async fn lock_args(
    store: &dyn Store,
    session: &ChatSessionId,
    drone: &DroneId,
) -> Result<Vec<Value>, StoreError> {
    let Documents { session, project, user: _, registration } = documents(store, session, drone).await?;
    Ok(vec![json!(registration), json!(project), json!(session)])
}

/// The turn as clients see it, the newest where none is named; `None`: there is none.
pub(super) async fn shown_turn(
    store: &dyn Store,
    session: &ChatSessionId,
    turn: Option<TurnId>,
) -> Result<Option<ChatTurn>, StoreError> {
    if let Some(turn) = turn {
        return store.full_turn(&turn).await;
    }
    let newest = PageRequest { cursor: None, limit: 1, newest_first: true };
    let page = store.full_turns(session, newest).await?;
    Ok(page.items.into_iter().next())
}

struct Documents {
    session: ChatSession,
    project: Project,
    user: User,
    registration: DroneRegistration,
}

async fn documents(
    store: &dyn Store,
    session: &ChatSessionId,
    drone: &DroneId,
) -> Result<Documents, StoreError> {
    let (session, drone) = tokio::try_join!(store.session(session), store.drone(drone))?;
    let session = session.ok_or(StoreError::NotFound)?;
    let (project, user) = tokio::try_join!(store.project(&session.project), store.user(&session.user))?;
    Ok(Documents {
        session,
        project: project.ok_or(StoreError::NotFound)?,
        user: user.ok_or(StoreError::NotFound)?.user,
        registration: drone.ok_or(StoreError::NotFound)?.registration,
    })
}

fn work_order_session(session: ChatSession, user: User, project: Project) -> WorkOrderSession {
    let ChatSession {
        id,
        created_at,
        user: _,
        project: _,
        name,
        mode,
        provider,
        selected_model,
        reasoning_effort,
        workspace_id,
        stats,
        archived_at: _,
    } = session;
    WorkOrderSession {
        id,
        created_at,
        user,
        project,
        name,
        mode,
        provider,
        selected_model,
        reasoning_effort,
        workspace_id,
        stats,
    }
}

async fn newest_turns(store: &dyn Store, session: &ChatSessionId) -> Result<Vec<ChatTurn>, StoreError> {
    let newest = PageRequest { cursor: None, limit: CONTEXT_TURNS, newest_first: true };
    Ok(store.full_turns(session, newest).await?.items)
}

/// The conversation before the turn, oldest first: as many of the newest turns as fit.
fn context(newest: Vec<ChatTurn>, session: &ChatSession, before: &TurnId) -> Context {
    let (mut turns, mut room) = (Vec::new(), CONTEXT_BYTES);
    for turn in newest.into_iter().filter(|turn| turn.id != *before) {
        let ChatTurn { id, status, prompts, blocks, .. } = turn;
        let turn = ContextTurn { turn_id: id, status, prompt: prompts.user, blocks };
        let size = serde_json::to_vec(&turn).map_or(usize::MAX, |text| text.len());
        if size > room {
            break;
        }
        room -= size;
        turns.push(turn);
    }
    // The turn itself is counted in its session already.
    let omitted = session.stats.turn_count.saturating_sub(turns.len() as u64 + 1);
    turns.reverse();
    Context { turns, omitted }
}

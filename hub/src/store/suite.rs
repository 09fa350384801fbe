//! The behaviours that every store has, as tests. `store_suite!(open)` makes one test of each for an implementation;
//! `open` answers a fresh, empty store and whatever must live as long as it does.

mod documents;
mod events;
mod turns;

pub(crate) use documents::*;
pub(crate) use events::*;
pub(crate) use turns::*;

use jiff::Timestamp;
use protocol::document::{
    Capabilities, ChatSession, DroneRegistration, Project, Prompts, SessionStats, TurnStats, User,
};
use protocol::drone::ModelTarget;
use protocol::event::{RawEvent, TurnEvent};
use protocol::ids::{ChatSessionId, DroneId, ProjectId, TurnId, UserId};
use protocol::value::{ChatSessionMode, ChatTurnStatus, Dialect, DronePhase, DroneStatus, ReasoningEffort};

use super::{Append, DroneRecord, EventRecord, PageRequest, Store, TurnEnd, TurnRecord, UserRecord};

macro_rules! store_suite {
    ($open:path; $($behaviour:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $behaviour() {
                let (store, _keep) = $open();
                crate::store::suite::$behaviour(&store).await;
                crate::store::Store::close(&store).await;
            }
        )+
    };
    ($open:path) => {
        crate::store::suite::store_suite! { $open;
            a_user_is_found_by_id_address_and_handle,
            addresses_handles_and_slugs_are_unique,
            a_change_of_what_is_not_there_is_refused,
            lists_come_in_pages_in_both_directions,
            a_signed_out_token_is_remembered,
            a_project_in_use_stays,
            a_credential_goes_with_its_project,
            sessions_are_filtered_by_project_and_archive,
            a_change_of_a_session_changes_what_it_names,
            routing_rules_come_in_the_order_of_their_priority,
            a_generation_only_counts_up,
            a_drone_is_found_by_its_session,
            settings_are_kept_as_they_are_put,
            a_store_that_works_says_so,
            one_turn_of_a_session_runs_at_a_time,
            turns_begun_at_the_same_moment_are_one,
            a_turn_of_a_session_that_is_gone_is_refused,
            a_patch_changes_what_it_names,
            running_turns_are_found_by_user,
            the_end_of_a_turn_is_counted_once,
            a_running_turn_reads_as_far_as_it_is_stored,
            an_ended_turn_reads_the_same_each_time,
            large_turns_come_in_smaller_pages,
            a_session_goes_with_its_turns_and_events,
            a_session_with_a_running_turn_stays,
            events_are_read_on_from_any_number,
            an_append_that_had_landed_is_passed_over,
            events_of_sessions_do_not_mix,
            events_of_a_session_that_is_gone_are_refused,
            the_end_of_a_turn_that_is_not_there_stores_nothing,
            appends_at_the_same_time_all_land,
            a_write_whose_caller_went_away_does_not_harm_others,
            a_closed_store_refuses,
        }
    };
}
pub(crate) use store_suite;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_millisecond(1_750_000_000_123).unwrap()
}

pub(crate) fn everything() -> PageRequest {
    PageRequest { cursor: None, limit: 200, newest_first: false }
}

pub(crate) fn user(name: &str) -> UserRecord {
    UserRecord {
        user: User {
            id: UserId::generate(),
            handle: name.to_owned(),
            email: format!("{name}@example.org"),
            display_name: name.to_owned(),
            roles: vec!["member".to_owned()],
            persona: None,
            created_at: now(),
        },
        password_hash: Some("$argon2id$…".to_owned()),
        tokens_valid_from: now(),
        disabled: false,
    }
}

pub(crate) fn project(user: &UserId, slug: &str) -> Project {
    Project {
        id: ProjectId::generate(),
        created_at: now(),
        user: user.clone(),
        name: slug.to_uppercase(),
        slug: slug.to_owned(),
        git_url: None,
        instructions: None,
    }
}

pub(crate) fn session(project: &Project) -> ChatSession {
    ChatSession {
        id: ChatSessionId::generate(),
        created_at: now(),
        user: project.user.clone(),
        project: project.id.clone(),
        name: "a session".to_owned(),
        mode: ChatSessionMode::Build,
        provider: None,
        selected_model: None,
        reasoning_effort: ReasoningEffort::Off,
        workspace_id: None,
        stats: SessionStats::default(),
        archived_at: None,
    }
}

/// A session with its project in the store.
pub(crate) async fn stored_session(store: &dyn Store) -> ChatSession {
    let project = project(&UserId::generate(), "p");
    store.insert_project(project.clone()).await.unwrap();
    let session = session(&project);
    store.insert_session(session.clone()).await.unwrap();
    session
}

pub(crate) fn turn(session: &ChatSession, seq_before: u64) -> TurnRecord {
    TurnRecord {
        id: TurnId::generate(),
        created_at: now(),
        user: session.user.clone(),
        project: session.project.clone(),
        session: session.id.clone(),
        model: ModelTarget {
            provider: "local".to_owned(),
            dialect: Dialect::Ollama,
            model: "m".to_owned(),
            capabilities: Capabilities::default(),
            context_window: None,
            max_output_tokens: None,
            simulated: false,
        },
        mode: ChatSessionMode::Build,
        reasoning_effort: ReasoningEffort::Off,
        status: ChatTurnStatus::Processing,
        prompts: Prompts { user: "do it".to_owned(), system: None },
        error_message: None,
        seq_before,
        last_seq: seq_before,
        attempts: 0,
        barren_attempts: 0,
        work_order: None,
        attempt_seq_before: seq_before,
        drone: None,
        abort_requested: false,
        stats: TurnStats::default(),
    }
}

/// A session with a running turn, both in the store.
pub(crate) async fn stored_turn(store: &dyn Store) -> TurnRecord {
    let session = stored_session(store).await;
    let turn = turn(&session, 0);
    store.insert_turn(turn.clone()).await.unwrap();
    turn
}

pub(crate) fn text(turn: &TurnId, seq: u64, content: &str) -> EventRecord {
    event(turn, seq, TurnEvent::Response { content: content.to_owned() })
}

pub(crate) fn event(turn: &TurnId, seq: u64, event: TurnEvent) -> EventRecord {
    let event: RawEvent = event.to_raw().unwrap();
    EventRecord { seq, turn: turn.clone(), attempt: 1, at: now(), event }
}

/// `from..=to`, each with its number as text.
pub(crate) fn texts(turn: &TurnRecord, from: u64, to: u64) -> Append {
    let events = (from..=to).map(|seq| text(&turn.id, seq, &format!("{seq} "))).collect();
    Append { session: turn.session.clone(), events, end: None }
}

pub(crate) fn finished(turn: &TurnRecord) -> TurnEnd {
    TurnEnd {
        turn: turn.id.clone(),
        status: ChatTurnStatus::Finished,
        error_message: None,
        stats: TurnStats {
            input_tokens: 5,
            cache_read_tokens: 2,
            response_tokens: 3,
            thinking_token_count: 1,
            tool_call_count: 4,
            ..TurnStats::default()
        },
        ended_at: now(),
    }
}

pub(crate) fn drone(user: &UserId, session: Option<&ChatSessionId>) -> DroneRecord {
    DroneRecord {
        registration: DroneRegistration {
            id: DroneId::generate(),
            user: user.clone(),
            status: DroneStatus::Starting,
            workspace_id: None,
            chat_session_id: session.cloned(),
            hostname: "host".to_owned(),
            created_at: now(),
            phase: DronePhase::Starting,
            pod_name: None,
            node_name: None,
            restarts: 0,
            last_seen_at: None,
            reason: None,
        },
        generation: 0,
        held: false,
        token_sha256: None,
    }
}

pub(crate) async fn stored_seqs(store: &dyn Store, session: &ChatSessionId) -> Vec<u64> {
    let events = store.events_after(session, 0, u32::MAX).await.unwrap();
    events.into_iter().map(|event| event.seq).collect()
}

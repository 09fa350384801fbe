//! The store of the played world, which may fail.

use jiff::Timestamp;
use protocol::document::{ChatTurn, NEW_SESSION_NAME, Prompts, SessionStats, TurnStats};
use protocol::drone::ModelTarget;
use protocol::ids::TurnId;
use protocol::value::{ChatSessionMode, ChatTurnStatus, Dialect, ReasoningEffort};

use super::super::super::effect::NewTurn;
use super::super::super::*;
use super::{DRONE, SESSION, USER};

#[derive(Default)]
pub(in super::super) struct SimStore {
    pub(in super::super) events: Vec<Arc<EventRecord>>,
    pub(in super::super) turns: Vec<(TurnRecord, ChatTurnStatus)>,
    pub(in super::super) fails: bool,
}

impl SimStore {
    pub(super) fn insert(&mut self, new: NewTurn) -> Result<Box<TurnRecord>, Refusal> {
        if self.fails {
            return Err(Refusal::new(Code::StoreUnavailable, "no store"));
        }
        assert!(self.turns.iter().all(|(_, status)| status.is_over()), "a second turn is processing");
        let NewTurn { turn, prompt, seq_before, drone } = new;
        let mut record = turn_record(turn, prompt, seq_before);
        record.attempts = u32::from(drone.is_some());
        record.drone = drone;
        self.turns.push((record.clone(), ChatTurnStatus::Processing));
        Ok(Box::new(record))
    }

    pub(super) fn append(&mut self, events: Vec<Arc<EventRecord>>, end: Option<TurnEnd>) {
        for event in events {
            let expected = self.events.last().map_or(0, |event| event.seq) + 1;
            assert_eq!(event.seq, expected, "numbers have a gap, or one is given twice");
            self.events.push(event);
        }
        if let Some(end) = end {
            let turn = self.turns.iter_mut().find(|(record, _)| record.id == end.turn).unwrap();
            assert!(!turn.1.is_over(), "a turn ends twice");
            turn.1 = end.status;
        }
    }
}

pub(super) fn loaded(last_seq: u64, turn: Option<LoadedTurn>) -> Loaded {
    let session = ChatSession {
        id: SESSION.into(),
        created_at: Timestamp::UNIX_EPOCH,
        user: USER.into(),
        project: "p".into(),
        name: NEW_SESSION_NAME.into(),
        mode: ChatSessionMode::Build,
        provider: None,
        selected_model: None,
        reasoning_effort: ReasoningEffort::Off,
        workspace_id: None,
        stats: SessionStats::default(),
        archived_at: None,
    };
    let drone = turn.is_some().then(|| (DRONE.into(), false));
    Loaded { session, drone, last_seq, newest_from: 0, turn }
}

fn turn_record(id: TurnId, prompt: String, seq_before: u64) -> TurnRecord {
    TurnRecord {
        id,
        created_at: Timestamp::UNIX_EPOCH,
        user: USER.into(),
        project: "p".into(),
        session: SESSION.into(),
        model: ModelTarget {
            provider: "x".into(),
            dialect: Dialect::OpenAi,
            model: "m".into(),
            capabilities: protocol::document::Capabilities::default(),
            context_window: None,
            max_output_tokens: None,
            simulated: false,
        },
        mode: ChatSessionMode::Build,
        reasoning_effort: ReasoningEffort::Off,
        status: ChatTurnStatus::Processing,
        prompts: Prompts { user: prompt, system: None },
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

pub(super) fn chat_turn(record: &TurnRecord, status: ChatTurnStatus, last_seq: u64) -> ChatTurn {
    ChatTurn {
        id: record.id.clone(),
        created_at: record.created_at,
        user: record.user.clone(),
        project: record.project.clone(),
        session: record.session.clone(),
        provider: "x".into(),
        llm: "m".into(),
        mode: record.mode,
        reasoning_effort: record.reasoning_effort,
        status,
        prompts: record.prompts.clone(),
        blocks: Vec::new(),
        tool_calls: Vec::new(),
        stats: TurnStats::default(),
        error_message: None,
        last_seq,
        attempts: record.attempts,
        simulated: false,
    }
}

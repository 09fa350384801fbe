use super::*;

fn drone_args(event: &TurnEvent, seq: u64) -> Vec<Box<RawValue>> {
    let meta = DroneMeta { turn_id: "t1".into(), attempt: 1, generation: 7, seq, notes: event.notes() };
    event
        .args()
        .iter()
        .map(|arg| serde_json::value::to_raw_value(arg).unwrap())
        .chain([serde_json::value::to_raw_value(&meta).unwrap()])
        .collect()
}

fn every_event() -> Vec<TurnEvent> {
    vec![
        TurnEvent::Thinking { content: "hm".into() },
        TurnEvent::Response { content: "yes \"quoted\"\n".into() },
        TurnEvent::ToolCallStarted { call_id: "c1".into(), name: "read".into(), params: "{}".into() },
        TurnEvent::ToolCallProgress { call_id: "c1".into(), chunk: "line\n".into() },
        TurnEvent::ToolCall {
            call_id: "c1".into(),
            name: "read".into(),
            params: "{}".into(),
            response: "{\"text\":\"x\"}".into(),
            is_error: true,
            unknown_outcome: true,
        },
        TurnEvent::AgentThinking(AgentThinking { agent_id: "c2".into(), thinking: "a".into() }),
        TurnEvent::AgentResponse(AgentResponse { agent_id: "c2".into(), chunk: "b".into() }),
        TurnEvent::AgentToolCall(AgentToolCall {
            agent_id: "c2".into(),
            tool: "grep".into(),
            args: serde_json::json!({ "pattern": "x" }),
            call_id: Some("c3".into()),
        }),
        TurnEvent::AgentToolResult(AgentToolResult {
            agent_id: "c2".into(),
            tool: "grep".into(),
            result: serde_json::json!("none"),
            call_id: Some("c3".into()),
            is_error: false,
        }),
        TurnEvent::AgentComplete(Box::new(AgentComplete {
            agent_id: "c2".into(),
            response: Some("done".into()),
            subagent: None,
            stats: None,
        })),
        TurnEvent::Usage(Usage { turn_id: Some("t1".into()), input_tokens: 3, ..Usage::default() }),
        TurnEvent::Superseded(Superseded { turn_id: "t1".into(), from_seq: 3, to_seq: 9, agent_id: None }),
        TurnEvent::WorkOrderComplete {
            turn_id: "t1".into(),
            status: ChatTurnStatus::Aborted,
            message: Some("aborted".into()),
        },
    ]
}

#[test]
fn every_event_survives_the_way_from_drone_to_store() {
    for (index, event) in every_event().into_iter().enumerate() {
        let seq = index as u64 + 1;
        let (raw, meta) = RawEvent::from_drone(event.name().as_str(), drone_args(&event, seq)).unwrap();
        assert_eq!(meta.seq, seq);
        assert_eq!(raw, event.to_raw().unwrap());
        let stored = serde_json::to_string(&raw).unwrap();
        let loaded: RawEvent = serde_json::from_str(&stored).unwrap();
        assert_eq!(loaded.parse().unwrap(), event);
    }
}

#[test]
fn a_missing_argument_is_refused_by_name() {
    let event = TurnEvent::ToolCallProgress { call_id: "c".into(), chunk: "x".into() };
    let mut args = drone_args(&event, 1);
    args.remove(0);
    let refusal = RawEvent::from_drone("toolCallProgress", args).unwrap_err();
    assert_eq!(refusal.code, Code::Invalid);
    assert_eq!(refusal.message, "toolCallProgress: has 1 arguments before its meta, 2 are expected");
}

#[test]
fn a_completion_without_notes_is_read_as_an_old_drone_means_it() {
    for (args, status) in [
        (r#"["t1",true,null]"#, ChatTurnStatus::Finished),
        (r#"["t1",true,"aborted"]"#, ChatTurnStatus::Aborted),
        (r#"["t1",false,"no model"]"#, ChatTurnStatus::Error),
    ] {
        let raw = RawEvent {
            name: EventName::WorkOrderComplete,
            args: RawValue::from_string(args.to_owned()).unwrap(),
            notes: Notes::default(),
        };
        let TurnEvent::WorkOrderComplete { status: read, .. } = raw.parse().unwrap() else {
            panic!("another event came back");
        };
        assert_eq!(read, status);
    }
}

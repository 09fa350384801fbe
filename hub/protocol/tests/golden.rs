//! One JSON file per message: a change of a name, of an argument's place or of a field shows as a changed file.
//!
//! Write them anew with `GADGET_UPDATE_GOLDEN=1 cargo test -p protocol --test golden`, and read the difference: clients
//! that we cannot change speak what stands there.

#![expect(clippy::unwrap_used, reason = "a broken fixture should end the test")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use protocol::document::*;
use protocol::drone::*;
use protocol::error::{Code, Refusal};
use protocol::event::*;
use protocol::ide::*;
use protocol::value::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn at() -> jiff::Timestamp {
    "2026-11-21T08:30:00Z".parse().unwrap()
}

fn usage() -> Usage {
    Usage {
        turn_id: Some("t1".into()),
        input_tokens: 100,
        cache_read_tokens: 40,
        cache_write_tokens: 10,
        output_tokens: 30,
        thinking_tokens: 12,
        context_window: Some(128_000),
        context_used: Some(180),
    }
}

fn user() -> User {
    User {
        id: "u1".into(),
        handle: "ada".into(),
        email: "ada@example.org".into(),
        display_name: "Ada".into(),
        roles: vec!["admin".into()],
        persona: None,
        created_at: at(),
    }
}

fn project() -> Project {
    Project {
        id: "p1".into(),
        created_at: at(),
        user: "u1".into(),
        name: "Shop".into(),
        slug: "shop".into(),
        git_url: Some("https://git.example.org/shop.git".into()),
        instructions: Some("run the tests".into()),
    }
}

fn session() -> ChatSession {
    ChatSession {
        id: "s1".into(),
        created_at: at(),
        user: "u1".into(),
        project: "p1".into(),
        name: NEW_SESSION_NAME.into(),
        mode: ChatSessionMode::Build,
        provider: Some("local".into()),
        selected_model: Some("coder".into()),
        reasoning_effort: ReasoningEffort::Medium,
        workspace_id: None,
        stats: SessionStats::default(),
        archived_at: None,
    }
}

fn tool_call() -> ToolCall {
    ToolCall {
        call_id: "c1".into(),
        name: "subagent".into(),
        parameters: r#"{"agent_type":"explore","prompt":"look"}"#.into(),
        response: r#"{"text":"found"}"#.into(),
        subagent: Some(Subagent {
            kind: Some(SubagentKind::Explore),
            prompt: "look".into(),
            thinking: None,
            response: "found".into(),
            tool_calls: vec![],
            stats: TurnStats::default(),
        }),
        status: ToolCallStatus::Finished,
        is_error: false,
        started_at: at(),
        ended_at: Some(at()),
        unknown_outcome: false,
    }
}

fn turn() -> ChatTurn {
    let mut stats =
        TurnStats { tool_call_count: 1, time_to_first_token_ms: Some(12), ..TurnStats::default() };
    stats.set_duration(3_725_000);
    ChatTurn {
        id: "t1".into(),
        created_at: at(),
        user: "u1".into(),
        project: "p1".into(),
        session: "s1".into(),
        provider: "local".into(),
        llm: "coder".into(),
        mode: ChatSessionMode::Build,
        reasoning_effort: ReasoningEffort::Medium,
        status: ChatTurnStatus::Finished,
        prompts: Prompts { user: "fix it".into(), system: None },
        blocks: vec![
            Block::Thinking { created_at: at(), content: "hm".into() },
            Block::Responding { created_at: at(), content: "I look.".into() },
            Block::Tool { created_at: at(), content: tool_call() },
        ],
        tool_calls: vec![tool_call()],
        stats,
        error_message: None,
        last_seq: 9,
        attempts: 1,
        simulated: false,
    }
}

fn drone() -> DroneRegistration {
    DroneRegistration {
        id: "d1".into(),
        user: "u1".into(),
        status: DroneStatus::Busy,
        workspace_id: Some("8c5f2d4e-7c0b-4c39-9a55-0c9f35b1f0aa".into()),
        chat_session_id: Some("s1".into()),
        hostname: "box".into(),
        created_at: at(),
        phase: DronePhase::Busy,
        pod_name: None,
        node_name: None,
        restarts: 0,
        last_seen_at: Some(at()),
        reason: None,
    }
}

fn work_order() -> WorkOrderTurn {
    let ChatSession { id, created_at, name, mode, provider, selected_model, reasoning_effort, stats, .. } =
        session();
    let whole = turn();
    WorkOrderTurn {
        id: whole.id,
        created_at: whole.created_at,
        user: whole.user,
        project: whole.project,
        session: WorkOrderSession {
            id,
            created_at,
            user: user(),
            project: project(),
            name,
            mode,
            provider,
            selected_model,
            reasoning_effort,
            workspace_id: None,
            stats,
        },
        provider: whole.provider,
        llm: whole.llm,
        mode: whole.mode,
        reasoning_effort: whole.reasoning_effort,
        status: ChatTurnStatus::Processing,
        prompts: whole.prompts,
        blocks: vec![],
        tool_calls: vec![],
        stats: TurnStats::default(),
        last_seq: 0,
        attempts: 1,
        work_order: WorkOrder {
            work_order_id: "w1".into(),
            attempt: 1,
            generation: 3,
            first_seq: 1,
            context: Context {
                turns: vec![ContextTurn {
                    turn_id: "t0".into(),
                    status: ChatTurnStatus::Finished,
                    prompt: "hello".into(),
                    blocks: vec![Block::Responding { created_at: at(), content: "Hello.".into() }],
                }],
                omitted: 0,
            },
            model: ModelTarget {
                provider: "local".into(),
                dialect: Dialect::OpenAi,
                model: "coder".into(),
                capabilities: Capabilities { thinking: true, tools: true, vision: false },
                context_window: Some(128_000),
                max_output_tokens: None,
                simulated: false,
            },
        },
    }
}

/// Each turn event as the drone sends it: `[name, …arguments, meta]`.
fn turn_events() -> BTreeMap<String, Value> {
    let agent = || "c1".into();
    let events = [
        TurnEvent::Thinking { content: "hm".into() },
        TurnEvent::Response { content: "I look.".into() },
        TurnEvent::ToolCallStarted {
            call_id: "c1".into(),
            name: "read".into(),
            params: r#"{"path":"a"}"#.into(),
        },
        TurnEvent::ToolCallProgress { call_id: "c1".into(), chunk: "1 passed\n".into() },
        TurnEvent::ToolCall {
            call_id: "c1".into(),
            name: "read".into(),
            params: r#"{"path":"a"}"#.into(),
            response: r#"{"text":"x"}"#.into(),
            is_error: true,
            unknown_outcome: false,
        },
        TurnEvent::AgentThinking(AgentThinking { agent_id: agent(), thinking: "hm".into() }),
        TurnEvent::AgentResponse(AgentResponse { agent_id: agent(), chunk: "found".into() }),
        TurnEvent::AgentToolCall(AgentToolCall {
            agent_id: agent(),
            tool: "grep".into(),
            args: json!({ "pattern": "x" }),
            call_id: Some("c1.1".into()),
        }),
        TurnEvent::AgentToolResult(AgentToolResult {
            agent_id: agent(),
            tool: "grep".into(),
            result: json!({ "text": "none" }),
            call_id: Some("c1.1".into()),
            is_error: false,
        }),
        TurnEvent::AgentComplete(Box::new(AgentComplete {
            agent_id: agent(),
            response: Some("found".into()),
            subagent: None,
            stats: Some(TurnStats::default()),
        })),
        TurnEvent::Usage(usage()),
        TurnEvent::Superseded(Superseded { turn_id: "t1".into(), from_seq: 3, to_seq: 5, agent_id: None }),
        TurnEvent::WorkOrderComplete {
            turn_id: "t1".into(),
            status: ChatTurnStatus::Aborted,
            message: Some("aborted".into()),
        },
    ];
    assert_eq!(events.len(), EventName::ALL.len(), "every turn event has a golden file");
    events
        .into_iter()
        .map(|event| {
            let meta =
                DroneMeta { turn_id: "t1".into(), attempt: 1, generation: 3, seq: 4, notes: event.notes() };
            let mut wire = vec![json!(event.name())];
            wire.extend(event.args());
            wire.push(json!(meta));
            (format!("event.{}", event.name().as_str().replace(':', "-")), Value::Array(wire))
        })
        .collect()
}

/// A value, after a check that it reads back as it was.
fn value<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) -> Value {
    let json = serde_json::to_value(value).unwrap();
    assert_eq!(&serde_json::from_value::<T>(json.clone()).unwrap(), value);
    json
}

fn messages() -> BTreeMap<String, Value> {
    let mut messages = turn_events();
    let mut add = |name: &str, json: Value| assert!(messages.insert(name.to_owned(), json).is_none());
    add("document.user", value(&user()));
    add("document.project", value(&project()));
    add("document.chat-session", value(&session()));
    add("document.chat-turn", value(&turn()));
    add("document.drone-registration", value(&drone()));
    add(
        "document.model",
        value(&Model {
            provider: "demo".into(),
            id: "tour".into(),
            name: "Demo tour, scripted, no AI".into(),
            capabilities: Capabilities { thinking: true, tools: true, vision: false },
            context_window: Some(32_000),
            simulated: true,
        }),
    );
    add(
        "ide.connect",
        value(&IdeAuth {
            token: "jwt".into(),
            tab_id: Some("tab".into()),
            last_seq: Some([("s1".into(), 4)].into()),
        }),
    );
    add(
        "ide.meta",
        value(&Meta { turn_id: "t1".into(), seq: 4, at: at(), replay: true, notes: Notes::default() }),
    );
    add(
        "ide.drone-status",
        value(&DroneStatusEvent {
            registration_id: "d1".into(),
            phase: DronePhase::Recovering,
            reason: Some("ProcessExited".into()),
            message: Some("The drone's process was killed by signal 9 and is being started again.".into()),
            restarts: 1,
            since: at(),
        }),
    );
    add(
        "ide.file-tree-answer",
        value(&FileTreeAnswer {
            entries: Some(vec![FileTreeEntry {
                name: "main.rs".into(),
                path: "src/main.rs".into(),
                kind: FileKind::File,
                size: Some(120),
                modified_at: Some(at()),
            }]),
            ..FileTreeAnswer::default()
        }),
    );
    add(
        "ide.file-read-answer",
        value(&FileReadAnswer {
            content: Some("fn main() {}\n".into()),
            encoding: Some(Encoding::Utf8),
            sha256: Some("ab".into()),
            size: Some(13),
            ..FileReadAnswer::default()
        }),
    );
    add(
        "ide.file-write-answer",
        value(&FileWriteAnswer {
            error: Some("changed".into()),
            code: Some(Code::FileChanged),
            ..FileWriteAnswer::default()
        }),
    );
    add("ide.follow-answer", value(&FollowAnswer { from_seq: 5, to_seq: 9, ..FollowAnswer::default() }));
    add("ide.refusal", value(&Refusal::new(Code::Busy, "a turn is running")));
    add(
        "drone.connect",
        value(&DroneAuth { registration_id: "d1".into(), token: "t".into(), workspace_id: Some("w".into()) }),
    );
    add(
        "drone.hello",
        value(&Hello {
            workspace_id: "w".into(),
            lock: Some(HelloLock { chat_session_id: "s1".into(), project_id: "p1".into() }),
            mode: WorkspaceMode::Agent,
            turn: Some(HelloTurn { turn_id: "t1".into(), attempt: 1, last_seq: 9 }),
            pending: HelloPending::Nothing,
            process_restarts: 1,
            last_exit: Some(ProcessExit { code: None, signal: Some(9) }),
            hostname: "box".into(),
            version: "0.1.0".into(),
        }),
    );
    add(
        "drone.hello-ack",
        value(&HelloAck {
            generation: 3,
            session_token: Some("jwt".into()),
            expires_at: Some(at()),
            stored_seq: Some(7),
        }),
    );
    add("drone.work-order", value(&work_order()));
    add(
        "drone.crash-recovery-request",
        value(&CrashRecoveryRequest {
            workspace_id: "w".into(),
            turn_id: "t1".into(),
            chat_session_id: "s1".into(),
            resumable: true,
            last_seq: 9,
            progress: 4,
        }),
    );
    add(
        "drone.crash-recovery-response",
        value(&CrashRecoveryResponse {
            turn_id: "t1".into(),
            action: RecoveryAction::Retry,
            retry_delay: Some(0),
        }),
    );
    messages
}

#[test]
fn messages_are_what_clients_know() {
    let update = std::env::var_os("GADGET_UPDATE_GOLDEN").is_some();
    let mut stale: Vec<String> = Vec::new();
    let messages = messages();
    for (name, message) in &messages {
        let path = directory().join(format!("{name}.json"));
        if update {
            std::fs::write(&path, format!("{}\n", serde_json::to_string_pretty(message).unwrap())).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        if serde_json::from_str::<Value>(&golden).ok().as_ref() != Some(message) {
            stale.push(format!("{name}: now {message}"));
        }
    }
    for file in std::fs::read_dir(directory()).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        if !messages.contains_key(&name) {
            stale.push(format!("{name}: no message has this name"));
        }
    }
    assert_eq!(stale, Vec::<String>::new(), "messages differ from tests/golden");
}

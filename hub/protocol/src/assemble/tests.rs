use super::*;
use crate::event::{AgentResponse, AgentToolCall, AgentToolResult, Usage};

fn assemble(events: Vec<TurnEvent>) -> Assembled {
    let mut assembler = TurnAssembler::default();
    for (index, event) in events.into_iter().enumerate() {
        assembler.apply(index as u64 + 1, Timestamp::UNIX_EPOCH, event);
    }
    assembler.finish()
}

fn say(content: &str) -> TurnEvent {
    TurnEvent::Response { content: content.into() }
}

fn think(content: &str) -> TurnEvent {
    TurnEvent::Thinking { content: content.into() }
}

fn texts(assembled: &Assembled) -> Vec<String> {
    assembled
        .blocks
        .iter()
        .map(|block| match block {
            Block::Thinking { content, .. } => format!("thinking {content}"),
            Block::Responding { content, .. } => format!("responding {content}"),
            Block::Tool { content, .. } => format!("tool {} {}", content.call_id, content.response),
        })
        .collect()
}

fn started(id: &str) -> TurnEvent {
    TurnEvent::ToolCallStarted { call_id: id.into(), name: "read".into(), params: "{}".into() }
}

fn ended(id: &str, response: &str) -> TurnEvent {
    TurnEvent::ToolCall {
        call_id: id.into(),
        name: "read".into(),
        params: "{}".into(),
        response: response.into(),
        is_error: false,
        unknown_outcome: false,
    }
}

#[test]
fn consecutive_text_of_one_mode_is_one_block() {
    let assembled =
        assemble(vec![think("a"), think("b"), say("c"), say("d"), started("1"), ended("1", "r"), say("e")]);
    assert_eq!(texts(&assembled), ["thinking ab", "responding cd", "tool 1 r", "responding e"]);
    assert_eq!(assembled.stats.tool_call_count, 1);
}

#[test]
fn superseded_text_is_gone_and_the_sentence_stands_once() {
    let superseded = |from_seq, to_seq| {
        TurnEvent::Superseded(Superseded { turn_id: "t".into(), from_seq, to_seq, agent_id: None })
    };
    let assembled =
        assemble(vec![say("one. "), started("1"), ended("1", "r"), say("tw"), superseded(4, 4), say("two.")]);
    assert_eq!(texts(&assembled), ["responding one. ", "tool 1 r", "responding two."]);
    assert_eq!(assembled.stats.retries, 1);
}

#[test]
fn a_call_told_twice_is_one_call() {
    let assembled = assemble(vec![started("1"), started("1"), ended("1", "r"), ended("1", "r")]);
    assert_eq!(texts(&assembled), ["tool 1 r"]);
    assert_eq!(assembled.tool_calls.len(), 1);
}

#[test]
fn a_sub_agent_is_stored_under_its_call() {
    let call = TurnEvent::ToolCallStarted {
        call_id: "s".into(),
        name: "subagent".into(),
        params: r#"{"agent_type":"explore","prompt":"look"}"#.into(),
    };
    let assembled = assemble(vec![
        call,
        TurnEvent::AgentToolCall(AgentToolCall {
            agent_id: "s".into(),
            tool: "grep".into(),
            args: serde_json::json!({ "pattern": "x" }),
            call_id: None,
        }),
        TurnEvent::AgentToolResult(AgentToolResult {
            agent_id: "s".into(),
            tool: "grep".into(),
            result: serde_json::json!("hit"),
            call_id: None,
            is_error: false,
        }),
        TurnEvent::AgentResponse(AgentResponse { agent_id: "s".into(), chunk: "found".into() }),
    ]);
    let subagent = assembled.tool_calls[0].subagent.clone().unwrap();
    assert_eq!(subagent.kind, Some(SubagentKind::Explore));
    assert_eq!(subagent.prompt, "look");
    assert_eq!(subagent.response, "found");
    assert_eq!(subagent.tool_calls[0].response, "\"hit\"");
}

#[test]
fn tokens_are_summed_in_disjoint_buckets() {
    let usage = Usage {
        input_tokens: 10,
        cache_read_tokens: 5,
        output_tokens: 7,
        thinking_tokens: 3,
        ..Usage::default()
    };
    let stats = assemble(vec![TurnEvent::Usage(usage.clone()), TurnEvent::Usage(usage)]).stats;
    assert_eq!(
        (stats.input_tokens, stats.cache_read_tokens, stats.response_tokens, stats.thinking_token_count),
        (20, 10, 8, 6)
    );
}

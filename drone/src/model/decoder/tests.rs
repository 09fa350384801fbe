use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::{Call, Stop, TokenUsage};

/// All events of a body that comes in these pieces, and how it ends.
fn decode(wire: Wire, pieces: &[&[u8]]) -> (Vec<ModelEvent>, Result<Completion, Fault>) {
    let mut decoder = Decoder::new(wire, wire.framing(), "x".to_owned());
    let mut events = Vec::new();
    for piece in pieces {
        if let Err(fault) = decoder.push(piece, &mut events) {
            return (events, Err(fault));
        }
        if decoder.is_closed() {
            break;
        }
    }
    let completion = decoder.finish(&mut events);
    (events, completion)
}

fn complete(wire: Wire, body: &str) -> Completion {
    decode(wire, &[body.as_bytes()]).1.unwrap()
}

fn fault(wire: Wire, body: &str) -> Fault {
    decode(wire, &[body.as_bytes()]).1.unwrap_err()
}

fn sse(frames: &[Value]) -> String {
    frames.iter().map(|frame| format!("data: {frame}\n\n")).collect::<Vec<_>>().concat()
}

fn lines(frames: &[Value]) -> String {
    frames.iter().map(|frame| format!("{frame}\n")).collect::<Vec<_>>().concat()
}

fn delta(delta: Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

fn stop(reason: &str) -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
}

fn call(id: &str, name: &str, arguments: &str) -> Call {
    Call { id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_owned() }
}

const DONE: &str = "data: [DONE]\n\n";

/// Thinking, text in several scripts, two interleaved calls, counts.
fn rich_openai() -> String {
    sse(&[
        json!({ "choices": [] }),
        delta(json!({ "role": "assistant", "content": "" })),
        delta(json!({ "reasoning_content": "Grüße " })),
        delta(json!({ "reasoning_content": "überall" })),
        delta(json!({ "content": "Ich lese 😀 " })),
        delta(json!({ "content": "beides." })),
        delta(json!({ "tool_calls": [
            { "index": 0, "id": "a", "function": { "name": "read", "arguments": "" } },
            { "index": 1, "id": "b", "function": { "name": "grep", "arguments": "" } },
        ] })),
        delta(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"path\":" } }] })),
        delta(json!({ "tool_calls": [{ "index": 1, "function": { "arguments": "{\"pattern\":\"€\"}" } }] })),
        delta(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "\"x\"}" } }] })),
        stop("tool_calls"),
        json!({ "choices": [], "usage": {
            "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
            "prompt_tokens_details": { "cached_tokens": 60 },
            "completion_tokens_details": { "reasoning_tokens": 5 },
        } }),
    ]) + DONE
}

fn rich_completion() -> Completion {
    Completion {
        text: "Ich lese 😀 beides.".to_owned(),
        thinking: Some("Grüße überall".to_owned()),
        calls: vec![call("a", "read", "{\"path\":\"x\"}"), call("b", "grep", "{\"pattern\":\"€\"}")],
        usage: Some(TokenUsage {
            input_tokens: 40,
            cache_read_tokens: 60,
            cache_write_tokens: 0,
            output_tokens: 20,
            thinking_tokens: 5,
        }),
        stop: Stop::ToolCalls,
    }
}

fn rich_ollama() -> String {
    lines(&[
        json!({ "message": { "role": "assistant", "content": "", "thinking": "Grüße " }, "done": false }),
        json!({ "message": { "content": "", "thinking": "überall" }, "done": false }),
        json!({ "message": { "content": "Ich lese 😀 beides." }, "done": false }),
        json!({ "message": { "content": "", "tool_calls": [
            { "function": { "index": 0, "name": "read", "arguments": { "path": "x" } } },
        ] }, "done": false }),
        json!({ "message": { "content": "", "tool_calls": [
            { "function": { "index": 0, "name": "grep", "arguments": { "pattern": "€" } } },
        ] }, "done": false }),
        json!({ "message": { "content": "" }, "done": true, "done_reason": "stop",
            "prompt_eval_count": 100, "eval_count": 20 }),
    ])
}

#[test]
fn a_rich_openai_stream_is_read_whole() {
    let (events, completion) = decode(Wire::OpenAi, &[rich_openai().as_bytes()]);
    assert_eq!(completion.unwrap(), rich_completion());
    let started: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ModelEvent::CallStarted { index, id, name } => Some((*index, id.as_str(), name.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(started, [(0, "a", "read"), (1, "b", "grep")]);
}

#[test]
fn a_rich_ollama_stream_is_read_whole() {
    let expected = Completion {
        calls: vec![
            call("call_x_0", "read", "{\"path\":\"x\"}"),
            call("call_x_1", "grep", "{\"pattern\":\"€\"}"),
        ],
        usage: Some(TokenUsage { input_tokens: 100, output_tokens: 20, ..TokenUsage::default() }),
        ..rich_completion()
    };
    assert_eq!(complete(Wire::Ollama, &rich_ollama()), expected);
}

#[test]
fn an_answer_that_has_its_stop_reason_needs_no_done_mark() {
    let body = sse(&[delta(json!({ "content": "a" })), stop("stop")]);
    assert_eq!(complete(Wire::OpenAi, &body).text, "a");
}

#[test]
fn a_done_mark_needs_no_stop_reason() {
    let body = sse(&[delta(json!({ "content": "a" }))]) + DONE;
    assert_eq!(complete(Wire::OpenAi, &body).stop, Stop::End);
}

#[test]
fn a_clean_end_in_mid_answer_is_no_answer() {
    for (wire, body) in [
        (Wire::OpenAi, sse(&[delta(json!({ "content": "half" }))])),
        (Wire::OpenAi, String::new()),
        (Wire::OpenAi, "data: {\"choi".to_owned()),
        (Wire::Ollama, lines(&[json!({ "message": { "content": "half" }, "done": false })])),
        (Wire::Ollama, "{\"message\":".to_owned()),
        (Wire::Ollama, String::new()),
    ] {
        assert!(matches!(fault(wire, &body), Fault::Truncated), "{wire:?} {body:?}");
    }
}

#[test]
fn what_came_before_a_bad_frame_is_told_and_the_frame_is_a_fault() {
    let body = sse(&[delta(json!({ "content": "a" }))]) + "data: {oops\n\n";
    let (events, completion) = decode(Wire::OpenAi, &[body.as_bytes()]);
    assert_eq!(events, [ModelEvent::Text("a".to_owned())]);
    assert!(matches!(completion, Err(Fault::Frame { .. })));
    assert!(matches!(fault(Wire::Ollama, "{oops\n"), Fault::Frame { .. }));
}

#[test]
fn an_error_in_mid_stream_is_a_fault_with_the_endpoints_words() {
    let openai = json!({ "error": { "message": "overloaded", "code": 529 } });
    let ollama = lines(&[json!({ "error": "overloaded" })]);
    let text = delta(json!({ "content": "a" }));
    for (wire, body) in [
        (Wire::OpenAi, sse(&[text.clone(), openai.clone()])),
        (Wire::OpenAi, format!("{}{openai}\n\n", sse(&[text]))),
        (Wire::Ollama, ollama),
    ] {
        match fault(wire, &body) {
            Fault::ErrorInStream { message, is_retryable: true, .. } => assert_eq!(message, "overloaded"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn text_and_a_call_may_share_a_frame() {
    let body = sse(&[
        delta(json!({ "content": "a", "reasoning": "t", "tool_calls": [
            { "index": 0, "id": "1", "function": { "name": "list", "arguments": "{}" } },
        ] })),
        stop("stop"),
    ]);
    let completion = complete(Wire::OpenAi, &body);
    assert_eq!((completion.text.as_str(), completion.thinking.as_deref()), ("a", Some("t")));
    assert_eq!(completion.calls, [call("1", "list", "{}")]);
    assert_eq!(completion.stop, Stop::ToolCalls);
}

#[test]
fn arguments_may_be_an_object() {
    let body = sse(&[
        delta(
            json!({ "tool_calls": [{ "id": "1", "function": { "name": "read", "arguments": { "path": "x" } } }] }),
        ),
        stop("tool_calls"),
    ]);
    assert_eq!(complete(Wire::OpenAi, &body).calls, [call("1", "read", "{\"path\":\"x\"}")]);
}

#[test]
fn an_answer_that_is_not_streamed_is_read_too() {
    let body = json!({
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": "a" } }],
        "usage": { "prompt_tokens": 3, "completion_tokens": 1 },
    });
    for body in [body.to_string(), serde_json::to_string_pretty(&body).unwrap()] {
        let completion = complete(Wire::OpenAi, &body);
        assert_eq!(completion.text, "a");
        assert_eq!(completion.usage.unwrap().context_used(), 4);
    }
}

#[test]
fn content_in_parts_is_text_and_thinking() {
    let body = sse(&[
        delta(json!({ "content": [
            { "type": "thinking", "thinking": [{ "type": "text", "text": "t" }] },
            { "type": "text", "text": "a" },
        ] })),
        stop("stop"),
    ]);
    let completion = complete(Wire::OpenAi, &body);
    assert_eq!((completion.text.as_str(), completion.thinking.as_deref()), ("a", Some("t")));
}

#[test]
fn each_stop_reason_has_its_meaning() {
    for (reason, expected) in [
        ("stop", Stop::End),
        ("length", Stop::Length),
        ("content_filter", Stop::Refusal),
        ("tool_calls", Stop::End), // without any call there is nothing to wait for
        ("eos", Stop::End),
    ] {
        assert_eq!(complete(Wire::OpenAi, &sse(&[stop(reason)])).stop, expected, "{reason}");
    }
    let refusal = sse(&[delta(json!({ "refusal": "No." })), stop("stop")]);
    let completion = complete(Wire::OpenAi, &refusal);
    assert_eq!((completion.text.as_str(), completion.stop), ("No.", Stop::Refusal));
    let cut = lines(&[json!({ "message": { "content": "a" }, "done": true, "done_reason": "length" })]);
    assert_eq!(complete(Wire::Ollama, &cut).stop, Stop::Length);
}

#[test]
fn every_token_is_counted_in_one_bucket() {
    let counts = |usage: Value| {
        let body = sse(&[stop("stop"), json!({ "choices": [], "usage": usage })]);
        complete(Wire::OpenAi, &body).usage.unwrap()
    };
    let cached = counts(json!({
        "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110,
        "prompt_tokens_details": { "cached_tokens": 70, "cache_write_tokens": 20 },
    }));
    assert_eq!(
        cached,
        TokenUsage {
            input_tokens: 10,
            cache_read_tokens: 70,
            cache_write_tokens: 20,
            output_tokens: 10,
            thinking_tokens: 0
        }
    );
    let thinking_beside = counts(json!({
        "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 140,
        "completion_tokens_details": { "reasoning_tokens": 30 },
    }));
    assert_eq!((thinking_beside.output_tokens, thinking_beside.thinking_tokens), (40, 30));
    let hits = counts(json!({ "prompt_tokens": 100, "completion_tokens": 1, "prompt_cache_hit_tokens": 99 }));
    assert_eq!((hits.input_tokens, hits.cache_read_tokens), (1, 99));
}

#[test]
fn nothing_after_the_done_mark_is_read() {
    let body = sse(&[delta(json!({ "content": "a" })), stop("stop")]) + DONE + "data: {oops\n\n";
    assert_eq!(complete(Wire::OpenAi, &body).text, "a");
}

#[test]
fn an_answer_without_end_is_given_up() {
    let mut decoder = Decoder::new(Wire::OpenAi, Framing::Sse, String::new());
    let frame = sse(&[delta(json!({ "content": "again and again ".repeat(65_536) }))]);
    let fault = (0..64).find_map(|_| decoder.push(frame.as_bytes(), &mut Vec::new()).err());
    assert!(matches!(fault, Some(Fault::Frame { .. })), "{fault:?}");
    let mut decoder = Decoder::new(Wire::Ollama, Framing::Lines, String::new());
    let call = json!({ "message": { "tool_calls": [{ "function": { "name": "list", "arguments": {} } }] } });
    let frame = lines(&[call]);
    let fault = (0..1000).find_map(|_| decoder.push(frame.as_bytes(), &mut Vec::new()).err());
    assert!(matches!(fault, Some(Fault::Frame { .. })), "{fault:?}");
}

/// Everything that the consumer was told, with neighbouring pieces joined: how the network split them does not count.
fn joined(events: Vec<ModelEvent>) -> Vec<ModelEvent> {
    let mut out: Vec<ModelEvent> = Vec::new();
    for event in events {
        match (out.last_mut(), event) {
            (Some(ModelEvent::Text(text)), ModelEvent::Text(more))
            | (Some(ModelEvent::Thinking(text)), ModelEvent::Thinking(more)) => text.push_str(&more),
            (_, event) => out.push(event),
        }
    }
    out
}

fn rich(wire: Wire) -> String {
    match wire {
        Wire::OpenAi => rich_openai(),
        Wire::Ollama => rich_ollama(),
    }
}

fn any_wire() -> impl Strategy<Value = Wire> {
    prop::sample::select(vec![Wire::OpenAi, Wire::Ollama])
}

#[test]
fn no_truncated_prefix_is_a_finished_answer_before_the_stop_reason_is_there() {
    for (wire, mark) in [(Wire::OpenAi, "\"finish_reason\":\"tool_calls\""), (Wire::Ollama, "\"done\":true")]
    {
        let body = rich(wire);
        let at = body.find(mark).unwrap();
        let whole = at + body[at..].find('\n').unwrap();
        for end in 0..whole {
            let (_, completion) = decode(wire, &[&body.as_bytes()[..end]]);
            assert!(matches!(completion, Err(Fault::Truncated)), "{wire:?} at {end}: {completion:?}");
        }
        for end in whole..=body.len() {
            let completion = decode(wire, &[&body.as_bytes()[..end]]).1.unwrap();
            assert_eq!(completion.calls.len(), 2, "{wire:?} at {end}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn an_answer_is_the_same_however_its_bytes_are_split(
        wire in any_wire(),
        newline in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        comments in any::<bool>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut body = rich(wire);
        if comments && wire == Wire::OpenAi {
            body = body.replace("\n\n", "\n\n: still there\n\n");
        }
        let body = body.replace('\n', newline);
        let body = body.as_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        at.extend([0, body.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        let whole = decode(wire, &[rich(wire).as_bytes()]);
        for pieces in [pieces, bytes] {
            let (events, completion) = decode(wire, &pieces);
            prop_assert_eq!(joined(events), joined(whole.0.clone()));
            prop_assert_eq!(completion.unwrap(), whole.1.as_ref().unwrap().clone());
        }
    }

    #[test]
    fn a_damaged_stream_never_panics_and_never_gives_a_nameless_call(
        wire in any_wire(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_usize..4), 1..12),
    ) {
        let mut body = rich(wire).into_bytes();
        for (at, byte, kind) in damage {
            let at = at.index(body.len().max(1));
            match kind {
                _ if body.is_empty() => {}
                0 => body[at] = byte,
                1 => { body.remove(at); }
                2 => body.insert(at, byte),
                _ => { let tail = body.split_off(at); body.extend_from_slice(&tail[tail.len() / 2..]); }
            }
        }
        if let (_, Ok(completion)) = decode(wire, &[&body]) {
            prop_assert!(completion.calls.iter().all(|call| !call.name.is_empty() && !call.id.is_empty()));
        }
    }
}

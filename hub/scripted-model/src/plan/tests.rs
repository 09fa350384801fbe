use serde_json::json;

use super::*;

fn request(dialect: Dialect, stream: bool) -> Request {
    let body = json!({
        "model": "m",
        "messages": [{ "role": "user", "content": "hi" }],
        "stream": stream,
        "options": { "num_ctx": 8192 },
    });
    dialect.read(body.to_string().as_bytes()).unwrap()
}

/// The bytes of the body, and what happens besides.
fn carry_out(acts: &[Act]) -> (String, Vec<&Act>) {
    let mut text = Vec::new();
    let mut rest = Vec::new();
    for act in acts {
        match act {
            Act::Send(bytes) => text.extend_from_slice(bytes),
            Act::Pause(_) | Act::Cut | Act::Stall => rest.push(act),
        }
    }
    (String::from_utf8(text).unwrap(), rest)
}

fn body(dialect: Dialect, steps: &[Step]) -> String {
    carry_out(&plan(&request(dialect, true), steps, Pace::default()).after).0
}

#[test]
fn an_answer_ends_with_stop_reason_counts_and_end_mark() {
    let body = body(
        Dialect::OpenAi,
        &[Step::say("hello there"), Step::Usage(Usage { input: 5, cached: 3, output: 2, thinking: 0 })],
    );
    let frames: Vec<&str> =
        body.split_terminator("\n\n").map(|frame| frame.strip_prefix("data: ").unwrap()).collect();
    assert_eq!(frames.len(), 5);
    let values: Vec<Value> = frames[..4].iter().map(|frame| serde_json::from_str(frame).unwrap()).collect();
    assert_eq!(values[0]["choices"][0]["delta"]["content"], "hello ");
    assert_eq!(values[1]["choices"][0]["delta"]["content"], "there");
    assert_eq!(values[2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(values[3]["usage"]["prompt_tokens"], 8);
    assert_eq!(frames[4], "[DONE]");
}

#[test]
fn a_call_ends_the_answer_with_the_reason_that_fits() {
    let steps = [Step::call("read", json!({ "path": "a-file-with-a-long-name" }))];
    let openai = body(Dialect::OpenAi, &steps);
    assert!(openai.contains("\"finish_reason\":\"tool_calls\""));
    assert!(openai.contains("\"id\":\"call_0_0\""));
    let ollama = body(Dialect::Ollama, &steps);
    assert!(ollama.contains("\"arguments\":{\"path\":\"a-file-with-a-long-name\"}"));
    assert!(ollama.contains("\"done_reason\":\"stop\""));
}

#[test]
fn accidents_before_any_content_happen_before_the_status_line() {
    let plan = plan(&request(Dialect::OpenAi, true), &[Step::Pause(7), Step::Cut], Pace::default());
    assert_eq!(plan.before, [Act::Pause(Duration::from_millis(7)), Act::Cut]);
    assert_eq!(plan.after, []);
}

#[test]
fn accidents_after_content_or_headers_happen_inside_the_body() {
    let headers = Step::Headers([("x-a".to_owned(), "b".to_owned())].into());
    let headed = plan(&request(Dialect::OpenAi, true), &[headers, Step::Stall], Pace::default());
    assert_eq!((headed.before, headed.after), (vec![], vec![Act::Stall]));
    assert_eq!(headed.headers["x-a"], "b");
    let said =
        plan(&request(Dialect::OpenAi, true), &[Step::say("a"), Step::Cut, Step::say("b")], Pace::default());
    let (text, rest) = carry_out(&said.after);
    assert!(text.contains('a') && !text.contains("DONE"));
    assert_eq!(rest, [&Act::Cut]);
}

#[test]
fn a_clean_end_leaves_stop_reason_and_end_mark_out() {
    for dialect in [Dialect::OpenAi, Dialect::Ollama] {
        let text = body(dialect, &[Step::say("a"), Step::End]);
        assert!(!text.contains("DONE") && !text.contains("\"done\":true"), "{text}");
    }
}

#[test]
fn dripping_cuts_the_bytes_but_keeps_them() {
    let whole = body(Dialect::Ollama, &[Step::say("Grüße 😀")]);
    let steps = [Step::Drip(Drip { bytes: 1, pause: 0 }), Step::say("Grüße 😀")];
    let dripped = plan(&request(Dialect::Ollama, true), &steps, Pace::default());
    assert!(dripped.after.iter().all(|act| !matches!(act, Act::Send(bytes) if bytes.len() > 1)));
    assert_eq!(carry_out(&dripped.after).0, whole);
}

#[test]
fn a_status_is_told_in_the_dialects_words_with_its_headers() {
    let plan = plan(&request(Dialect::Ollama, true), &[Step::rate_limit("3")], Pace::default());
    assert_eq!((plan.status, plan.headers["retry-after"].as_str()), (429, "3"));
    assert_eq!(carry_out(&plan.after).0, "{\"error\":\"scripted status 429\"}");
}

#[test]
fn a_client_that_does_not_stream_gets_one_document() {
    let steps = [Step::think("t"), Step::say("a b"), Step::call("read", json!({ "path": "x" }))];
    for dialect in [Dialect::OpenAi, Dialect::Ollama] {
        let plan = plan(&request(dialect, false), &steps, Pace::default());
        let document: Value = serde_json::from_str(&carry_out(&plan.after).0).unwrap();
        let message = match dialect {
            Dialect::OpenAi => &document["choices"][0]["message"],
            Dialect::Ollama => &document["message"],
        };
        assert_eq!(message["content"], "a b", "{document}");
        assert_eq!(message["tool_calls"][0]["function"]["name"], "read");
    }
}

#[test]
fn the_same_seed_gives_the_same_rhythm_and_another_seed_another() {
    let steps = [Step::say("a b c d e f g")];
    let rhythm = |seed| plan(&request(Dialect::OpenAi, true), &steps, Pace { piece: 20, seed });
    assert_eq!(rhythm(1), rhythm(1));
    assert_ne!(rhythm(1), rhythm(2));
    for act in rhythm(1).after {
        if let Act::Pause(time) = act {
            assert!((10..30).contains(&time.as_millis()), "{time:?}");
        }
    }
}

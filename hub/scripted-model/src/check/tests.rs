use serde_json::{Value, json};

use super::*;

fn request(messages: Value) -> Request {
    let body = json!({ "model": "m", "messages": messages, "stream": true });
    Dialect::OpenAi.read(body.to_string().as_bytes()).unwrap()
}

fn problems(messages: Value) -> Vec<String> {
    check(&request(messages), b"", &[])
}

fn call(id: &str) -> Value {
    json!({ "id": id, "type": "function", "function": { "name": "read", "arguments": "{}" } })
}

fn assistant(ids: &[&str]) -> Value {
    json!({ "role": "assistant", "content": null, "tool_calls": ids.iter().map(|id| call(id)).collect::<Vec<_>>() })
}

fn result(id: &str) -> Value {
    json!({ "role": "tool", "tool_call_id": id, "content": "ok" })
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

#[test]
fn a_conversation_with_a_result_for_each_call_is_right() {
    let none: Vec<String> = Vec::new();
    assert_eq!(
        problems(json!([user("a"), assistant(&["1", "2"]), result("2"), result("1"), user("b")])),
        none
    );
}

#[test]
fn a_call_without_result_is_found() {
    let expected = ["a call of read has no result before message 3"];
    assert_eq!(problems(json!([user("a"), assistant(&["1", "2"]), result("1"), user("b")])), expected);
    assert_eq!(problems(json!([user("a"), assistant(&["1"])])).len(), 1);
}

#[test]
fn a_result_without_call_or_a_second_one_is_found() {
    let expected = ["message 3 is a result without a call, or a second one"];
    assert_eq!(problems(json!([user("a"), assistant(&["1"]), result("1"), result("1")])), expected);
    assert_eq!(problems(json!([user("a"), result("1")])).len(), 1);
}

#[test]
fn arguments_that_are_no_object_are_found() {
    let broken = json!({ "role": "assistant", "content": null, "tool_calls": [
        { "id": "1", "type": "function", "function": { "name": "read", "arguments": "{\"a\":" } },
    ] });
    let expected = ["message 1: the arguments of read are no JSON object"];
    assert_eq!(problems(json!([user("a"), broken, result("1")])), expected);
}

#[test]
fn tools_out_of_order_and_secrets_are_found() {
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name, "parameters": {} } });
    let body =
        json!({ "model": "m", "messages": [user("the key is sk-1")], "tools": [tool("b"), tool("a")] });
    let body = body.to_string();
    let request = Dialect::OpenAi.read(body.as_bytes()).unwrap();
    let found = check(&request, body.as_bytes(), &["sk-0".to_owned(), "sk-1".to_owned()]);
    assert_eq!(found, ["the tools are not sorted by name: b, a", "secret number 1 is in the request"]);
}

#[test]
fn an_ollama_request_must_say_how_much_context_to_keep() {
    let body = json!({ "model": "m", "messages": [user("a")] }).to_string();
    let request = Dialect::Ollama.read(body.as_bytes()).unwrap();
    assert_eq!(check(&request, body.as_bytes(), &[]).len(), 1);
}

#[test]
fn a_result_may_name_its_tool_where_calls_have_no_ids() {
    let body = json!({ "model": "m", "options": { "num_ctx": 1 }, "messages": [
        user("a"),
        { "role": "assistant", "content": "", "tool_calls": [{ "function": { "name": "read", "arguments": {} } }] },
        { "role": "tool", "tool_name": "read", "content": "ok" },
    ] });
    let request = Dialect::Ollama.read(body.to_string().as_bytes()).unwrap();
    assert_eq!(check(&request, b"", &[]), Vec::<String>::new());
}

#[test]
fn a_script_can_demand_what_the_request_says_and_offers() {
    let request = request(json!([user("read the file")]));
    let expect = Expect {
        last_contains: vec!["file".to_owned(), "folder".to_owned()],
        lacks: vec!["read".to_owned()],
        offers: vec!["edit".to_owned()],
        ..Expect::default()
    };
    assert_eq!(check_expected(&request, &expect).len(), 3);
}

#[test]
fn a_conversation_that_only_grows_is_right() {
    let mut conversations = Conversations::default();
    let mut messages = vec![user("a")];
    for round in 0..4 {
        let request = request(Value::Array(messages.clone()));
        assert_eq!(conversations.check(&request, Some(0), false), None, "round {round}");
        assert_eq!(conversations.check(&request, Some(0), false), None, "round {round} again");
        let id = round.to_string();
        messages.extend([assistant(&[&id]), result(&id)]);
    }
}

#[test]
fn a_changed_message_is_found_unless_the_script_expects_it() {
    let mut conversations = Conversations::default();
    conversations.check(&request(json!([user("a")])), Some(0), false);
    conversations.check(&request(json!([user("a"), assistant(&["1"]), result("1")])), Some(0), false);
    let changed = request(json!([user("a"), assistant(&["x"]), result("x"), assistant(&["2"]), result("2")]));
    let found = conversations.check(&changed, Some(0), false).unwrap();
    assert_eq!(found, "messages that were sent before have changed");
    assert_eq!(conversations.check(&changed, Some(0), true), None);
}

#[test]
fn a_changed_system_prompt_is_found() {
    let mut conversations = Conversations::default();
    let system = |text: &str| json!({ "role": "system", "content": text });
    conversations.check(&request(json!([system("at 10:00"), user("a")])), Some(0), false);
    let later = request(json!([system("at 10:01"), user("a"), assistant(&["1"]), result("1")]));
    let found = conversations.check(&later, Some(0), false).unwrap();
    assert_eq!(found, "the system prompt or the tools have changed within a turn");
}

#[test]
fn two_conversations_may_begin_alike() {
    let mut conversations = Conversations::default();
    for _ in 0..2 {
        assert_eq!(conversations.check(&request(json!([user("a")])), Some(0), false), None);
    }
    for id in ["1", "2"] {
        let request = request(json!([user("a"), assistant(&[id]), result(id)]));
        assert_eq!(conversations.check(&request, Some(0), false), None);
    }
}

#[test]
fn a_passing_note_at_the_end_need_not_stay() {
    let mut conversations = Conversations::default();
    let first = request(json!([user("a"), user("<note>it is ten</note>")]));
    assert_eq!(conversations.check(&first, Some(0), false), None);
    let second =
        request(json!([user("a"), assistant(&["1"]), result("1"), user("<note>it is eleven</note>")]));
    assert_eq!(conversations.check(&second, Some(0), false), None);
}

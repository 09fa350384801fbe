use protocol::document::Capabilities;
use protocol::value::ReasoningEffort;

use super::*;
use crate::model::{Call, Message};

fn request() -> ModelRequest {
    ModelRequest {
        model: "m".to_owned(),
        system: "Be brief.".to_owned(),
        messages: vec![
            Message::User { text: "hi".to_owned() },
            Message::Assistant {
                text: String::new(),
                thinking: Some("hm".to_owned()),
                calls: vec![Call {
                    id: "c1".to_owned(),
                    name: "read".to_owned(),
                    arguments: "{\"path\": \"a\"}".to_owned(),
                }],
            },
            Message::ToolResult {
                call_id: "c1".to_owned(),
                name: "read".to_owned(),
                content: "text".to_owned(),
                is_error: false,
            },
        ],
        tools: ["write", "read"].map(tool).to_vec(),
        reasoning_effort: ReasoningEffort::High,
        capabilities: Capabilities { thinking: true, tools: true, vision: false },
        context_window: Some(8192),
        max_output_tokens: Some(512),
    }
}

fn tool(name: &'static str) -> ToolSpec {
    ToolSpec { name, description: "d", parameters: json!({ "type": "object" }) }
}

fn body(wire: Wire, request: &ModelRequest) -> String {
    String::from_utf8(wire.body(request).unwrap()).unwrap()
}

#[test]
fn an_openai_request_has_these_bytes() {
    assert_eq!(
        body(Wire::OpenAi, &request()),
        concat!(
            r#"{"model":"m","messages":["#,
            r#"{"role":"system","content":"Be brief."},"#,
            r#"{"role":"user","content":"hi"},"#,
            r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","#,
            r#""function":{"name":"read","arguments":"{\"path\": \"a\"}"}}]},"#,
            r#"{"role":"tool","tool_call_id":"c1","content":"text"}],"#,
            r#""tools":[{"type":"function","function":{"name":"read","description":"d","parameters":{"type":"object"}}},"#,
            r#"{"type":"function","function":{"name":"write","description":"d","parameters":{"type":"object"}}}],"#,
            r#""stream":true,"stream_options":{"include_usage":true},"#,
            r#""reasoning_effort":"high","max_completion_tokens":512}"#,
        )
    );
}

#[test]
fn an_ollama_request_has_these_bytes() {
    assert_eq!(
        body(Wire::Ollama, &request()),
        concat!(
            r#"{"model":"m","messages":["#,
            r#"{"role":"system","content":"Be brief."},"#,
            r#"{"role":"user","content":"hi"},"#,
            r#"{"role":"assistant","content":"","thinking":"hm","tool_calls":[{"id":"c1","#,
            r#""function":{"name":"read","arguments":{"path": "a"}}}]},"#,
            r#"{"role":"tool","tool_name":"read","tool_call_id":"c1","content":"text"}],"#,
            r#""tools":[{"type":"function","function":{"name":"read","description":"d","parameters":{"type":"object"}}},"#,
            r#"{"type":"function","function":{"name":"write","description":"d","parameters":{"type":"object"}}}],"#,
            r#""stream":true,"think":true,"options":{"num_ctx":8192,"num_predict":512}}"#,
        )
    );
}

#[test]
fn the_order_of_the_tools_does_not_change_the_bytes() {
    for wire in [Wire::OpenAi, Wire::Ollama] {
        let one = request();
        let other = ModelRequest { tools: ["read", "write"].map(tool).to_vec(), ..request() };
        assert_eq!(body(wire, &one), body(wire, &other));
    }
}

#[test]
fn a_longer_conversation_begins_with_the_bytes_of_the_shorter_one() {
    for wire in [Wire::OpenAi, Wire::Ollama] {
        let short = body(wire, &request());
        let mut longer = request();
        longer.messages.push(Message::User { text: "and now?".to_owned() });
        let prefix = short.split(r#"],"tools""#).next().unwrap();
        assert!(body(wire, &longer).starts_with(prefix));
    }
}

#[test]
fn what_a_model_cannot_do_is_not_asked_of_it() {
    let plain = ModelRequest { capabilities: Capabilities::default(), ..request() };
    for wire in [Wire::OpenAi, Wire::Ollama] {
        let body = body(wire, &plain);
        for field in ["reasoning_effort", "\"think\"", "\"tools\"", "max_completion_tokens"] {
            assert!(!body.contains(field), "{field} in {body}");
        }
    }
    assert!(body(Wire::OpenAi, &plain).contains("\"max_tokens\":512"));
}

#[test]
fn ollama_is_always_told_the_context_to_keep() {
    let unknown = ModelRequest { context_window: None, max_output_tokens: None, ..request() };
    assert!(body(Wire::Ollama, &unknown).contains(r#""options":{"num_ctx":32768}"#));
}

#[test]
fn thinking_is_switched_and_levelled_as_each_model_understands_it() {
    let effort = |model: &str, reasoning_effort| {
        let request = ModelRequest { model: model.to_owned(), reasoning_effort, ..request() };
        serde_json::from_str::<Value>(&body(Wire::Ollama, &request)).unwrap()["think"].clone()
    };
    assert_eq!(effort("qwen", ReasoningEffort::Off), json!(false));
    assert_eq!(effort("qwen", ReasoningEffort::Low), json!(true));
    assert_eq!(effort("gpt-oss:20b", ReasoningEffort::Low), json!("low"));
}

#[test]
fn broken_arguments_go_back_as_an_object_that_shows_them() {
    for (arguments, expected) in [
        ("{\"a\":1}", json!({ "a": 1 })),
        ("{\"a\":", json!({ "unreadable_arguments": "{\"a\":" })),
        ("[1]", json!({ "unreadable_arguments": "[1]" })),
        ("", json!({ "unreadable_arguments": "" })),
    ] {
        assert_eq!(serde_json::from_str::<Value>(&arguments_as_object(arguments)).unwrap(), expected);
    }
}

#[test]
fn a_dialect_without_an_implementation_is_a_clear_fault() {
    for dialect in [Dialect::Anthropic, Dialect::OpenAiResponses] {
        let fault = Wire::of(dialect).unwrap_err();
        assert!(matches!(fault, Fault::Unsupported { .. }));
        assert!(fault.to_string().contains(dialect.as_str()), "{fault}");
    }
}

use super::*;

fn status(code: u16, body: &str) -> Fault {
    of_status(code, body.as_bytes(), None)
}

#[test]
fn the_message_is_found_in_every_common_form() {
    for body in [
        r#"{"error":{"message":"no such model","code":"model_not_found"}}"#,
        r#"{"error":"no such model"}"#,
        r#"{"message":"no such model"}"#,
        r#"{"type":"about:blank","title":"no such model"}"#,
        r#"[{"error":{"message":"no such model"}}]"#,
        "no such model\n",
    ] {
        match status(404, body) {
            Fault::Status { code: 404, message, retry_after: None } => {
                assert_eq!(message, "no such model", "{body}");
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn a_proxys_page_is_not_shown() {
    assert!(status(502, "<html>…</html>").to_string().ends_with("an HTML page instead of an answer"));
}

#[test]
fn a_conversation_that_is_too_long_is_known_by_code_or_words() {
    for body in [
        r#"{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
        r#"{"error":{"message":"This model's maximum context length is 8192 tokens. However, you requested 9000."}}"#,
        r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error"}}"#,
        r#"{"error":"prompt too long; exceeded max context length by 12 tokens"}"#,
        r#"{"message":"Please reduce the length of the messages or completion."}"#,
    ] {
        assert!(matches!(status(400, body), Fault::Overflow { .. }), "{body}");
        assert!(matches!(in_stream(body), Fault::Overflow { .. }), "{body}");
    }
    assert!(matches!(status(413, ""), Fault::Overflow { .. }));
}

#[test]
fn a_token_rate_limit_is_no_overflow() {
    let fault =
        status(429, r#"{"error":{"message":"Rate limit: too many tokens. Please try again in 17.5s."}}"#);
    assert!(fault.is_retryable());
    assert_eq!(fault.retry_after(), Some(Duration::from_millis(17_500)));
}

#[test]
fn an_account_without_money_or_rights_stops() {
    for (code, body) in [
        (401, r#"{"error":{"message":"bad key"}}"#),
        (402, ""),
        (403, "forbidden"),
        (429, r#"{"error":{"message":"You exceeded your quota","code":"insufficient_quota"}}"#),
    ] {
        let fault = status(code, body);
        assert!(matches!(fault, Fault::Auth { .. }), "{fault:?}");
        assert!(!fault.is_retryable());
    }
}

#[test]
fn an_error_inside_a_stream_is_retried_unless_the_request_is_at_fault() {
    for (frame, expected) in [
        (r#"{"error":{"message":"overloaded","type":"server_error"}}"#, true),
        (r#"{"error":{"message":"busy","code":529}}"#, true),
        (r#"{"error":"model runner has unexpectedly stopped"}"#, true),
        (r#"{"error":{"message":"bad tool schema","type":"invalid_request_error"}}"#, false),
        (r#"{"error":{"message":"bad","code":400}}"#, false),
        (r#"{"error":{"message":"key revoked","code":401}}"#, false),
    ] {
        assert_eq!(in_stream(frame).is_retryable(), expected, "{frame}");
    }
}

#[test]
fn an_error_inside_a_stream_may_ask_to_wait() {
    let fault = in_stream(
        r#"{"error":{"message":"Rate limit reached, try again in 3s","code":"rate_limit_exceeded"}}"#,
    );
    assert_eq!(fault.retry_after(), Some(Duration::from_secs(3)));
}

#[test]
fn long_messages_are_cut() {
    let Fault::Status { message, .. } = status(500, &"ä".repeat(5000)) else { panic!() };
    assert_eq!(message.chars().count(), MAX_MESSAGE + 1);
}

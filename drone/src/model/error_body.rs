//! What endpoints say when they fail, as a typed fault.
//!
//! There is no common form: `{"error": {"message", "code", "type"}}`, `{"error": "…"}`, `{"message": "…"}`, problem
//! details, plain text, a proxy's HTML page. And a conversation that is too long has no common code, so it is known by
//! its wording.

use std::time::Duration;

use serde_json::Value;

use super::fault::{Fault, is_retryable_status};
use super::retry;

/// Longer messages are cut: they go to a person's screen.
const MAX_MESSAGE: usize = 600;

/// Codes and wordings, in lower case, of "the conversation is too long", gathered from the providers' documentation and
/// the error texts that people report.
const OVERFLOW_WORDS: &[&str] = &[
    "context_length_exceeded",
    "context length exceeded",
    "maximum context length",
    "exceeds the context window",
    "exceeds the available context size",
    "exceed_context_size",
    "exceeds the context length",
    "exceeded max context length",
    "greater than the context length",
    "context window exceeds limit",
    "model_context_window_exceeded",
    "maximum model length",
    "maximum prompt length",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "input token count",
    "input tokens exceed",
    "exceeds the maximum number of tokens",
    "exceeded model token limit",
    "reduce the length of the messages",
    "too large for model",
    "request_too_large",
    "`inputs` tokens + `max_new_tokens` must be",
];

/// An answer with an error status.
pub(super) fn of_status(code: u16, body: &[u8], retry_after: Option<Duration>) -> Fault {
    let report = Report::of(&String::from_utf8_lossy(body));
    let message = report.message.clone().unwrap_or_else(|| "no further explanation".to_owned());
    match code {
        401..=403 => Fault::Auth { code, message },
        // Sent as a rate limit, but no waiting helps: the account has no money.
        429 if report.is("insufficient_quota") => Fault::Auth { code, message },
        413 => Fault::Overflow { message },
        400 | 422 | 500 if report.is_overflow() => Fault::Overflow { message },
        _ => {
            let retry_after = retry_after.or_else(|| retry::wait_in_words(&message));
            Fault::Status { code, message, retry_after }
        }
    }
}

/// An error frame inside a stream that began well.
pub(super) fn in_stream(frame: &str) -> Fault {
    let report = Report::of(frame);
    let message = report.message.clone().unwrap_or_else(|| "no further explanation".to_owned());
    if report.is_overflow() {
        return Fault::Overflow { message };
    }
    let status = report.codes.iter().find_map(|code| code.parse::<u16>().ok());
    if let Some(code @ 401..=403) = status {
        return Fault::Auth { code, message };
    }
    let is_retryable = match status {
        Some(code @ 400..=599) => is_retryable_status(code),
        _ => !["invalid_request_error", "authentication_error", "permission_error", "insufficient_quota"]
            .iter()
            .any(|code| report.is(code)),
    };
    let retry_after = retry::wait_in_words(&message);
    Fault::ErrorInStream { code: report.codes.into_iter().next(), message, is_retryable, retry_after }
}

#[derive(Debug, Default)]
struct Report {
    message: Option<String>,
    /// `code`, `type` and `status`, whichever there are.
    codes: Vec<String>,
}

impl Report {
    fn of(body: &str) -> Self {
        let Ok(document) = serde_json::from_str::<Value>(body) else {
            let text = body.trim();
            let message = if text.starts_with('<') { "an HTML page instead of an answer" } else { text };
            return Self { message: clip(message), codes: Vec::new() };
        };
        // Some gateways wrap a single error into a list.
        let document = document.get(0).unwrap_or(&document);
        let error = document.get("error").unwrap_or(document);
        if let Value::String(message) = error {
            return Self { message: clip(message), codes: Vec::new() };
        }
        let message = ["message", "detail", "title"]
            .iter()
            .find_map(|field| error.get(field).or_else(|| document.get(field)).and_then(Value::as_str))
            .and_then(clip);
        let codes = ["code", "type", "status"]
            .iter()
            .filter_map(|field| match error.get(field)? {
                Value::String(code) => Some(code.clone()),
                Value::Number(code) => Some(code.to_string()),
                _ => None,
            })
            .collect();
        Self { message, codes }
    }

    fn is(&self, code: &str) -> bool {
        self.codes.iter().any(|own| own == code)
    }

    fn is_overflow(&self) -> bool {
        self.codes.iter().chain(&self.message).any(|text| {
            let text = text.to_lowercase();
            OVERFLOW_WORDS.iter().any(|words| text.contains(words))
        })
    }
}

fn clip(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let mut clipped: String = text.chars().take(MAX_MESSAGE).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    Some(clipped)
}

#[cfg(test)]
mod tests;

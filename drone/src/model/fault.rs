//! How a model call can fail, and which failures are worth another try.

use std::error::Error;
use std::time::Duration;

use protocol::value::Dialect;

/// A model call that gave no finished answer.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the model's answer broke off before it was finished")]
    Truncated,
    #[error("the model sent {clock} within {} s", limit.as_secs_f32())]
    Stalled { clock: Clock, limit: Duration },
    #[error("the model endpoint answered {code}: {message}")]
    Status { code: u16, message: String, retry_after: Option<Duration> },
    /// The conversation does not fit into the model's context window.
    #[error("the conversation is too long for the model: {message}")]
    Overflow { message: String },
    /// 401, 402 or 403: the key is wrong, has no money, or may not use this model.
    #[error("the model endpoint refuses access ({code}): {message}")]
    Auth { code: u16, message: String },
    #[error("the model endpoint sent something that cannot be read: {message}")]
    Frame { message: String },
    #[error("the connection to the model endpoint broke")]
    Connect {
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("the model endpoint reported an error in mid-answer: {message}")]
    ErrorInStream { code: Option<String>, message: String, is_retryable: bool, retry_after: Option<Duration> },
    /// The hub itself cannot be reached or is going away, so nothing is known about the model. Never counted as a
    /// failed attempt: ask again when the hub is back.
    #[error("the hub is away: {reason}")]
    HubAway { reason: String },
    #[error("the model call was cancelled")]
    Cancelled,
    #[error("this drone does not speak the dialect {dialect}; choose a model of another provider")]
    Unsupported { dialect: Dialect },
}

/// What was waited for when a stream stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Headers,
    FirstDelta,
    NextDelta,
}

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Headers => "no answer",
            Self::FirstDelta => "no first piece of its answer",
            Self::NextDelta => "no further piece of its answer",
        })
    }
}

impl Fault {
    /// Whether the same request may succeed later. [`Fault::HubAway`] is, but does not count as an attempt;
    /// [`Fault::Overflow`] is not: the request has to become smaller first.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Truncated
            | Self::Stalled { .. }
            | Self::Frame { .. }
            | Self::Connect { .. }
            | Self::HubAway { .. } => true,
            Self::Status { code, .. } => is_retryable_status(*code),
            Self::ErrorInStream { is_retryable, .. } => *is_retryable,
            Self::Overflow { .. } | Self::Auth { .. } | Self::Cancelled | Self::Unsupported { .. } => false,
        }
    }

    /// How long the endpoint asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } | Self::ErrorInStream { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Time-outs, conflicts, too early, rate limits and the server's own failures (529 is "overloaded").
pub(super) fn is_retryable_status(code: u16) -> bool {
    matches!(code, 408 | 409 | 425 | 429 | 500..=599)
}

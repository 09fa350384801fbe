//! Codes of refusals. A client may branch on a code; the words beside it are for a person and may change.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why something was refused or failed. The text form is part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// No or a wrong credential.
    Unauthorized,
    /// The credential was good once; renew it and come back.
    TokenExpired,
    /// Not allowed, or of another user.
    Forbidden,
    /// A newer connection of the same drone took over; do not come back.
    Superseded,
    /// The handshake or an event is not of this protocol.
    Protocol,
    /// Arguments are missing, of the wrong type or out of range.
    Invalid,
    /// No such event.
    UnknownEvent,
    /// No such document, or not yours: the two are not told apart.
    NotFound,
    /// The name is taken, or the document changed meanwhile.
    Conflict,
    /// A turn is running.
    Busy,
    /// Not in this workspace mode.
    Mode,
    /// The drone is locked to another chat session.
    DroneLocked,
    /// The chat session is open in another tab.
    TabLocked,
    /// This connection holds no lock on a chat session.
    NoSession,
    /// No drone is connected, and none is on its way.
    NoDrone,
    /// The drone was stopped by a person and stays stopped.
    Suspended,
    /// The drone did not answer in time, or went away while it was asked.
    DroneUnreachable,
    /// Too many in too short a time.
    RateLimited,
    /// Larger than the limit.
    TooLarge,
    /// The path leaves the project.
    PathEscape,
    /// Not text, or not a regular file.
    NotAFile,
    /// The file is not what the editor had read.
    FileChanged,
    /// The file system refused.
    Io,
    /// No turn is running.
    NoTurn,
    /// No model is configured, or it is switched off.
    NoModel,
    /// The project could not be cloned or fetched.
    SyncFailed,
    /// The store does not answer; nothing was accepted.
    StoreUnavailable,
    /// The hub is going away; come back in a moment.
    Draining,
    /// Our fault.
    Internal,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::TokenExpired => "token_expired",
            Self::Forbidden => "forbidden",
            Self::Superseded => "superseded",
            Self::Protocol => "protocol",
            Self::Invalid => "invalid",
            Self::UnknownEvent => "unknown_event",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Busy => "busy",
            Self::Mode => "mode",
            Self::DroneLocked => "drone_locked",
            Self::TabLocked => "tab_locked",
            Self::NoSession => "no_session",
            Self::NoDrone => "no_drone",
            Self::Suspended => "suspended",
            Self::DroneUnreachable => "drone_unreachable",
            Self::RateLimited => "rate_limited",
            Self::TooLarge => "too_large",
            Self::PathEscape => "path_escape",
            Self::NotAFile => "not_a_file",
            Self::FileChanged => "file_changed",
            Self::Io => "io",
            Self::NoTurn => "no_turn",
            Self::NoModel => "no_model",
            Self::SyncFailed => "sync_failed",
            Self::StoreUnavailable => "store_unavailable",
            Self::Draining => "draining",
            Self::Internal => "internal",
        }
    }
}

/// Characters of a message that is sent or logged.
const LONGEST_MESSAGE: usize = 500;

/// A refusal in words, with its code: what acks carry as `detail`, and the message of a `CONNECT_ERROR` as JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: Code,
    pub message: String,
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// With no more words than a person reads: those of a refusal may repeat what was sent, however long that is.
    #[must_use]
    pub fn shortened(self) -> Self {
        let Self { code, message } = self;
        match message.char_indices().nth(LONGEST_MESSAGE) {
            Some((end, _)) => Self { code, message: format!("{}…", &message[..end]) },
            None => Self { code, message },
        }
    }
}

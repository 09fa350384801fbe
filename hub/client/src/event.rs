//! What a client's consumer receives, in order, and the reasons given there.

use std::error::Error as StdError;
use std::time::Duration;

use tokio_tungstenite::tungstenite;

use crate::args::Args;
use crate::connection::{Connection, Responder};
use crate::policy::Refusal;

/// The next thing that happened.
#[derive(Debug)]
pub enum Incoming {
    /// The namespace is ours. Events that follow came on this connection, until [`Incoming::Disconnected`].
    Connected(Connection),
    Event(Event),
    /// The connection is lost; its pending acks have failed already. The client connects again by itself.
    Disconnected {
        epoch: u64,
        reason: Loss,
    },
    /// An attempt to connect failed; the next one begins after `retry_in`.
    ConnectFailed {
        error: ConnectError,
        retry_in: Duration,
    },
    /// No attempt can succeed. The last thing on the channel.
    Fatal(Fatal),
}

/// An event from the server.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    pub args: Args,
    /// There when the server wants an answer. Dropping it answers nothing, and the server runs into its time-out.
    pub responder: Option<Responder>,
}

/// Why a connection was lost.
#[derive(Debug, thiserror::Error)]
pub enum Loss {
    #[error("the server closed the connection")]
    Closed,
    #[error("the server asked this client to disconnect")]
    ServerDisconnect,
    #[error("nothing was heard from the server for {0:?}")]
    Silent(Duration),
    #[error("the server took nothing for {0:?}")]
    WriteStalled(Duration),
    #[error("the connection broke")]
    Transport(#[source] Box<tungstenite::Error>),
    #[error("the server sent what is not a packet: {0}")]
    Protocol(String),
}

/// Why an attempt to connect failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("failed to get a token to connect with")]
    Auth(#[source] Box<dyn StdError + Send + Sync>),
    #[error("failed to reach the server")]
    Dial(#[source] Box<tungstenite::Error>),
    #[error("the server did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("the server's answer is not Socket.IO: {0}")]
    Protocol(String),
    #[error("the server refused the connection: {0}")]
    Refused(#[source] Refusal),
    #[error("the server closed the connection during the handshake")]
    Closed,
}

/// Why the client has given up.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error("the server refused the connection: {0}")]
    Refused(#[source] Refusal),
    #[error("failed to get a token to connect with")]
    Auth(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the server asked this client to disconnect")]
    ServerDisconnect,
}

/// What the auth function is told.
#[derive(Clone, Debug, Default)]
pub struct AuthRequest {
    /// The refusal of the attempt before this one, such as code `token_expired`.
    pub refused: Option<Refusal>,
}

/// Why the auth function has no payload.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Of the moment: ask again after the back-off.
    #[error("failed to get a token this time")]
    Retry(#[source] Box<dyn StdError + Send + Sync>),
    /// For good: the client stops with [`Fatal::Auth`].
    #[error("failed to get a token")]
    Stop(#[source] Box<dyn StdError + Send + Sync>),
}

//! A thin Socket.IO client: protocol 5 over Engine.IO 4, by WebSocket alone, JSON alone.
//!
//! Used by the drone, the command line and the tests. It is our own because it must keep promises that the published
//! clients do not: events arrive in order through one bounded channel, acks in both directions belong to the
//! connection on which they were asked for, and a lost connection fails what waits for it at once.
//!
//! ```no_run
//! use std::time::Duration;
//! use client::{AuthError, Config, Incoming};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("http://127.0.0.1:8420")?;
//! // Asked at every connect, so a renewed token is always the newest.
//! let auth = |_| async { Ok::<_, AuthError>(serde_json::json!({ "token": "…" })) };
//! let (client, mut incoming) = client::connect(config, auth)?;
//! while let Some(next) = incoming.recv().await {
//!     match next {
//!         // What is sent through this handle goes out on this connection or not at all.
//!         Incoming::Connected(connection) => {
//!             let answer = connection.request("submitPrompt", &("hello",), Duration::from_secs(5)).await?;
//!             let (success, _detail): (bool, serde_json::Value) = answer.parse()?;
//!             assert!(success);
//!         }
//!         Incoming::Event(event) => {
//!             if let Some(responder) = event.responder {
//!                 responder.respond(&(true,)).await?;
//!             }
//!         }
//!         Incoming::Disconnected { .. } | Incoming::ConnectFailed { .. } => {} // comes back by itself
//!         Incoming::Fatal(why) => return Err(why.into()),
//!     }
//! }
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What holds
//!
//! * **Order.** Everything that happens, connection states included, arrives in [`Incoming`] order on one channel.
//! * **Back-pressure.** When that channel is full the socket is not read. A consumer that stays away for longer than
//!   the server's ping time-out loses the connection, as it should.
//! * **Bound to the connection.** A [`Connection`] and a [`Responder`] never speak on a later connection. Nothing
//!   that was queued for a lost connection is sent on the next one: replaying is for who knows what was stored.
//! * **At most once.** An event sent without an ack may be lost with its connection. Ask for an ack to know.
//! * **Nothing hangs.** Every ack has a time-out, and fails at once when the connection is lost.

mod acks;
mod args;
mod config;
mod connection;
mod dial;
mod event;
mod packet;
mod policy;
mod supervisor;
mod tls;
mod transport;

pub use args::Args;
pub use config::{Config, ConfigError, OnServerDisconnect};
pub use connection::{Connection, EmitError, PendingAck, Responder};
pub use event::{AuthError, AuthRequest, ConnectError, Event, Fatal, Incoming, Loss};
pub use packet::EncodeError;
pub use policy::Refusal;
pub use supervisor::{Client, connect};

//! A model that follows a script: the tests' model server, and the demo tour.
//!
//! It speaks the wire dialects of real endpoints, streams like them, and can misbehave in every way that they do: cut,
//! stall, drip, refuse, send garbage. It also checks what it is asked: whether each tool call has its result, whether
//! the prompt's prefix keeps its bytes, whether a secret slipped in. There is no model behind it and no network is
//! used.
//!
//! Two ways in: [`ScriptedModel::serve`] listens on a port, [`ScriptedModel::respond`] answers in process. The script
//! format is described at [`script::Script`], its file form at [`settings::Settings`].

mod body;
mod check;
mod dialect;
mod engine;
mod pace;
mod plan;
mod request;
pub mod script;
mod server;
pub mod settings;
pub mod tour;

pub use dialect::Dialect;
pub use engine::{Observed, ScriptedModel};
pub use pace::Pace;
pub use request::{Call, Message, Request, RequestError};
pub use server::{ServeError, Server};

//! The drone: one process per workspace that runs the agent loop: model, tools, files, git.
//!
//! It knows the hub, the model endpoint behind the hub, and its own disk; nothing of Kubernetes or of a database.

mod args;
mod command;
pub mod connection;
pub mod files;
pub mod init;
pub mod job;
pub mod journal;
pub mod metrics;
pub mod model;
pub mod outbox;
pub mod path;
pub mod project;
pub mod run;
pub mod session_token;
pub mod tool;
pub mod turn;
pub mod workspace;

pub use command::main;

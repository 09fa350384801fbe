//! The harness for tests of the whole on one machine: real processes of hub and drone, real clients, real git, and a
//! scripted model server.

pub mod api;
#[cfg(feature = "control-plane")]
pub mod control_plane;
pub mod deadline;
#[cfg(feature = "cluster")]
pub mod forward;
pub mod gadget;
pub mod ide;
pub mod knock;
pub mod lane;
pub mod log;
#[cfg(feature = "control-plane")]
pub mod policy;
pub mod processes;
pub mod random;
#[cfg(feature = "cluster")]
pub mod release;
pub mod repository;
pub mod screen;
pub mod stage;
pub mod transcript;

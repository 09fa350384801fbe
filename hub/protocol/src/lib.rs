//! What travels between IDE, hub and drone on the Socket.IO namespace `/`: names, values, documents, events.
//!
//! Types only: no client, no runtime. The contract is old and has clients that we cannot change, so event names,
//! argument order and ack shapes live here, in one place, and nowhere else. Golden files under `tests/golden` hold
//! one JSON text per message.

pub mod assemble;
pub mod document;
pub mod drone;
pub mod error;
pub mod event;
pub mod ide;
pub mod ids;
pub mod value;

//! The schemas and rules by themselves, without an API server.

mod cases;
mod hot_objects;
mod rules;
mod schema;

//! The charts: what `helm template` makes of them, what the real API server says to it, and a release's life.

mod arguments;
mod cluster;
mod common;
mod crds;
mod drones;
mod grants;
mod helm_test;
mod hub;
mod lint;
mod monitoring;
mod operator;
mod rbac;
mod reach;
mod release;
mod rendered;
mod schema;
mod server;
mod tiltfile;
mod user_policy;

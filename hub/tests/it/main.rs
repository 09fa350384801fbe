//! A real hub on a port of its own with a real store, drones that are played by the client crate with real tokens, and
//! IDEs.
#![cfg(test)]

mod access;
mod bad_input;
mod drones;
mod flow;
mod locks;
mod model_calls;
mod requests;
mod restart;
mod sessions;
mod store;
mod turns;
mod world;

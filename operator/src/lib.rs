//! The operator: turns sessions, drones and classes into pods and claims.
//!
//! Three doors: [`app::build`] makes the parts from a [`config::Config`], [`app::App::run`] works until told to stop,
//! [`server::router`] shows health and metrics. It talks to the API server alone: never to the hub, never to a drone.

pub mod api;
pub mod app;
pub mod chat_session;
pub mod class;
pub mod clock;
pub mod config;
pub mod drone;
pub mod events;
pub mod index;
pub mod leader;
pub mod ledger;
pub mod merge;
pub mod metrics;
pub mod parts;
pub mod queue;
pub mod server;
#[cfg(test)]
mod sim;
pub mod watches;

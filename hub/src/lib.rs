//! The hub: the one door for IDEs and drones. Routes between them, keeps every turn, never loses one.
//!
//! Three doors: [`app::build`] makes the parts from a [`config::HubConfig`], [`router::router`] puts them behind
//! HTTP, [`serve::run`] serves until told to stop.

pub mod app;
pub mod auth;
#[cfg(feature = "kube")]
pub mod cluster;
pub mod config;
pub mod fleet;
pub mod git_credential;
pub mod http;
pub mod metrics;
pub mod model_proxy;
pub mod provider;
pub mod router;
pub mod serve;
pub mod session;
pub mod socket;
pub mod store;

//! The resources, as people and programs meet them: what the real API server takes, refuses, fills in and explains.

#[path = "../../crds/tests/it/cases.rs"]
mod cases;
mod kubectl;
mod refusals;

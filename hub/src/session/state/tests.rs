//! The state against a small world of tabs, a drone and a store, each of which can fail at any moment.

mod random;
mod recovery;
mod rules;
mod world;

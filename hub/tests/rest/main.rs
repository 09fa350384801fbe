//! REST as a client meets it: a whole hub without a network, asked through its router.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a broken fixture should end the test")]

mod accounts;
mod documents;
mod edges;
mod fixture;
mod providers;

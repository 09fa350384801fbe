//! The program for real: `gadget` as a process of its own, its hub on a free port, its drones as children of it.
#![cfg(test)]

mod bench;
mod commands;
mod crash;
mod local;
mod prompt;
mod start;

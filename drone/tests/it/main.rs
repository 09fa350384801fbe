//! A real drone process against a hub that is played in the test, a scripted model and a real workspace.
#![cfg(test)]

mod disk;
mod hub;
mod kills;
mod locks;
mod process;
mod reconnect;
mod tour;
mod turns;
mod world;

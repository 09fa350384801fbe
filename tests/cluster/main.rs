//! The product as it is installed: the chart, the images, real pods on a real node. `cargo xtask test cluster` makes the
//! cluster, or takes the one that it is given.
#![cfg(test)]

mod chaos;
mod helm_test;
mod load;
mod node;
mod person;
mod plugin;
mod servers;
mod sessions;
mod stage;
mod terminal;
mod walls;
mod why;
mod work;

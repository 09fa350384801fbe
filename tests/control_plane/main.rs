//! The whole on a real control plane: API server, etcd, controllers and scheduler. Nodes are played by the harness.

mod harness;
mod nodes;
mod pods;
mod proxy;

//! The whole on a real control plane: API server, etcd, controllers and scheduler. Nodes are played by the harness.

mod crds;
mod harness;
mod hub_hands;
mod hub_pods;
mod hub_rights;
mod hub_sessions;
mod hub_stage;
mod hub_tokens;
mod kubectl_gadget;
mod nodes;
mod operator_failures;
mod operator_faults;
mod operator_launch;
mod operator_leader;
mod operator_losses;
mod operator_names;
mod operator_rights;
mod operator_scale;
mod operator_stage;
mod operator_words;
mod pods;
mod proxy;

//! What the network policies of a namespace mean, as packet rules for the node.
//!
//! The cluster that `cargo xtask cluster` makes has no network plugin that enforces policies. Its pods are routed by the
//! node, so that every packet of a pod goes through the node's own hooks, and rules there see what a plugin's would see.
//! A name of a pod's port, and IPv6, which the pods do not have, are not translated.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;
use tests::policy::{Way, is_about, is_chosen};

pub(super) const TABLE: &str = "inet gadget_policies";

/// All that policies speak of.
pub(super) struct World {
    pub(super) policies: Vec<NetworkPolicy>,
    pub(super) pods: Vec<Pod>,
    pub(super) namespaces: Vec<Namespace>,
}

impl World {
    /// A script for nft that replaces the rules that are there.
    pub(super) fn script(&self) -> Result<String> {
        let mut chains = String::new();
        let mut jumps = String::from("    ct state established,related accept\n");
        for pod in &self.pods {
            // The node's own pods have no link of their own.
            let is_of_the_node = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or_default();
            let Some(address) = address(pod).filter(|_| !is_of_the_node) else { continue };
            let namespace = pod.namespace().context("a pod has a namespace")?;
            for (way, name, own) in [(Way::Egress, "out_of", "saddr"), (Way::Ingress, "into", "daddr")] {
                let of_this = |policy: &&NetworkPolicy| is_about(policy, way, &namespace, pod.labels());
                let policies: Vec<_> = self.policies.iter().filter(of_this).collect();
                // A pod that no policy is about is open.
                if policies.is_empty() {
                    continue;
                }
                let chain = format!("{name}_{}", address.replace('.', "_"));
                writeln!(jumps, "    ip {own} {address} jump {chain}")?;
                writeln!(chains, "  chain {chain} {{")?;
                for policy in policies {
                    for rule in self.rules(policy, way)? {
                        writeln!(chains, "    {rule} return")?;
                    }
                }
                writeln!(chains, "    counter drop\n  }}")?;
            }
        }
        let hooks = ["forward", "input"].map(|hook| {
            format!(
                "  chain {hook} {{\n    type filter hook {hook} priority 0; policy accept;\n    jump pods\n  }}\n"
            )
        });
        Ok(format!(
            "table {TABLE} {{}}\ndelete table {TABLE}\ntable {TABLE} {{\n{chains}  chain pods {{\n{jumps}  }}\n{}}}\n",
            hooks.concat()
        ))
    }

    /// What a policy lets through, each a match of nft.
    fn rules(&self, policy: &NetworkPolicy, way: Way) -> Result<Vec<String>> {
        let namespace = policy.namespace().unwrap_or_default();
        let NetworkPolicySpec { ingress, egress, .. } = policy.spec.clone().context("a policy has a spec")?;
        let rules: Vec<_> = match way {
            Way::Ingress => ingress.into_iter().flatten().map(|rule| (rule.from, rule.ports)).collect(),
            Way::Egress => egress.into_iter().flatten().map(|rule| (rule.to, rule.ports)).collect(),
        };
        let other = match way {
            Way::Ingress => "ip saddr",
            Way::Egress => "ip daddr",
        };
        let mut matches = Vec::new();
        for (peers, ports) in rules {
            let peers = peers.unwrap_or_default();
            let mut froms = Vec::new();
            for peer in &peers {
                froms.extend(self.addresses(other, peer, &namespace)?);
            }
            // No peers are all peers, no ports all ports.
            if peers.is_empty() {
                froms.push(String::new());
            }
            let ports = match ports.unwrap_or_default() {
                ports if ports.is_empty() => vec![String::new()],
                ports => ports.iter().map(port).collect::<Result<_>>()?,
            };
            matches
                .extend(froms.iter().flat_map(|from| ports.iter().map(move |port| format!("{from} {port}"))));
        }
        Ok(matches)
    }

    /// A match of the peer's addresses, when it has any.
    fn addresses(&self, other: &str, peer: &NetworkPolicyPeer, own: &str) -> Result<Option<String>> {
        if let Some(block) = &peer.ip_block {
            if block.cidr.contains(':') {
                return Ok(None);
            }
            let except = block.except.clone().unwrap_or_default().join(", ");
            let but = if except.is_empty() { String::new() } else { format!(" {other} != {{ {except} }}") };
            return Ok(Some(format!("{other} {}{but}", block.cidr)));
        }
        let mut addresses = Vec::new();
        for pod in &self.pods {
            let of = pod.namespace().context("a pod has a namespace")?;
            let is_there = match &peer.namespace_selector {
                None => of == own,
                Some(selector) => self
                    .namespaces
                    .iter()
                    .any(|namespace| namespace.name_any() == of && is_chosen(selector, namespace.labels())),
            };
            let is_meant =
                peer.pod_selector.as_ref().is_none_or(|selector| is_chosen(selector, pod.labels()));
            addresses.extend(address(pod).filter(|_| is_there && is_meant));
        }
        Ok((!addresses.is_empty()).then(|| format!("{other} {{ {} }}", addresses.join(", "))))
    }
}

fn address(pod: &Pod) -> Option<String> {
    pod.status.as_ref()?.pod_ip.clone()
}

fn port(port: &NetworkPolicyPort) -> Result<String> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
    Ok(match (&port.port, port.end_port) {
        (None, _) => format!("meta l4proto {protocol}"),
        (Some(IntOrString::Int(first)), None) => format!("{protocol} dport {first}"),
        (Some(IntOrString::Int(first)), Some(last)) => format!("{protocol} dport {first}-{last}"),
        (Some(IntOrString::String(name)), _) => bail!("the port {name:?} is a name"),
    })
}

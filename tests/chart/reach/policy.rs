//! What a `NetworkPolicy` means: <https://kubernetes.io/docs/concepts/services-networking/network-policies/>.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use tests::policy::{Way, is_about, is_chosen};

use super::address;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) address: IpAddr,
    pub(super) port: i32,
    pub(super) protocol: Protocol,
}

#[derive(Debug)]
pub(super) struct Pod {
    name: String,
    namespace: String,
    address: IpAddr,
    labels: BTreeMap<String, String>,
}

impl Pod {
    pub(super) fn new(name: &str, namespace: &str, address: &str, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let address = address::of(address);
        Self { name: name.to_owned(), namespace: namespace.to_owned(), address, labels }
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) policies: Vec<NetworkPolicy>,
    pub(super) pods: Vec<Pod>,
}

/// The other end of a connection.
struct End<'a> {
    address: IpAddr,
    pod: Option<&'a Pod>,
}

impl World {
    /// Whether a pod can open a connection: its own policies let it out and those of the pod there, if it is one, in.
    pub(super) fn allows(&self, from: &str, to: Place) -> bool {
        let Some(source) = self.pods.iter().find(|pod| pod.name == from) else { return false };
        let target = self.pods.iter().find(|pod| pod.address == to.address);
        let out = self.passes(Way::Egress, source, &End { address: to.address, pod: target }, to);
        let comes = End { address: source.address, pod: Some(source) };
        out && target.is_none_or(|target| self.passes(Way::Ingress, target, &comes, to))
    }

    fn passes(&self, way: Way, pod: &Pod, other: &End<'_>, to: Place) -> bool {
        let mut policies = self
            .policies
            .iter()
            .filter(|policy| is_about(policy, way, &pod.namespace, &pod.labels))
            .peekable();
        // A pod that no policy selects is open.
        policies.peek().is_none() || policies.any(|policy| lets_through(policy, way, other, to))
    }
}

fn lets_through(policy: &NetworkPolicy, way: Way, other: &End<'_>, to: Place) -> bool {
    let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
    let Some(spec) = &policy.spec else { return false };
    let fits = |peers: Option<&Vec<NetworkPolicyPeer>>, ports: Option<&Vec<NetworkPolicyPort>>| {
        // No peers are all peers, no ports all ports.
        let peers = peers
            .is_none_or(|peers| peers.is_empty() || peers.iter().any(|peer| is_peer(peer, namespace, other)));
        peers && ports.is_none_or(|ports| ports.is_empty() || ports.iter().any(|port| is_port(port, to)))
    };
    match way {
        Way::Ingress => {
            spec.ingress.iter().flatten().any(|rule| fits(rule.from.as_ref(), rule.ports.as_ref()))
        }
        Way::Egress => spec.egress.iter().flatten().any(|rule| fits(rule.to.as_ref(), rule.ports.as_ref())),
    }
}

/// A block of addresses is taken to hold pods' addresses as well: network plugins differ, the worse must do.
fn is_peer(peer: &NetworkPolicyPeer, own_namespace: &str, other: &End<'_>) -> bool {
    if let Some(block) = &peer.ip_block {
        let mut except = block.except.iter().flatten();
        return address::contains(&block.cidr, other.address)
            && !except.any(|block| address::contains(block, other.address));
    }
    let Some(pod) = other.pod else { return false };
    let namespace = match &peer.namespace_selector {
        None => pod.namespace == own_namespace,
        Some(selector) => {
            let labels = [("kubernetes.io/metadata.name".to_owned(), pod.namespace.clone())].into();
            is_chosen(selector, &labels)
        }
    };
    namespace && peer.pod_selector.as_ref().is_none_or(|selector| is_chosen(selector, &pod.labels))
}

fn is_port(port: &NetworkPolicyPort, to: Place) -> bool {
    let protocol = match port.protocol.as_deref() {
        None | Some("TCP") => Protocol::Tcp,
        Some("UDP") => Protocol::Udp,
        Some(_) => return false,
    };
    let number = match (&port.port, port.end_port) {
        (None, _) => true,
        (Some(IntOrString::Int(first)), last) => (*first..=last.unwrap_or(*first)).contains(&to.port),
        // The chart names none: not every network plugin knows a pod's names of ports.
        (Some(IntOrString::String(_)), _) => false,
    };
    protocol == to.protocol && number
}

//! The programs of the cluster: how each is called, and whose port must be open before it starts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::cluster::place::Place;
use crate::cluster::settings::{API_PORT, NODE, SERVICES};

const ETCD: (u16, u16) = (2379, 2380);

pub(super) struct Component {
    pub name: &'static str,
    pub program: String,
    pub arguments: Vec<String>,
    pub after: Option<SocketAddr>,
}

/// In the order in which they start.
pub(super) fn all(place: &Place, programs: &Path) -> Vec<Component> {
    let loopback = |port| Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    let ours = |name: &'static str, after, arguments: Vec<String>| Component {
        name,
        program: programs.join(name).to_string_lossy().into_owned(),
        arguments,
        after,
    };
    let (etcd, api) = (loopback(ETCD.0), loopback(API_PORT));
    vec![
        Component {
            name: "containerd",
            program: "containerd".to_owned(),
            arguments: vec![
                format!("--config={}", place.text("containerd.toml")),
                "--log-level=warn".to_owned(),
            ],
            after: None,
        },
        ours("etcd", None, store(place)),
        ours("kube-apiserver", etcd, api_server(place)),
        ours("kube-controller-manager", api, controllers(place)),
        ours("kube-scheduler", api, scheduler(place)),
        ours("kubelet", api, kubelet(place)),
        ours("kube-proxy", api, vec![format!("--config={}", place.text("proxy.yaml"))]),
        ours("coredns", api, vec!["-conf".to_owned(), place.text("Corefile")]),
        ours("local-provisioner", api, volumes(place)),
    ]
}

fn store(place: &Place) -> Vec<String> {
    let (clients, peers) = ETCD;
    let (clients, peers) = (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
    flags([
        ("name", "node".to_owned()),
        ("log-level", "warn".to_owned()),
        ("data-dir", place.text("etcd")),
        ("listen-client-urls", clients.clone()),
        ("advertise-client-urls", clients),
        ("listen-peer-urls", peers.clone()),
        ("initial-advertise-peer-urls", peers.clone()),
        ("initial-cluster", format!("node={peers}")),
    ])
}

fn api_server(place: &Place) -> Vec<String> {
    let issuer = "https://kubernetes.default.svc.cluster.local".to_owned();
    flags([
        ("etcd-servers", format!("http://127.0.0.1:{}", ETCD.0)),
        ("advertise-address", place.node_address()),
        ("bind-address", "0.0.0.0".to_owned()),
        ("secure-port", API_PORT.to_string()),
        ("client-ca-file", place.text("pki/ca.crt")),
        ("tls-cert-file", place.text("pki/apiserver.crt")),
        ("tls-private-key-file", place.text("pki/apiserver.key")),
        ("kubelet-client-certificate", place.text("pki/apiserver-to-kubelet.crt")),
        ("kubelet-client-key", place.text("pki/apiserver-to-kubelet.key")),
        ("kubelet-certificate-authority", place.text("pki/ca.crt")),
        ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        ("service-account-issuer", issuer),
        ("service-account-key-file", place.text("pki/service-accounts.crt")),
        ("service-account-signing-key-file", place.text("pki/service-accounts.key")),
        ("service-cluster-ip-range", SERVICES.to_owned()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("allow-privileged", "true".to_owned()),
        ("audit-policy-file", place.text("audit.yaml")),
        ("audit-log-path", place.text("log/audit.log")),
        ("audit-log-maxsize", "50".to_owned()),
        ("audit-log-maxbackup", "1".to_owned()),
    ])
}

fn controllers(place: &Place) -> Vec<String> {
    flags([
        ("kubeconfig", place.text("controllers.kubeconfig")),
        ("leader-elect", "false".to_owned()),
        ("bind-address", "127.0.0.1".to_owned()),
        ("use-service-account-credentials", "true".to_owned()),
        ("service-account-private-key-file", place.text("pki/service-accounts.key")),
        ("root-ca-file", place.text("pki/ca.crt")),
        ("cluster-signing-cert-file", place.text("pki/ca.crt")),
        ("cluster-signing-key-file", place.text("pki/ca.key")),
        ("flex-volume-plugin-dir", place.text("volume-plugins")),
    ])
}

fn scheduler(place: &Place) -> Vec<String> {
    flags([
        ("kubeconfig", place.text("scheduler.kubeconfig")),
        ("leader-elect", "false".to_owned()),
        ("bind-address", "127.0.0.1".to_owned()),
    ])
}

fn kubelet(place: &Place) -> Vec<String> {
    flags([
        ("config", place.text("kubelet.yaml")),
        ("kubeconfig", place.text("kubelet.kubeconfig")),
        ("hostname-override", NODE.to_owned()),
        ("node-ip", place.node_address()),
    ])
}

fn volumes(place: &Place) -> Vec<String> {
    flags([
        ("kubeconfig", place.text("volumes.kubeconfig")),
        ("root", place.text("volumes")),
        ("node", NODE.to_owned()),
    ])
}

fn flags<const N: usize>(flags: [(&str, String); N]) -> Vec<String> {
    flags.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

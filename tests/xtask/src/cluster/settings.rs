//! The files of settings that the cluster's programs read.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

use crate::cluster::place::Place;

pub(super) const NODE: &str = "node";
pub(super) const API_PORT: u16 = 6443;
pub(super) const API_ADDRESS: &str = "10.96.0.1";
pub(super) const DNS_ADDRESS: &str = "10.96.0.10";
pub(super) const SERVICES: &str = "10.96.0.0/16";
pub(super) const PODS: &str = "10.244.0.0/24";
pub(super) const PAUSE: &str = "localhost/gadget-pause:1";

pub(super) fn write(place: &Place, network_plugins: &Path) -> Result<()> {
    for directory in ["cni", "log", "pod-logs", "volumes", "volume-plugins"] {
        let path = place.path(directory);
        std::fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
    }
    let write = |name: &str, text: &str| {
        std::fs::write(place.path(name), text).with_context(|| format!("failed to write {name}"))
    };
    // JSON is YAML.
    write("audit.yaml", &audit().to_string())?;
    write("kubelet.yaml", &kubelet(place)?.to_string())?;
    write("proxy.yaml", &proxy(place).to_string())?;
    write("cni/10-pods.conflist", &pods(place).to_string())?;
    write("containerd.toml", &containerd(place, network_plugins))?;
    write("Corefile", &names(place))?;
    // Of the machine's own name servers none can be reached.
    write("resolv.conf", "")
}

fn audit() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{ "level": "Metadata" }],
    })
}

fn kubelet(place: &Place) -> Result<Value> {
    // More than the hard limit cannot be had without CAP_SYS_RESOURCE.
    let (_soft, files) =
        getrlimit(Resource::RLIMIT_NOFILE).context("failed to read the limit of open files")?;
    Ok(json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": place.path("pki/ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": place.path("pki/kubelet-server.crt"),
        "tlsPrivateKeyFile": place.path("pki/kubelet-server.key"),
        "containerRuntimeEndpoint": format!("unix://{}", place.socket().display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", place.id()),
        "failSwapOn": false,
        "failCgroupV1": false,
        "makeIPTablesUtilChains": false,
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_ADDRESS],
        "resolvConf": place.path("resolv.conf"),
        "podLogsDir": place.path("pod-logs"),
        "volumePluginDir": place.path("volume-plugins"),
        // The images cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "maxOpenFiles": files.min(1_000_000),
        "evictionHard": {
            "memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%",
        },
        "nodeStatusUpdateFrequency": "5s",
    }))
}

fn proxy(place: &Place) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": { "kubeconfig": place.path("proxy.kubeconfig") },
        "clusterCIDR": PODS,
        "hostnameOverride": NODE,
        // The machine's own bounds stay as they are.
        "conntrack": { "maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    })
}

/// Each pod has a link of its own to the node, which routes: no bridge, so no kernel module for one.
fn pods(place: &Place) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "dataDir": place.path("addresses"),
                "ranges": [[{ "subnet": PODS }]],
                "routes": [{ "dst": "0.0.0.0/0" }],
            },
        }],
    })
}

fn containerd(place: &Place, network_plugins: &Path) -> String {
    let mut text = String::from("version = 2\n");
    let left_out =
        ["snapshotter.v1.aufs", "snapshotter.v1.btrfs", "snapshotter.v1.devmapper", "snapshotter.v1.zfs"]
            .map(|plugin| format!("io.containerd.{plugin}"));
    let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
    let runc = format!("{cri}.containerd.runtimes.runc");
    let _infallible = write!(
        text,
        "root = {root:?}
state = {state:?}
disabled_plugins = {left_out:?}
[grpc]
address = {socket:?}
[ttrpc]
address = {ttrpc:?}
[plugins.\"io.containerd.internal.v1.opt\"]
path = {opt:?}
[{cri}]
sandbox_image = {PAUSE:?}
enable_selinux = false
disable_apparmor = true
# Without CAP_SYS_RESOURCE it cannot be lowered.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
stream_server_address = \"127.0.0.1\"
[{cri}.cni]
bin_dir = {bin:?}
conf_dir = {cni:?}
[{cri}.containerd]
snapshotter = \"overlayfs\"
default_runtime_name = \"runc\"
[{runc}]
runtime_type = \"io.containerd.runc.v2\"
[{runc}.options]
SystemdCgroup = false
",
        root = place.text("containerd"),
        state = place.text("containerd-state"),
        socket = place.text("containerd.sock"),
        ttrpc = place.text("containerd.sock.ttrpc"),
        opt = place.text("containerd-opt"),
        bin = network_plugins.to_string_lossy(),
        cni = place.text("cni"),
    );
    text
}

/// Other names than the cluster's own have no answer: there is no way out of it.
fn names(place: &Place) -> String {
    format!(
        ".:53 {{
  bind {}
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {}
    pods insecure
    ttl 5
  }}
  cache 5
}}
",
        place.node_address(),
        place.text("names.kubeconfig")
    )
}

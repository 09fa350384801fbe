//! What every cluster has beside its programs: a name for DNS, a class of volumes, and leave for both to work.

use serde_json::{Value, json};

use crate::cluster::place::Place;
use crate::cluster::settings::DNS_ADDRESS;

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn list(place: &Place) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        storage_class(),
        binding("local-provisioner", "system:persistent-volume-provisioner"),
        names_role(),
        binding("system:coredns", "system:coredns"),
        names_service(),
        names_endpoint(place),
    ]})
}

fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": "standard",
            "annotations": { "storageclass.kubernetes.io/is-default-class": "true" },
        },
        "provisioner": "gadget.test/directory",
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    })
}

fn binding(user: &str, role: &str) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "ClusterRoleBinding",
        "metadata": { "name": user },
        "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": role },
        "subjects": [{ "apiGroup": RBAC, "kind": "User", "name": user }],
    })
}

fn names_role() -> Value {
    let verbs = ["list", "watch"];
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "ClusterRole",
        "metadata": { "name": "system:coredns" },
        "rules": [
            { "apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": verbs },
            { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": verbs },
        ],
    })
}

/// Without selector: the name server is a process of the node, no pod.
fn names_service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "kube-dns", "namespace": "kube-system", "labels": { "k8s-app": "kube-dns" } },
        "spec": {
            "clusterIP": DNS_ADDRESS,
            "ports": [
                { "name": "dns", "port": 53, "protocol": "UDP" },
                { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
            ],
        },
    })
}

fn names_endpoint(place: &Place) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-node",
            "namespace": "kube-system",
            "labels": { "kubernetes.io/service-name": "kube-dns" },
        },
        "addressType": "IPv4",
        "ports": [
            { "name": "dns", "port": 53, "protocol": "UDP" },
            { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
        ],
        "endpoints": [{ "addresses": [place.node_address()], "conditions": { "ready": true } }],
    })
}

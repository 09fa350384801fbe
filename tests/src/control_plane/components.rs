//! How each program of the control plane is called.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::control_plane::certificates::{Certificates, Pair};
use crate::control_plane::programs::Programs;
use crate::control_plane::{Controllers, Disk, Options};
use crate::random::Random;

/// Below the ports that the system gives out, so that nobody else's connection takes one while its server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Of [`Controllers::Janitors`].
const JANITORS: &str = "serviceaccount-controller,namespace-controller,garbage-collector-controller,\
                        persistentvolumeclaim-protection-controller";

/// On unix sockets: nobody else can reach it, and it needs no port.
pub(super) fn etcd(programs: &Programs, directory: &Path, disk: Disk) -> Command {
    let socket = |name: &str| format!("unix://{}", directory.join(name).display());
    let mut command = programs.command("etcd");
    command.args(["--name", "test", "--log-level", "warn", "--data-dir"]).arg(directory.join("etcd"));
    command.args(["--listen-client-urls", &socket("etcd.sock"), "--listen-peer-urls", &socket("peer.sock")]);
    // Advertised to nobody: it is alone.
    command.args(["--advertise-client-urls", "http://localhost:2379"]);
    command.args(["--initial-advertise-peer-urls", "http://localhost:2380"]);
    command.args(["--initial-cluster", "test=http://localhost:2380"]);
    // It elects itself, after this time.
    command.args(["--heartbeat-interval", "20", "--election-timeout", "100"]);
    match disk {
        Disk::Fast => command.arg("--unsafe-no-fsync"),
        Disk::Durable => &mut command,
    };
    command
}

pub(super) struct ApiServerFiles<'a> {
    pub certificates: &'a Certificates,
    pub server: &'a Pair,
    pub service_accounts: &'a Pair,
}

pub(super) fn api_server(
    programs: &Programs,
    directory: &Path,
    files: &ApiServerFiles<'_>,
    port: u16,
    options: &Options,
) -> Result<Command> {
    let ApiServerFiles { certificates, server, service_accounts } = files;
    let policy = directory.join("audit-policy.yaml");
    let rules = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{ "level": "None", "nonResourceURLs": ["*"] }, { "level": "Metadata" }],
    });
    std::fs::write(&policy, rules.to_string()).context("failed to write the audit policy")?;
    let toleration = options.eviction_after.as_secs();
    let path = |path: &Path| path.display().to_string();
    let flags = [
        ("etcd-servers", format!("unix://{}", directory.join("etcd.sock").display())),
        ("bind-address", "127.0.0.1".to_owned()),
        ("secure-port", port.to_string()),
        ("tls-cert-file", path(&server.certificate)),
        ("tls-private-key-file", path(&server.key)),
        ("client-ca-file", path(&certificates.authority())),
        ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
        ("service-account-key-file", path(&service_accounts.certificate)),
        ("service-account-signing-key-file", path(&service_accounts.key)),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
        ("endpoint-reconciler-type", "none".to_owned()),
        ("default-not-ready-toleration-seconds", toleration.to_string()),
        ("default-unreachable-toleration-seconds", toleration.to_string()),
        ("audit-policy-file", path(&policy)),
        ("audit-log-path", path(&directory.join("audit.log"))),
        ("audit-log-maxsize", "4096".to_owned()),
        ("profiling", "false".to_owned()),
    ];
    let mut command = programs.command("kube-apiserver");
    command.args(flags.map(|(name, value)| format!("--{name}={value}")));
    Ok(command)
}

pub(super) fn controller_manager(
    programs: &Programs,
    kubeconfig: &Path,
    certificates: &Certificates,
    service_accounts: &Pair,
    options: &Options,
) -> Command {
    let path = |path: &Path| path.display().to_string();
    let flags = [
        ("kubeconfig", path(kubeconfig)),
        ("secure-port", "0".to_owned()),
        ("leader-elect", "false".to_owned()),
        ("use-service-account-credentials", "true".to_owned()),
        ("service-account-private-key-file", path(&service_accounts.key)),
        ("root-ca-file", path(&certificates.authority())),
        ("node-monitor-period", "500ms".to_owned()),
        ("node-monitor-grace-period", format!("{}s", options.node_grace.as_secs())),
        ("node-startup-grace-period", format!("{}s", options.node_grace.as_secs())),
        ("node-eviction-rate", "10".to_owned()),
        ("kube-api-qps", "500".to_owned()),
        ("kube-api-burst", "1000".to_owned()),
        // What is looked at now and then besides being watched.
        ("pvclaimbinder-sync-period", "2s".to_owned()),
    ];
    let mut command = programs.command("kube-controller-manager");
    command.args(flags.map(|(name, value)| format!("--{name}={value}")));
    match options.controllers {
        Controllers::All => {}
        Controllers::Janitors => drop(command.arg(format!("--controllers={JANITORS}"))),
    }
    command
}

pub(super) fn scheduler(programs: &Programs, directory: &Path, kubeconfig: &Path) -> Result<Command> {
    let file = directory.join("scheduler.yaml");
    let config = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": { "kubeconfig": kubeconfig, "qps": 500, "burst": 1000 },
        "leaderElection": { "leaderElect": false },
        "podInitialBackoffSeconds": 1,
        "podMaxBackoffSeconds": 2,
    });
    std::fs::write(&file, config.to_string()).context("failed to write the scheduler's configuration")?;
    let mut command = programs.command("kube-scheduler");
    command.args(["--secure-port=0", "--config"]).arg(file);
    Ok(command)
}

/// One that is free now.
pub(super) fn free_port() -> Result<u16> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut random =
        Random::new(u64::from(clock.subsec_nanos()) ^ u64::from(std::process::id()).rotate_left(32));
    for _ in 0..200 {
        let offset = random.below(u64::from(PORTS.end - PORTS.start));
        let port = PORTS.start + u16::try_from(offset)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("found no free port in {PORTS:?}")
}

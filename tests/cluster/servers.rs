//! What a company has in its cluster beside Gadget: a git server with a project, and a model, which follows a script. Pods
//! of the drone's image, which has git and a shell.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use scripted_model::settings::Settings;
use scripted_model::tour::write_toy_repository;
use serde_json::{Value, json};

use tests::release::{Only, fed, kubectl, only, program, restricted_namespace};

const NAMESPACE: &str = "gadget-test-servers";
/// The calculator of the demo tour, with one test that fails.
pub(crate) const GIT_URL: &str = "git://git.gadget-test-servers.svc/calc.git";
pub(crate) const GIT_HOST: &str = "git.gadget-test-servers.svc";
pub(crate) const GIT_PORT: u16 = 9418;
pub(crate) const MODEL_HOST: &str = "model.gadget-test-servers.svc";
const MODEL_URL: &str = "http://model.gadget-test-servers.svc:8080/v1";
pub(crate) const MODEL_PORT: u16 = 8080;

pub(crate) struct Servers {
    values: Vec<String>,
}

impl Servers {
    /// Started in a cluster where no other test has a release; then the release may be installed.
    pub(crate) async fn start(settings: &Settings) -> Result<(Only, Self)> {
        let only = only().await;
        // What a run that was interrupted has left.
        sweep().await?;
        restricted_namespace(NAMESPACE).await?;
        let git = format!(
            "exec git daemon --base-path=/srv --export-all --enable=receive-pack --port={GIT_PORT} /srv"
        );
        let model = format!(
            "until [ -e /srv/model ]; do sleep 0.1; done; \
             exec /srv/model --listen 0.0.0.0:{MODEL_PORT} --script /srv/script.json"
        );
        let mut items = server("git", GIT_PORT, &git)?;
        items.extend(server("model", MODEL_PORT, &model)?);
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        fed(program("kubectl")?.args(["apply", "--filename", "-"]), list.to_string().as_bytes()).await?;
        wait("jsonpath={.status.phase}=Running").await?;
        let servers = Self { values: values() };
        let clone = "cat >/srv/calc.bundle && git clone --quiet --bare /srv/calc.bundle /srv/calc.git";
        servers.feed("git", &bundle().await?, clone).await?;
        servers.feed("model", &serde_json::to_vec(settings)?, "cat >/srv/script.json").await?;
        let name = scripted_model()?;
        let bytes = std::fs::read(&name).with_context(|| format!("failed to read {}", name.display()))?;
        // The pod looks for the name that it gets in the end.
        let take = "cat >/srv/model.part && chmod +x /srv/model.part && mv /srv/model.part /srv/model";
        servers.feed("model", &bytes, take).await?;
        wait("condition=Ready").await?;
        Ok((only, servers))
    }

    /// What has to be said to the chart about them, as helm's arguments.
    pub(crate) fn values(&self) -> Vec<&str> {
        self.values.iter().map(String::as_str).collect()
    }

    /// What git says of the repository in the server.
    pub(crate) async fn git(&self, arguments: &[&str]) -> Result<String> {
        let command = ["--namespace", NAMESPACE, "exec", "git", "--", "git", "-C", "/srv/calc.git"];
        kubectl(&[&command, arguments].concat()).await
    }

    /// The model was asked as it should be: each call with one result, nothing rewritten.
    pub(crate) async fn well_asked(&self) -> Result<()> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/services/model:{MODEL_PORT}/proxy/report");
        let report: Value = serde_json::from_str(&kubectl(&["get", "--raw", &path]).await?)?;
        ensure!(report["requests"].as_u64() > Some(0), "nobody has asked the model: {report}");
        ensure!(report["violations"] == json!([]), "the model was asked in a wrong way: {report}");
        Ok(())
    }

    pub(crate) async fn remove(self) -> Result<()> {
        kubectl(&["--namespace", NAMESPACE, "delete", "pods", "--all"]).await?;
        sweep().await
    }

    async fn feed(&self, pod: &str, bytes: &[u8], command: &str) -> Result<()> {
        let exec = ["--namespace", NAMESPACE, "exec", "--stdin", pod, "--", "sh", "-c", command];
        fed(program("kubectl")?.args(exec), bytes).await.map(drop)
    }
}

fn values() -> Vec<String> {
    let git = json!([{
        "to": [{
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": NAMESPACE } },
            "podSelector": { "matchLabels": { "app": "git" } },
        }],
        "ports": [{ "protocol": "TCP", "port": GIT_PORT }],
    }]);
    vec![
        "--set".to_owned(),
        format!("providers.openai.url={MODEL_URL}"),
        "--set-json".to_owned(),
        format!("networkPolicy.drones.egress={git}"),
    ]
}

async fn sweep() -> Result<()> {
    kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found"]).await.map(drop)
}

async fn wait(until: &str) -> Result<()> {
    let until = format!("--for={until}");
    let waited = kubectl(&["--namespace", NAMESPACE, "wait", &until, "pods", "--all", "--timeout=1m"]).await;
    if let Err(error) = waited {
        let pods = kubectl(&["--namespace", NAMESPACE, "describe", "pods"]).await;
        return Err(error.context(pods.unwrap_or_else(|error| error.to_string())));
    }
    Ok(())
}

/// A pod and its service.
fn server(name: &str, port: u16, command: &str) -> Result<Vec<Value>> {
    let labels = json!({ "app": name });
    let metadata = json!({ "name": name, "namespace": NAMESPACE, "labels": labels });
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": name,
                "image": image()?,
                "command": ["sh", "-c", command],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                "readinessProbe": { "tcpSocket": { "port": port }, "periodSeconds": 1 },
                "volumeMounts": [{ "name": "srv", "mountPath": "/srv" }],
            }],
            "volumes": [{ "name": "srv", "emptyDir": {} }],
            // A test may taint the node.
            "tolerations": [{ "operator": "Exists" }],
        },
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": { "selector": labels, "ports": [{ "port": port }] },
    });
    Ok(vec![pod, service])
}

/// The drone's, as the chart names it.
fn image() -> Result<String> {
    let chart = include_str!("../../charts/gadget/Chart.yaml");
    let version = chart.lines().find_map(|line| line.strip_prefix("appVersion:"));
    let version = version.context("the chart has no appVersion")?.trim().trim_matches('"');
    let registry = std::env::var("GADGET_IMAGE_REGISTRY").unwrap_or_default();
    let registry = registry.trim_end_matches('/');
    let slash = if registry.is_empty() { "" } else { "/" };
    Ok(format!("{registry}{slash}gadget-drone:{version}"))
}

async fn bundle() -> Result<Vec<u8>> {
    let directory = tempfile::tempdir()?;
    let (repository, bundle) = (directory.path().join("calc.git"), directory.path().join("calc.bundle"));
    write_toy_repository(&repository)?;
    let name = bundle.to_string_lossy();
    tests::repository::git(&repository, &["bundle", "create", "--quiet", &name, "--all"]).await?;
    std::fs::read(&bundle).context("failed to read a bundle")
}

/// Static, so that it runs in any image.
fn scripted_model() -> Result<PathBuf> {
    let program = std::env::var_os("SCRIPTED_MODEL_BIN").map(PathBuf::from);
    program.context(
        "SCRIPTED_MODEL_BIN names no static scripted-model: run `cargo xtask test cluster`, which builds one in \
         target/*-linux-musl/release",
    )
}

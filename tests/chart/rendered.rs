//! A chart as helm renders it, without a cluster.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tests::control_plane::programs::Programs;

/// What the tests' API server is; helm without a cluster does not know.
pub(crate) const KUBERNETES: &str = "--kube-version=1.34.4";

/// Release and namespace of what the tests render.
pub(crate) const RELEASE: &str = "gadget";
pub(crate) const NAMESPACE: &str = "tools";

pub(crate) fn directory(chart: &str) -> PathBuf {
    root().join("charts").join(chart)
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The sets of values that come with the chart as examples.
pub(crate) fn examples() -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory("gadget").join("ci"))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    ensure!(paths.len() >= 6, "only {paths:?}");
    Ok(paths)
}

pub(crate) fn example(name: &str) -> String {
    let path = directory("gadget").join("ci").join(format!("{name}-values.yaml"));
    format!("--values={}", path.display())
}

pub(crate) fn helm(arguments: &[&str]) -> Result<Output> {
    Programs::find()?.helm().args(arguments).output().context("failed to run helm")
}

/// Runs `helm template` on a chart of this repository.
pub(crate) fn template(chart: &str, arguments: &[&str]) -> Result<Output> {
    let mut command: Command = Programs::find()?.helm();
    command.args(["template", RELEASE]).arg(directory(chart)).args(["--namespace", NAMESPACE, KUBERNETES]);
    command.args(arguments).output().context("failed to run helm template")
}

/// The words with which helm refuses to render the chart `gadget`.
pub(crate) fn refused(arguments: &[&str]) -> Result<String> {
    let output = template("gadget", arguments)?;
    ensure!(!output.status.success(), "rendered with {arguments:?}");
    Ok(String::from_utf8(output.stderr)?)
}

#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) objects: Vec<Value>,
}

impl Rendered {
    /// The chart `gadget`, without the definitions.
    pub(crate) fn gadget(arguments: &[&str]) -> Result<Self> {
        Self::chart("gadget", &[&["--set=crds.install=false"], arguments].concat())
    }

    pub(crate) fn chart(chart: &str, arguments: &[&str]) -> Result<Self> {
        let output = template(chart, arguments)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "helm template {arguments:?}: {stderr}");
        let objects: Vec<Value> = serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout)?)
            .context("the rendered chart is not YAML")?;
        Ok(Self { objects: objects.into_iter().filter(|object| !object.is_null()).collect() })
    }

    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    pub(crate) fn get(&self, kind: &str, name: &str) -> Result<&Value> {
        let names = || self.objects.iter().map(described).collect::<Vec<_>>().join(", ");
        self.find(kind, name).with_context(|| format!("no {kind} {name} among {}", names()))
    }

    /// As a type of the Kubernetes API.
    pub(crate) fn typed<T: DeserializeOwned>(&self, kind: &str, name: &str) -> Result<T> {
        serde_json::from_value(self.get(kind, name)?.clone()).with_context(|| format!("{kind} {name}"))
    }

    pub(crate) fn all_typed<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>> {
        self.of_kind(kind).map(|object| Ok(serde_json::from_value(object.clone())?)).collect()
    }

    /// The container of the Deployment of a component.
    pub(crate) fn container(&self, component: &str) -> Result<&Value> {
        let deployment = self.get("Deployment", &format!("{RELEASE}-{component}"))?;
        let containers = &deployment["spec"]["template"]["spec"]["containers"];
        ensure!(containers.as_array().is_some_and(|all| all.len() == 1), "{containers}");
        Ok(&containers[0])
    }

    /// Names and values of a component's environment, in order.
    pub(crate) fn environment(&self, component: &str) -> Result<Vec<(String, String)>> {
        let variables = self.container(component)?["env"].as_array().context("no env")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let read = |variable: &Value| {
            let name = text(&variable["name"]).context("a variable without a name")?;
            Ok((name, text(&variable["value"]).unwrap_or_else(|| variable["valueFrom"].to_string())))
        };
        variables.iter().map(read).collect()
    }

    pub(crate) fn variable(&self, component: &str, name: &str) -> Result<Option<String>> {
        let found = self.environment(component)?.into_iter().find(|(own, _)| own == name);
        Ok(found.map(|(_, value)| value))
    }
}

/// Kind and name, for messages and for comparing lists.
pub(crate) fn described(object: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!("{}/{}", word(&object["kind"]), word(&object["metadata"]["name"]))
}

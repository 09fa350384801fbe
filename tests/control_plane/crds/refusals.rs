//! The table of `crds/tests/it/cases.yaml` against the real API server: the same verdicts in the same words.

use anyhow::{Context as _, Result, bail};
use kube::Client;
use kube::core::Status;
use serde_json::{Value, json};
use tests::control_plane::shared;

use super::cases::{Case, Cases};

#[tokio::test]
async fn every_rule_judges_as_the_table_says() -> Result<()> {
    let place = Place::new("crd-rules").await?;
    for (number, case) in Cases::read().rules.iter().enumerate() {
        let verdict = place.judge(case, number).await.with_context(|| case.name.clone())?;
        match (&case.message, verdict) {
            (None, None) => {}
            (Some(message), Some(status)) => {
                let causes = causes(&status);
                let expected = causes.iter().any(|(at, said)| *at == field(case) && said.ends_with(message));
                assert!(expected && causes.len() == 1, "{}: {causes:#?}", case.name);
                // What kubectl prints.
                assert!(status.message.contains(message), "{}: {}", case.name, status.message);
            }
            (expected, verdict) => {
                bail!("{}: expected {expected:?}, the API server says {verdict:?}", case.name)
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_bad_manifest_is_refused_with_the_field_and_what_it_should_be() -> Result<()> {
    let place = Place::new("crd-schema").await?;
    let Cases { rules, schema } = Cases::read();
    let refused = rules.iter().filter(|case| case.message.is_some()).count() + schema.len();
    assert!(refused >= 40, "only {refused} bad manifests are tried");
    for (number, case) in schema.iter().enumerate() {
        let message = case.message.as_deref().context("a bad manifest is refused")?;
        let verdict = place.judge(case, number).await.with_context(|| case.name.clone())?;
        let status = verdict.with_context(|| format!("{} was taken", case.name))?;
        for part in [&case.at, message] {
            assert!(status.message.contains(part), "{}: {part:?} is not in {:?}", case.name, status.message);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_status_that_is_none_is_refused_too() -> Result<()> {
    let control_plane = shared().await?;
    control_plane.create_namespace("crd-status").await?;
    let minimal = include_str!("../../../crds/examples/minimal.yaml");
    let made = control_plane.try_kubectl(["-n", "crd-status", "create", "-f", "-"], minimal).await?;
    assert!(made.success, "{}", made.stderr);
    let patch = r#"{"status":{"phase":"Running"}}"#;
    let status =
        ["-n", "crd-status", "patch", "chat/fix-login", "--subresource=status", "--type=merge", "-p", patch];
    let refused = control_plane.try_kubectl(status, "").await?;
    let phases =
        r#"status.phase: Unsupported value: "Running": supported values: "Pending", "Starting", "Ready","#;
    assert!(!refused.success && refused.stderr.contains(phases), "{}", refused.stderr);
    Ok(())
}

/// A namespace for the cases.
struct Place {
    client: Client,
    namespace: String,
}

impl Place {
    async fn new(namespace: &str) -> Result<Self> {
        let control_plane = shared().await?;
        control_plane.create_namespace(namespace).await?;
        Ok(Self { client: control_plane.client().await?, namespace: namespace.to_owned() })
    }

    /// What the API server says of a case; None: it takes it.
    async fn judge(&self, case: &Case, number: usize) -> Result<Option<Status>> {
        let Some(old) = case.old() else {
            return Ok(self.send("POST", case.kind(), None, case.object()).await?.err());
        };
        let name = format!("case-{number}");
        let named = |mut object: Value| {
            object["metadata"]["name"] = json!(name);
            object
        };
        let stored = match self.send("POST", case.kind(), Some("store"), named(old)).await? {
            Ok(stored) => stored,
            Err(status) => bail!("what is to be updated is refused: {}", status.message),
        };
        let mut new = named(case.object());
        new["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"].clone();
        Ok(self.send("PUT", case.kind(), None, new).await?.err())
    }

    /// As kubectl does: with strict fields. Nothing is stored unless `store` says so.
    async fn send(
        &self,
        method: &str,
        kind: &str,
        store: Option<&str>,
        object: Value,
    ) -> Result<std::result::Result<Value, Status>> {
        let plural = match kind {
            "ChatSession" => "chatsessions",
            "DroneRegistration" => "droneregistrations",
            _ => "droneclasses",
        };
        let name = match method {
            "PUT" => format!("/{}", object["metadata"]["name"].as_str().unwrap_or_default()),
            _ => String::new(),
        };
        let dry_run = if store.is_some() { "" } else { "&dryRun=All" };
        let path = format!(
            "/apis/gadgetcode.dev/v1alpha1/namespaces/{}/{plural}{name}?fieldValidation=Strict{dry_run}",
            self.namespace
        );
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&object)?)?;
        match self.client.request::<Value>(request).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(kube::Error::Api(status)) => Ok(Err(*status)),
            Err(error) => Err(error).context("failed to ask the API server"),
        }
    }
}

/// The API server names the whole object by a phrase of its own.
fn field(case: &Case) -> &str {
    if case.at.is_empty() { "<nil>" } else { &case.at }
}

fn causes(status: &Status) -> Vec<(&str, &str)> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.map(|cause| (cause.field.as_str(), cause.message.as_str())).collect()
}

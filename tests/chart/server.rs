//! What the real API server says to what the chart makes.

use anyhow::Result;
use serde_json::json;
use tests::control_plane::{ControlPlane, Options};
use tests::deadline::eventually;

use crate::rendered::{NAMESPACE, directory, examples, template};

/// Stands for the definitions of the Prometheus operator, which know more than this.
fn monitoring(kind: &str, plural: &str) -> String {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.monitoring.coreos.com") },
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": { "kind": kind, "plural": plural },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            } }],
        },
    })
    .to_string()
}

#[tokio::test]
async fn each_example_is_taken_without_a_warning() -> Result<()> {
    let options = Options { definitions: Vec::new(), ..Options::default() };
    let control_plane = ControlPlane::start(options).await?;
    for (kind, plural) in [("ServiceMonitor", "servicemonitors"), ("PrometheusRule", "prometheusrules")] {
        let made = control_plane.try_kubectl(["create", "-f", "-"], &monitoring(kind, plural)).await?;
        assert!(made.success, "{}", made.stderr);
        let definition = format!("crd/{plural}.monitoring.coreos.com");
        control_plane.kubectl(["wait", "--for=condition=Established", &definition]).await?;
    }
    // What a dry run makes is not there for the next object: namespaces have to be.
    for namespace in [NAMESPACE, "agents-drones", "gadget-drones"] {
        control_plane.create_namespace(namespace).await?;
        let warn = "pod-security.kubernetes.io/warn=restricted";
        control_plane.kubectl(["label", "namespace", namespace, warn]).await?;
    }
    for path in examples()? {
        // What a test lays needs its own service account first.
        let rendered = template("gadget", &["--no-hooks", &format!("--values={}", path.display())])?;
        let manifest = String::from_utf8(rendered.stdout)?;
        let dry_run = ["apply", "--server-side", "--dry-run=server", "--force-conflicts", "-f", "-"];
        let answer = control_plane.try_kubectl(dry_run, &manifest).await?;
        assert!(answer.success, "{}: {}", path.display(), answer.stderr);
        assert_eq!(answer.stderr, "", "{}", path.display());
        let objects = manifest.matches("\nkind: ").count();
        assert_eq!(answer.stdout.lines().count(), objects, "{}: {}", path.display(), answer.stdout);
    }
    Ok(())
}

fn session(name: &str, user: &str) -> String {
    json!({
        "apiVersion": "gadgetcode.dev/v1alpha1",
        "kind": "ChatSession",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": { "user": user, "project": { "slug": "shop" } },
    })
    .to_string()
}

#[tokio::test]
async fn with_the_user_policy_people_write_their_own_sessions_and_nobody_else_s() -> Result<()> {
    let control_plane =
        ControlPlane::start(Options { definitions: Vec::new(), ..Options::default() }).await?;
    control_plane.create_namespace(NAMESPACE).await?;
    let chart = directory("gadget");
    let install = ["install", "gadget", chart.to_str().unwrap(), "--namespace", NAMESPACE];
    control_plane.helm([&install[..], &["--set=userPolicy.enabled=true"]].concat()).await?;
    let writers = ["create", "role", "people", "--verb=*", "--resource=chatsessions.gadgetcode.dev"];
    control_plane.kubectl([&writers[..], &["--namespace", NAMESPACE]].concat()).await?;
    let bind =
        ["create", "rolebinding", "people", "--role=people", "--group=people", "--namespace", NAMESPACE];
    control_plane.kubectl(bind).await?;

    let as_ada = ["--as=ada@example.org", "--as-group=people", "--namespace", NAMESPACE];
    // A policy takes a moment until it is in force.
    let refusal = eventually("the policy to be in force", || async {
        let dry_run = [&as_ada[..], &["create", "--dry-run=server", "-f", "-"]].concat();
        let answer = control_plane.try_kubectl(dry_run, &session("probe", "bob")).await?;
        Ok((!answer.success).then_some(answer.stderr))
    })
    .await?;
    let words =
        "spec.user 'bob' is somebody else: you are 'ada'; give spec.user: ada, or ask an administrator";
    assert!(refusal.contains(words), "{refusal}");

    let ada = async |arguments: &[&str], stdin: &str| {
        control_plane.try_kubectl([&as_ada[..], arguments].concat(), stdin).await
    };
    let own = ada(&["create", "-f", "-"], &session("own", "ada")).await?;
    assert!(own.success, "{}", own.stderr);
    let suspend = r#"{"spec":{"operatingMode":"Suspended"}}"#;
    let patched = ada(&["patch", "chat", "own", "--type=merge", "-p", suspend], "").await?;
    assert!(patched.success, "{}", patched.stderr);

    // An administrator may write everybody's.
    let made = control_plane.try_kubectl(["create", "-f", "-"], &session("bobs", "bob")).await?;
    assert!(made.success, "{}", made.stderr);
    let attempts: [&[&str]; 2] =
        [&["patch", "chat", "bobs", "--type=merge", "-p", suspend], &["delete", "chat", "bobs"]];
    for attempt in attempts {
        let answer = ada(attempt, "").await?;
        assert!(!answer.success && answer.stderr.contains(words), "{attempt:?}: {}", answer.stderr);
    }
    // So may the hub.
    let hub = format!("--as=system:serviceaccount:{NAMESPACE}:gadget-hub");
    let deleted = control_plane.kubectl([&hub, "--namespace", NAMESPACE, "delete", "chat", "bobs"]).await?;
    assert!(deleted.contains("deleted"), "{deleted}");
    // The account of `helm test` writes sessions of its own user alone, whatever its role would let it do.
    let test = format!("--as=system:serviceaccount:{NAMESPACE}:gadget-test");
    let as_test =
        [&*test, "--as-group=people", "--namespace", NAMESPACE, "create", "--dry-run=server", "-f", "-"];
    let own_of_test = control_plane.try_kubectl(as_test, &session("gadget-trial", "helm-test")).await?;
    assert!(own_of_test.success, "{}", own_of_test.stderr);
    let of_ada = control_plane.try_kubectl(as_test, &session("gadget-trial", "ada")).await?;
    assert!(!of_ada.success && of_ada.stderr.contains("you are 'helm-test'"), "{}", of_ada.stderr);
    let own = ada(&["delete", "chat", "own"], "").await?;
    assert!(own.success, "{}", own.stderr);
    Ok(())
}

//! `kubectl gadget why` against faults that are really there: each is made in a real cluster, and the words must name its
//! cause and what a person can do.

mod faults;
mod worked;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tests::release::{NAMESPACE, Release, fed, kubectl, program, until};

use self::faults::{FAULTS, Make, Says};
use crate::person::{Person, holds};

async fn make(objects: &[Value]) -> Result<()> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let apply = ["--namespace", NAMESPACE, "apply", "--filename", "-"];
    fed(program("kubectl")?.args(apply), list.to_string().as_bytes()).await.map(drop)
}

async fn in_namespace(words: &[&str]) -> Result<String> {
    kubectl(&[&["--namespace", NAMESPACE], words].concat()).await
}

/// Until it says all of that.
async fn says(person: &Person, name: &str, words: Says) -> Result<()> {
    let mut told = String::new();
    let waited = until(&format!("{name} to say {words:?}"), async || {
        told = person.said(&["why", name]).await?;
        Ok(words.iter().all(|part| told.contains(part)).then_some(()))
    })
    .await;
    waited.with_context(|| told.clone())
}

/// What belongs to no namespace is not swept with the release's.
async fn take_away_what_is_the_cluster_s() -> Result<()> {
    for object in faults::of_the_cluster() {
        let (kind, name) = (&object["kind"], object["metadata"]["name"].as_str().context("no name")?);
        let kind = kind.as_str().context("no kind")?;
        kubectl(&["delete", kind, name, "--ignore-not-found"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_names_the_cause_of_each_fault_that_keeps_a_session_from_starting_and_what_to_do() -> Result<()> {
    let release = Release::install().await?;
    take_away_what_is_the_cluster_s().await?;
    let told = each_fault(&release).await;
    take_away_what_is_the_cluster_s().await?;
    told?;
    release.api::<Pod>().delete("pod-taken", &DeleteParams::default()).await?;
    release.remove().await
}

async fn each_fault(release: &Release) -> Result<()> {
    let person = Person::signed_in().await?;
    let make_with = Make { image: release.drone_image().await?, user: "admin" };
    make(&[faults::of_the_cluster(), faults::of_the_namespace()].concat()).await?;
    let all: Vec<Value> = FAULTS.iter().flat_map(|fault| fault.objects(&make_with)).collect();
    make(&all).await?;
    for fault in FAULTS {
        says(&person, fault.name, fault.says).await?;
    }
    // The list has the same word, and a session beside them is as well as ever.
    release.apply("well").await?;
    let list = person.said(&["ls"]).await?;
    for fault in FAULTS {
        let row = list.lines().find(|line| line.split_whitespace().next() == Some(fault.name));
        ensure!(row.is_some(), "{} is not in the list:\n{list}", fault.name);
    }
    holds(&person.said(&["why", "well"]).await?, &["well is ready\n"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_says_that_the_operator_the_hub_or_what_a_pod_needs_is_not_there() -> Result<()> {
    let release = Release::install().await?;
    let person = Person::signed_in().await?;
    let make_with = Make { image: release.drone_image().await?, user: "admin" };
    let scale = async |what: &str, replicas: u8| {
        let deployment = format!("deployment/gadget-{what}");
        in_namespace(&["scale", &deployment, &format!("--replicas={replicas}")]).await
    };

    scale("operator", 0).await?;
    gone(&release, "operator").await?;
    make(&make_with.small("unseen")).await?;
    says(&person, "unseen", &["unseen is new: OperatorSilent", "component=operator"]).await?;
    scale("operator", 1).await?;
    says(&person, "unseen", &["unseen is ready\n"]).await?;

    scale("hub", 0).await?;
    gone(&release, "hub").await?;
    make(&make_with.small("unknown")).await?;
    says(&person, "unknown", &["unknown is not ready: HubSilent", "component=hub"]).await?;
    holds(&person.refused(&["prompt", "unseen", "hello"]).await?, &["no hub is ready in namespace"]);
    scale("hub", 1).await?;
    says(&person, "unknown", &["unknown is ready\n"]).await?;

    let accounts: Api<ServiceAccount> = release.api();
    accounts.delete("gadget-drone", &DeleteParams::default()).await?;
    make(&make_with.small("nobody")).await?;
    says(&person, "nobody", &["ServiceAccountMissing", "gadget-drone", "install the chart again"]).await?;
    release.remove().await
}

async fn gone(release: &Release, component: &str) -> Result<()> {
    let label = format!("app.kubernetes.io/component={component}");
    until(&format!("the {component} to be gone"), async || {
        let params = ListParams::default().labels(&label);
        let pods = release.api::<Pod>().list(&params).await?;
        Ok(pods.items.is_empty().then_some(()))
    })
    .await
}

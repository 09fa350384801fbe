//! The real programs, started as the chart starts them and as nobody but their service accounts: what they may do beside
//! what they do.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use k8s_openapi::api::rbac::v1::Role;
use nix::sys::signal::Signal;
use tests::control_plane::rbac::{Difference, Granted, compare, service_account};
use tests::deadline::eventually;

use crate::cluster::Cluster;
use crate::release::session;
use crate::rendered::{NAMESPACE, RELEASE, directory};

async fn difference(cluster: &Cluster, account: &str) -> Result<Difference> {
    let role: Role = serde_json::from_value(cluster.get(&["role", account]).await?)?;
    let rules = role.rules.unwrap_or_default();
    let granted = [Granted { namespace: Some(NAMESPACE), rules: &rules }];
    let entries = cluster.control_plane.settled_audit().await?.all()?;
    compare(&entries, &service_account(NAMESPACE, account), &granted)
}

async fn until_ready(cluster: &Cluster, session: &str) -> Result<()> {
    let session = format!("chat/{session}");
    let ready = ["wait", "--for=condition=Ready", &session, "--timeout=50s", "--namespace", NAMESPACE];
    cluster.control_plane.kubectl(ready).await.map(drop)
}

async fn patch(cluster: &Cluster, object: [&str; 2], spec: &str) -> Result<()> {
    let patch = format!(r#"{{"spec":{spec}}}"#);
    let [kind, name] = object;
    let patch = ["patch", kind, name, "--type=merge", "-p", &patch, "--namespace", NAMESPACE];
    cluster.control_plane.kubectl(patch).await.map(drop)
}

#[tokio::test]
async fn the_operator_uses_each_grant_of_the_chart_and_asks_for_nothing_else() -> Result<()> {
    let cluster = Cluster::start().await?;
    let chart = directory("gadget");
    cluster.helm(&["install", RELEASE, chart.to_str().unwrap()]).await?;
    let mut operator = cluster.run("operator", "operator-1").await?;

    cluster.create(&session("one")).await?;
    until_ready(&cluster, "one").await.with_context(|| operator.complaints())?;
    // The class comes from the chart's settings.
    let class = cluster.get(&["droneclass", "default"]).await?;
    assert_eq!(class["spec"]["image"], "gadget-drone:0.1.0");
    let pod = cluster.get(&["pod", "one"]).await?;
    assert_eq!(pod["spec"]["serviceAccountName"], "gadget-drone");

    // A claim grows, a pod is ended, a drone that is free is bound.
    patch(&cluster, ["chat", "one"], r#"{"workspace":{"size":"20Gi"}}"#).await?;
    patch(&cluster, ["chat", "one"], r#"{"operatingMode":"Suspended"}"#).await?;
    let free = "apiVersion: gadgetcode.dev/v1alpha1\nkind: DroneRegistration\nmetadata: { name: free }\n\
                spec: { user: ada, className: default }\n";
    cluster.create(free).await?;
    cluster.create(&format!("{}  drone: free\n", session("two"))).await?;
    until_ready(&cluster, "two").await.with_context(|| operator.complaints())?;

    // Another takes over and brings the class up to its settings; a third stands by and watches the lease.
    cluster.helm(&["upgrade", RELEASE, chart.to_str().unwrap(), "--set=drones.class.idleTimeout=1h"]).await?;
    let _second = cluster.run("operator", "operator-2").await?;
    operator.signal(Signal::SIGTERM)?;
    eventually("the class to follow the chart", async || {
        let class = cluster.get(&["droneclass", "default"]).await?;
        Ok((class["spec"]["idleTimeout"] == "1h").then_some(()))
    })
    .await?;
    let _third = cluster.run("operator", "operator-3").await?;

    // This API server can begin a watch with what there is; the lease is listed, because it is one object.
    let lists = [
        "chatsessions.gadgetcode.dev",
        "droneclasses.gadgetcode.dev",
        "droneregistrations.gadgetcode.dev",
        "events",
        "persistentvolumeclaims",
        "pods",
    ];
    let for_older_servers: BTreeSet<String> =
        lists.into_iter().map(|resource| format!("list {resource} in {NAMESPACE}")).collect();
    let unused = async || -> Result<BTreeSet<String>> {
        let Difference { unused, refused, by_others } = difference(&cluster, "gadget-operator").await?;
        assert_eq!((refused, by_others), (BTreeSet::new(), BTreeSet::new()));
        Ok(unused.iter().map(ToString::to_string).collect())
    };
    let all =
        eventually(
            "each grant to be used",
            async || Ok((unused().await? == for_older_servers).then_some(())),
        );
    if all.await.is_err() {
        assert_eq!(unused().await?, for_older_servers, "{}", operator.complaints());
    }
    Ok(())
}

#[tokio::test]
async fn the_hub_runs_with_what_the_chart_tells_and_grants_it() -> Result<()> {
    let cluster = Cluster::start().await?;
    let chart = directory("gadget");
    cluster.helm(&["install", RELEASE, chart.to_str().unwrap()]).await?;
    let hub = cluster.run("hub", "hub-1").await?;
    cluster.create(&session("one")).await?;
    // The hub has no user of that handle, and says so.
    let adopted = eventually("the hub's word about the session", || async {
        let state = cluster.get(&["chat", "one"]).await?["status"]["adoption"]["state"].clone();
        Ok((!state.is_null()).then_some(state))
    });
    assert_eq!(adopted.await.with_context(|| hub.complaints())?, "UserUnknown");
    // That it uses each grant is shown by the hub's own tests, which open sessions.
    let Difference { unused: _, refused, by_others } = difference(&cluster, "gadget-hub").await?;
    assert_eq!((refused, by_others), (BTreeSet::new(), BTreeSet::new()));
    Ok(())
}

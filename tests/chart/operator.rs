//! The templates of the operator.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use crds::DroneClassSpec;
use crds::drone_class::{ClassWorkspace, FailurePolicy, ImagePullPolicy, Variable};
use crds::value::{AccessMode, Retention};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use crate::rendered::{Rendered, example};

#[test]
fn the_operator_is_told_all_that_it_needs() -> Result<()> {
    let expected = [
        ("POD_NAME", r#"{"fieldRef":{"fieldPath":"metadata.name"}}"#),
        ("GADGET_NAMESPACE", "tools"),
        ("GADGET_HUB_URL", "http://gadget-hub.tools.svc:8420"),
        ("GADGET_DEFAULT_CLASS", "/etc/gadget/default-class.yaml"),
        ("GADGET_DRONE_IMAGE", "gadget-drone:0.1.0"),
        ("GADGET_CLASS", "default"),
        ("GADGET_DRONE_SERVICE_ACCOUNT", "gadget-drone"),
        ("GADGET_LISTEN", "0.0.0.0:8081"),
        ("GADGET_LEASE", "gadget-operator"),
        ("GADGET_LOG_FORMAT", "json"),
        ("RUST_LOG", "info"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let rendered = Rendered::gadget(&[])?;
    assert_eq!(rendered.environment("operator")?, expected);
    let container = rendered.container("operator")?;
    let mounts = json!([{ "name": "settings", "mountPath": "/etc/gadget", "readOnly": true }]);
    assert_eq!(container["volumeMounts"], mounts);
    assert_eq!(container["ports"], json!([{ "name": "http", "containerPort": 8081 }]));
    for (probe, path) in
        [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"], json!({ "path": path, "port": "http" }), "{probe}");
    }
    Ok(())
}

#[test]
fn drones_in_another_namespace_are_looked_for_there() -> Result<()> {
    let rendered = Rendered::gadget(&[&example("everything"), "--set=fullnameOverride="])?;
    for (name, value) in [
        ("GADGET_NAMESPACE", "agents-drones"),
        ("GADGET_CLASS", "large"),
        ("GADGET_HUB_URL", "http://gadget-hub.tools.svc:80"),
        ("GADGET_LOG_FORMAT", "text"),
        ("RUST_LOG", "debug"),
        ("TZ", "UTC"),
    ] {
        assert_eq!(rendered.variable("operator", name)?.as_deref(), Some(value), "{name}");
    }
    Ok(())
}

#[test]
fn two_operators_are_spread_and_not_drained_together() -> Result<()> {
    let one = Rendered::gadget(&[])?;
    assert_eq!(one.get("Deployment", "gadget-operator")?["spec"]["replicas"], 1);
    assert_eq!(one.of_kind("PodDisruptionBudget").count(), 0);
    let two = Rendered::gadget(&[&example("two-replicas")])?;
    let deployment = two.get("Deployment", "gadget-operator")?;
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(deployment["spec"].get("strategy"), None);
    let selector = &deployment["spec"]["selector"];
    let budget = two.get("PodDisruptionBudget", "gadget-operator")?;
    let expected =
        json!({ "minAvailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": selector });
    assert_eq!(budget["spec"], expected);
    let spread = json!([{
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
    }]);
    assert_eq!(deployment["spec"]["template"]["spec"]["topologySpreadConstraints"], spread);
    Ok(())
}

#[test]
fn where_and_how_the_operator_s_pods_run_can_be_set() -> Result<()> {
    let rendered = Rendered::gadget(&[&example("everything"), "--set=fullnameOverride="])?;
    let template = &rendered.get("Deployment", "gadget-operator")?["spec"]["template"];
    let pod = &template["spec"];
    assert_eq!(pod["nodeSelector"], json!({ "kubernetes.io/os": "linux" }));
    assert_eq!(pod["tolerations"], json!([{ "operator": "Exists" }]));
    assert!(pod["affinity"]["podAntiAffinity"].is_object());
    assert_eq!(pod["topologySpreadConstraints"][0]["topologyKey"], "topology.kubernetes.io/zone");
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    assert_eq!(template["metadata"]["labels"]["tier"], "operator");
    assert_eq!(template["metadata"]["annotations"]["example.org/pod"], "operator");
    Ok(())
}

/// The settings as the operator reads them: a file, and beside it the image.
fn class(rendered: &Rendered) -> Result<DroneClassSpec> {
    let settings = rendered.get("ConfigMap", "gadget-operator")?;
    let text = settings["data"]["default-class.yaml"].as_str().context("no settings")?;
    // A field that the resource does not have would be dropped in silence.
    let mut raw: Value = serde_saphyr::from_str(text)?;
    assert_eq!(raw.get("image"), None, "the image would be in two places");
    raw["image"] = rendered.variable("operator", "GADGET_DRONE_IMAGE")?.into();
    let read: DroneClassSpec =
        serde_json::from_value(raw.clone()).context("the operator cannot read this")?;
    let again = serde_json::to_value(&read)?;
    for key in raw.as_object().context("no map")?.keys() {
        assert!(again.get(key).is_some(), "{key} is no field of a DroneClass");
    }
    Ok(read)
}

fn quantities(pairs: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
    pairs.iter().map(|(name, value)| ((*name).into(), Quantity((*value).into()))).collect()
}

#[test]
fn the_default_class_has_the_defaults_of_the_product() -> Result<()> {
    let read = class(&Rendered::gadget(&[])?)?;
    let resources = k8s_openapi::api::core::v1::ResourceRequirements {
        requests: Some(quantities(&[("cpu", "250m"), ("memory", "512Mi")])),
        limits: Some(quantities(&[("memory", "4Gi")])),
        ..Default::default()
    };
    let expected = DroneClassSpec {
        image: "gadget-drone:0.1.0".into(),
        image_pull_policy: Some(ImagePullPolicy::IfNotPresent),
        resources: Some(resources),
        workspace: ClassWorkspace {
            size: Some("10Gi".into()),
            retention: Some(Retention::Retain),
            ..ClassWorkspace::default()
        },
        idle_timeout: Some("30m".into()),
        termination_grace_period: Some("30s".into()),
        ..DroneClassSpec::default()
    };
    assert_eq!(read, expected);
    Ok(())
}

#[test]
fn each_setting_of_the_class_reaches_the_operator() -> Result<()> {
    let read = class(&Rendered::gadget(&[&example("everything"), "--set=fullnameOverride="])?)?;
    assert_eq!(read.image, "registry.example/own-drone:2");
    assert_eq!(read.image_pull_policy, Some(ImagePullPolicy::IfNotPresent));
    assert_eq!(read.image_pull_secrets, ["drones"]);
    let resources = read.resources.context("no resources")?;
    // A number in values is a quantity in the resource.
    assert_eq!(
        resources.requests,
        Some(quantities(&[("cpu", "1"), ("memory", "2Gi"), ("ephemeral-storage", "1Gi")]))
    );
    assert_eq!(read.runtime_class_name.as_deref(), Some("gvisor"));
    assert_eq!(read.host_users, Some(false));
    assert_eq!(read.node_selector, [("pool".to_owned(), "agents".to_owned())].into());
    assert_eq!(read.tolerations[0].key.as_deref(), Some("agents"));
    assert_eq!(read.topology_spread[0].topology_key, "kubernetes.io/hostname");
    assert_eq!(read.priority_class_name.as_deref(), Some("low"));
    let workspace = ClassWorkspace {
        size: Some("20Gi".into()),
        storage_class_name: Some("fast".into()),
        access_mode: Some(AccessMode::ReadWriteOnce),
        retention: Some(Retention::Delete),
    };
    assert_eq!(read.workspace, workspace);
    assert_eq!(read.idle_timeout.as_deref(), Some("1h"));
    assert_eq!(read.termination_grace_period.as_deref(), Some("45s"));
    let proxy = Variable { name: "HTTPS_PROXY".into(), value: "http://proxy.example:3128".into() };
    assert_eq!(read.env, [proxy]);
    let patience = FailurePolicy { max_restarts: Some(3), window: Some("5m".into()) };
    assert_eq!(read.failure_policy, patience);
    Ok(())
}

#[test]
fn the_drone_s_image_comes_from_the_same_registry() -> Result<()> {
    let read = class(&Rendered::gadget(&[&example("restricted-registry")])?)?;
    assert_eq!(read.image, "registry.internal.example/mirror/gadget/gadget-drone:0.1.0");
    assert_eq!(read.image_pull_secrets, ["mirror"]);
    Ok(())
}

#[test]
fn new_settings_of_the_class_restart_the_operator_and_others_do_not() -> Result<()> {
    let mark = |arguments: &[&str]| -> Result<Value> {
        let rendered = Rendered::gadget(arguments)?;
        let template = &rendered.get("Deployment", "gadget-operator")?["spec"]["template"];
        Ok(template["metadata"]["annotations"]["gadgetcode.dev/default-class"].clone())
    };
    assert_ne!(mark(&[])?, mark(&["--set=drones.class.idleTimeout=1h"])?);
    assert_eq!(mark(&[])?, mark(&["--set=hub.demo=false"])?);
    Ok(())
}

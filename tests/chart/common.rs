//! What holds for every object that the chart makes.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::rendered::{NAMESPACE, RELEASE, Rendered, described, example};

#[test]
fn the_default_installation_is_these_objects() -> Result<()> {
    let rendered = Rendered::gadget(&[])?;
    let objects: BTreeSet<String> = rendered.objects.iter().map(described).collect();
    let expected = [
        "ClusterRole/tools-gadget-token-review",
        "ClusterRoleBinding/tools-gadget-token-review",
        "ConfigMap/gadget-operator",
        "Deployment/gadget-hub",
        "Deployment/gadget-operator",
        "NetworkPolicy/gadget-drone",
        "NetworkPolicy/gadget-drone-internet",
        "NetworkPolicy/gadget-hub",
        "NetworkPolicy/gadget-operator",
        "PersistentVolumeClaim/gadget-hub",
        "Pod/gadget-test",
        "Role/gadget-hub",
        "Role/gadget-operator",
        "Role/gadget-test",
        "RoleBinding/gadget-hub",
        "RoleBinding/gadget-operator",
        "RoleBinding/gadget-test",
        "Service/gadget-hub",
        "ServiceAccount/gadget-drone",
        "ServiceAccount/gadget-hub",
        "ServiceAccount/gadget-operator",
        "ServiceAccount/gadget-test",
    ];
    assert_eq!(objects, expected.map(str::to_owned).into());
    Ok(())
}

#[test]
fn every_object_says_what_it_belongs_to() -> Result<()> {
    for arguments in [vec![], vec![example("everything")]] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        for object in Rendered::gadget(&arguments)?.objects {
            let labels = &object["metadata"]["labels"];
            let name = described(&object);
            assert_eq!(labels["app.kubernetes.io/name"], "gadget", "{name}");
            assert_eq!(labels["app.kubernetes.io/instance"], RELEASE, "{name}");
            assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{name}");
            assert_eq!(labels["app.kubernetes.io/version"], "0.1.0", "{name}");
            assert_eq!(labels["helm.sh/chart"], "gadget-0.1.0", "{name}");
            assert!(labels["app.kubernetes.io/component"].is_string(), "{name}");
        }
    }
    Ok(())
}

#[test]
fn labels_and_annotations_for_all_are_on_all_and_cannot_replace_the_chart_s_own() -> Result<()> {
    let own = "--set=commonLabels.app\\.kubernetes\\.io/name=other,commonLabels.team=tools";
    for object in Rendered::gadget(&[&example("everything"), own])?.objects {
        let name = described(&object);
        assert_eq!(object["metadata"]["labels"]["team"], "tools", "{name}");
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/name"], "gadget", "{name}");
        assert_eq!(object["metadata"]["annotations"]["example.org/owner"], "tools", "{name}");
    }
    Ok(())
}

#[test]
fn every_namespaced_object_names_its_namespace() -> Result<()> {
    let cluster_scoped = [
        "ClusterRole",
        "ClusterRoleBinding",
        "Namespace",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    for object in Rendered::gadget(&[&example("everything"), "--set=hub.demo=true"])?.objects {
        let kind = object["kind"].as_str().unwrap();
        let drones = ["Role", "RoleBinding"].contains(&kind)
            || object["metadata"]["labels"]["app.kubernetes.io/component"] == "drone";
        let expected = match cluster_scoped.contains(&kind) {
            true => Value::Null,
            false if drones => json!("agents-drones"),
            false => json!(NAMESPACE),
        };
        assert_eq!(object["metadata"]["namespace"], expected, "{}", described(&object));
    }
    Ok(())
}

#[test]
fn a_name_of_its_own_replaces_the_release_s() -> Result<()> {
    for object in Rendered::gadget(&["--set=fullnameOverride=agents"])?.objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        let name = name.strip_prefix("tools-").unwrap_or(name);
        assert!(name.starts_with("agents"), "{}", described(&object));
    }
    Ok(())
}

#[test]
fn a_deployment_selects_its_own_pods_by_labels_that_never_change() -> Result<()> {
    for (component, arguments) in [("hub", vec![]), ("operator", vec!["--set=operator.podLabels.a=b"])] {
        let rendered = Rendered::gadget(&arguments)?;
        let name = format!("gadget-{component}");
        let deployment = rendered.get("Deployment", &name)?;
        let selector = &deployment["spec"]["selector"]["matchLabels"];
        let expected = json!({
            "app.kubernetes.io/name": "gadget",
            "app.kubernetes.io/instance": RELEASE,
            "app.kubernetes.io/component": component,
        });
        assert_eq!(selector, &expected);
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&labels[name], value);
        }
    }
    Ok(())
}

#[test]
fn all_pods_are_as_restricted_as_pod_security_knows() -> Result<()> {
    for arguments in [vec![], vec![example("everything"), "--set=hub.demo=true".to_owned()]] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let rendered = Rendered::gadget(&arguments)?;
        let deployments: Vec<Deployment> = rendered.all_typed("Deployment")?;
        let of_deployments = deployments.into_iter().filter_map(|deployment| deployment.spec?.template.spec);
        let alone: Vec<Pod> = rendered.all_typed("Pod")?;
        let pods: Vec<_> = of_deployments.chain(alone.into_iter().filter_map(|pod| pod.spec)).collect();
        assert_eq!(pods.len(), 3);
        for pod in pods {
            let expected = json!({
                "runAsNonRoot": true,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": { "type": "RuntimeDefault" },
            });
            assert_eq!(serde_json::to_value(&pod.security_context)?, expected);
            assert_eq!(pod.enable_service_links, Some(false));
            assert_eq!((pod.host_network, pod.host_pid, pod.host_ipc), (None, None, None));
            for container in pod.containers {
                let expected = json!({
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                });
                assert_eq!(serde_json::to_value(&container.security_context)?, expected);
                let resources = container.resources.context("no resources")?;
                assert!(resources.limits.is_some_and(|limits| limits.contains_key("memory")));
            }
        }
    }
    Ok(())
}

#[test]
fn images_come_from_the_registry_that_is_set() -> Result<()> {
    let images = |rendered: &Rendered| -> Result<[Value; 2]> {
        Ok(["hub", "operator"].map(|of| rendered.container(of).unwrap()["image"].clone()))
    };
    assert_eq!(images(&Rendered::gadget(&[])?)?, ["gadget-hub:0.1.0", "gadget-operator:0.1.0"]);
    for registry in ["registry.example:5000/gadget", "registry.example:5000/gadget/"] {
        let set = format!("--set-string=image.registry={registry},image.tag=2,image.pullPolicy=Always");
        let rendered = Rendered::gadget(&[&set, "--set=image.pullSecrets={one,two}"])?;
        let expected = ["hub", "operator"].map(|of| format!("registry.example:5000/gadget/gadget-{of}:2"));
        assert_eq!(images(&rendered)?, expected);
        for component in ["hub", "operator"] {
            assert_eq!(rendered.container(component)?["imagePullPolicy"], "Always");
            let name = format!("gadget-{component}");
            let deployment = rendered.get("Deployment", &name)?;
            let secrets = &deployment["spec"]["template"]["spec"]["imagePullSecrets"];
            assert_eq!(secrets, &json!([{ "name": "one" }, { "name": "two" }]));
        }
    }
    Ok(())
}

#[test]
fn each_example_leaves_nothing_half_written() -> Result<()> {
    for path in crate::rendered::examples()? {
        let rendered = Rendered::gadget(&[&format!("--values={}", path.display())])?;
        for object in &rendered.objects {
            let text = object.to_string();
            assert!(!text.contains("<no value>") && !text.contains("%!"), "{}: {text}", described(object));
        }
    }
    Ok(())
}

//! The templates of what drones live in. Who may reach whom: [`crate::reach`].

use anyhow::Result;
use serde_json::{Value, json};

use crate::rendered::{Rendered, example, refused};

#[test]
fn drones_have_a_service_account_that_nothing_is_granted_to() -> Result<()> {
    let rendered = Rendered::gadget(&[&example("everything"), "--set=fullnameOverride="])?;
    let account = rendered.get("ServiceAccount", "gadget-drone")?;
    assert_eq!(account["automountServiceAccountToken"], false);
    assert_eq!(account["metadata"]["namespace"], "agents-drones");
    assert_eq!(account["metadata"]["annotations"]["example.org/role"], "drone");
    for kind in ["RoleBinding", "ClusterRoleBinding"] {
        for binding in rendered.of_kind(kind) {
            for subject in binding["subjects"].as_array().unwrap() {
                assert_eq!(subject["kind"], "ServiceAccount", "a group may hold the drones");
                assert_ne!(subject["name"], "gadget-drone");
            }
        }
    }
    Ok(())
}

#[test]
fn a_namespace_for_drones_is_restricted_and_stays() -> Result<()> {
    assert_eq!(Rendered::gadget(&[])?.of_kind("Namespace").count(), 0);
    let rendered = Rendered::gadget(&[&example("other-namespace")])?;
    let namespace = rendered.get("Namespace", "gadget-drones")?;
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    assert_eq!(namespace["metadata"]["annotations"], json!({ "helm.sh/resource-policy": "keep" }));
    let there = Rendered::gadget(&["--set=drones.namespace=gadget-drones"])?;
    assert_eq!(there.of_kind("Namespace").count(), 0);
    for own in
        ["--set=drones.createNamespace=true", "--set=drones.createNamespace=true,drones.namespace=tools"]
    {
        let words = refused(&[own])?;
        assert!(words.contains("needs a drones.namespace that is not the release's own"), "{words}");
    }
    Ok(())
}

#[test]
fn policies_select_drones_by_the_labels_that_the_operator_gives_them() -> Result<()> {
    let rendered = Rendered::gadget(&[&example("everything"), "--set=fullnameOverride="])?;
    let selected = json!({
        crds::names::NAME: crds::names::PRODUCT,
        crds::names::COMPONENT: crds::names::DRONE_COMPONENT,
    });
    let selector = |name: &str| -> Result<Value> {
        Ok(rendered.get("NetworkPolicy", name)?["spec"]["podSelector"].clone())
    };
    assert_eq!(selector("gadget-drone")?, json!({ "matchLabels": selected }));
    let not_closed = json!([{ "key": crds::names::CLASS, "operator": "NotIn", "values": ["closed"] }]);
    let expected = json!({ "matchLabels": selected, "matchExpressions": not_closed });
    assert_eq!(selector("gadget-drone-internet")?, expected);
    let mut of_class = selected;
    of_class[crds::names::CLASS] = json!("data");
    assert_eq!(selector("gadget-drone-class-data")?, json!({ "matchLabels": of_class }));
    assert!(rendered.find("NetworkPolicy", "gadget-drone-class-closed").is_none());
    Ok(())
}

#[test]
fn without_policies_there_are_none() -> Result<()> {
    let rendered = Rendered::gadget(&["--set=networkPolicy.enabled=false"])?;
    assert_eq!(rendered.of_kind("NetworkPolicy").count(), 0);
    Ok(())
}

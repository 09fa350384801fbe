//! What operator and hub may do: exactly this. That each grant is used, and each use granted, is shown by the tests
//! that run them, from the audit log (`tests::control_plane::rbac`).

use anyhow::Result;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use serde_json::json;

use crate::rendered::{Rendered, example};

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(owned(&[group])),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}

#[test]
fn the_operator_may_do_this_in_the_namespace_of_the_drones() -> Result<()> {
    let role: Role = Rendered::gadget(&[])?.typed("Role", "gadget-operator")?;
    let expected = [
        rule("gadgetcode.dev", &["chatsessions"], &["list", "watch"]),
        rule("gadgetcode.dev", &["droneregistrations"], &["list", "watch", "create", "patch"]),
        rule("gadgetcode.dev", &["droneclasses"], &["list", "watch", "create", "patch"]),
        rule("gadgetcode.dev", &["chatsessions/status", "droneregistrations/status"], &["patch"]),
        rule("", &["pods"], &["list", "watch", "create", "delete"]),
        rule("", &["persistentvolumeclaims"], &["list", "watch", "create", "patch"]),
        rule("", &["events"], &["list", "watch"]),
        rule("events.k8s.io", &["events"], &["create"]),
        rule("coordination.k8s.io", &["leases"], &["list", "watch", "create", "update"]),
    ];
    assert_eq!(role.rules.unwrap_or_default(), expected);
    Ok(())
}

#[test]
fn the_hub_may_do_this_and_ask_whether_a_token_is_good() -> Result<()> {
    let rendered = Rendered::gadget(&[])?;
    let role: Role = rendered.typed("Role", "gadget-hub")?;
    let verbs = ["get", "list", "watch", "create", "patch", "delete"];
    let expected = [
        rule("gadgetcode.dev", &["chatsessions", "droneregistrations"], &verbs),
        rule("gadgetcode.dev", &["chatsessions/status", "droneregistrations/status"], &["patch"]),
    ];
    assert_eq!(role.rules.unwrap_or_default(), expected);
    let reviews: ClusterRole = rendered.typed("ClusterRole", "tools-gadget-token-review")?;
    let expected = [rule("authentication.k8s.io", &["tokenreviews"], &["create"])];
    assert_eq!(reviews.rules.unwrap_or_default(), expected);
    Ok(())
}

#[test]
fn a_test_may_do_this_with_one_session_and_one_pod() -> Result<()> {
    let role: Role = Rendered::gadget(&["--set=drones.namespace=agents"])?.typed("Role", "gadget-test")?;
    assert_eq!(role.metadata.namespace.as_deref(), Some("agents"));
    let named =
        |rule: PolicyRule, name: &str| PolicyRule { resource_names: Some(vec![name.to_owned()]), ..rule };
    let expected = [
        // The API server cannot hold a name against what is not there yet.
        rule("gadgetcode.dev", &["chatsessions"], &["create"]),
        named(rule("gadgetcode.dev", &["chatsessions"], &["get", "delete"]), "gadget-trial"),
        named(rule("", &["pods"], &["get", "delete"]), "gadget-trial"),
        named(rule("", &["persistentvolumeclaims"], &["get"]), "ws-gadget-trial"),
    ];
    assert_eq!(role.rules.unwrap_or_default(), expected);
    Ok(())
}

#[test]
fn each_role_is_bound_to_its_own_account_alone() -> Result<()> {
    let rendered = Rendered::gadget(&[&example("everything"), "--set=fullnameOverride=,hub.demo=true"])?;
    let subject = |name: &str| json!([{ "kind": "ServiceAccount", "name": name, "namespace": "tools" }]);
    let role = |kind: &str, name: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name });
    for (kind, of, binding, account) in [
        ("RoleBinding", "Role", "gadget-operator", "gadget-operator"),
        ("RoleBinding", "Role", "gadget-hub", "gadget-hub"),
        ("RoleBinding", "Role", "gadget-test", "gadget-test"),
        ("ClusterRoleBinding", "ClusterRole", "tools-gadget-token-review", "gadget-hub"),
    ] {
        let binding_object = rendered.get(kind, binding)?;
        assert_eq!(binding_object["roleRef"], role(of, binding));
        assert_eq!(binding_object["subjects"], subject(account));
    }
    let bindings: usize =
        ["RoleBinding", "ClusterRoleBinding"].map(|kind| rendered.of_kind(kind).count()).iter().sum();
    assert_eq!(bindings, 4);
    Ok(())
}

#[test]
fn nothing_is_granted_by_wildcard_and_no_secret_can_be_read() -> Result<()> {
    let rendered = Rendered::gadget(&[&example("everything"), "--set=hub.demo=true"])?;
    let roles: Vec<Role> = rendered.all_typed("Role")?;
    let cluster_roles: Vec<ClusterRole> = rendered.all_typed("ClusterRole")?;
    assert_eq!((roles.len(), cluster_roles.len()), (3, 1));
    let granted =
        roles.into_iter().map(|role| role.rules).chain(cluster_roles.into_iter().map(|role| role.rules));
    for rule in granted.flatten().flatten() {
        let resources = rule.resources.unwrap_or_default();
        let words =
            rule.api_groups.unwrap_or_default().into_iter().chain(rule.verbs).chain(resources.clone());
        for word in words {
            assert!(!word.contains('*'), "{word}");
        }
        for resource in resources {
            assert!(!["secrets", "pods/exec", "serviceaccounts/token"].contains(&&*resource), "{resource}");
        }
    }
    Ok(())
}

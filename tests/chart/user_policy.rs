//! Who may write which `spec.user`: the optional policy, as it is rendered. What it does to a real API server's
//! answers: [`crate::server`].

use anyhow::Result;
use serde_json::json;

use crate::rendered::Rendered;

const ON: &str = "--set=userPolicy.enabled=true";

#[test]
fn there_is_no_policy_unless_asked_for() -> Result<()> {
    let rendered = Rendered::gadget(&[])?;
    assert_eq!(rendered.of_kind("ValidatingAdmissionPolicy").count(), 0);
    assert_eq!(rendered.of_kind("ValidatingAdmissionPolicyBinding").count(), 0);
    Ok(())
}

#[test]
fn it_binds_the_namespace_of_the_drones_alone() -> Result<()> {
    let rendered = Rendered::gadget(&[ON, "--set=drones.namespace=agents"])?;
    let binding = rendered.get("ValidatingAdmissionPolicyBinding", "tools-gadget-user")?;
    let expected = json!({
        "policyName": "tools-gadget-user",
        "validationActions": ["Deny"],
        "matchResources": {
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "agents" } },
        },
    });
    assert_eq!(binding["spec"], expected);
    Ok(())
}

#[test]
fn hub_and_operator_are_never_held_up() -> Result<()> {
    let rendered = Rendered::gadget(&[ON, "--set=userPolicy.exemptUsers={root}"])?;
    let policy = rendered.get("ValidatingAdmissionPolicy", "tools-gadget-user")?;
    let condition = policy["spec"]["matchConditions"][0]["expression"].as_str().unwrap();
    for user in
        ["system:serviceaccount:tools:gadget-hub", "system:serviceaccount:tools:gadget-operator", "root"]
    {
        assert!(condition.contains(&format!("\"{user}\"")), "{condition}");
    }
    Ok(())
}

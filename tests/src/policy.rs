//! What a `NetworkPolicy` is about: <https://kubernetes.io/docs/concepts/services-networking/network-policies/>.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Ingress,
    Egress,
}

/// Whether a pod with these labels is held by the policy, in that way.
pub fn is_about(
    policy: &NetworkPolicy,
    way: Way,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> bool {
    let Some(spec) = &policy.spec else { return false };
    let kind = match way {
        Way::Ingress => "Ingress",
        Way::Egress => "Egress",
    };
    policy.metadata.namespace.as_deref() == Some(namespace)
        && spec.policy_types.iter().flatten().any(|own| own == kind)
        && spec.pod_selector.as_ref().is_none_or(|selector| is_chosen(selector, labels))
}

pub fn is_chosen(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let exact = selector.match_labels.iter().flatten().all(|(name, value)| labels.get(name) == Some(value));
    let expressions = selector.match_expressions.iter().flatten().all(|expression| {
        let value = labels.get(&expression.key);
        let among = value.is_some_and(|value| expression.values.iter().flatten().any(|one| one == value));
        match expression.operator.as_str() {
            "In" => among,
            "NotIn" => !among,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    exact && expressions
}

//! What a program may do beside what it did: the rules of its roles beside the audit log, in both directions.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Result, ensure};
use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::control_plane::audit::Entry;

const FORBIDDEN: u16 = 403;

/// The rules of one role, and where they hold.
#[derive(Clone, Copy, Debug)]
pub struct Granted<'a> {
    /// Of the `RoleBinding`; none for a `ClusterRoleBinding`.
    pub namespace: Option<&'a str>,
    pub rules: &'a [PolicyRule],
}

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// None: all of them, or the resource has none.
    pub namespace: Option<String>,
    pub group: String,
    /// With its subresource: `pods/status`.
    pub resource: String,
    pub verb: String,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, group, resource, verb } = self;
        let dot = if group.is_empty() { "" } else { "." };
        write!(f, "{verb} {resource}{dot}{group}")?;
        match namespace {
            Some(namespace) => write!(f, " in {namespace}"),
            None => Ok(()),
        }
    }
}

/// Where roles and use differ. Empty is what a test wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Granted, and never used.
    pub unused: BTreeSet<Access>,
    /// Asked for, and refused.
    pub refused: BTreeSet<Access>,
    /// Used by virtue of something else than these roles.
    pub by_others: BTreeSet<Access>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unused, refused, by_others } = self;
        for (what, accesses) in
            [("granted but not used", unused), ("refused", refused), ("granted by other roles", by_others)]
        {
            for access in accesses {
                writeln!(f, "{what}: {access}")?;
            }
        }
        Ok(())
    }
}

/// The user that a service account is to the API server.
pub fn service_account(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// What `user` did beside what it is granted. Rules with wildcards or names of single objects are errors: they cannot be
/// shown to be used.
pub fn compare(entries: &[Entry], user: &str, granted: &[Granted<'_>]) -> Result<Difference> {
    let grants = accesses(granted)?;
    let covers = |grant: &Access, used: &Access| {
        (grant.namespace.is_none() || grant.namespace == used.namespace)
            && (&grant.group, &grant.resource, &grant.verb) == (&used.group, &used.resource, &used.verb)
    };
    let mut difference = Difference::default();
    let mut made_use_of = BTreeSet::new();
    // What is about no resource, such as discovery, everybody may.
    for entry in entries.iter().filter(|entry| entry.user == user && !entry.resource.is_empty()) {
        let access = Access {
            namespace: (!entry.namespace.is_empty()).then(|| entry.namespace.clone()),
            group: entry.group.clone(),
            resource: entry.resource.clone(),
            verb: entry.verb.clone(),
        };
        if entry.code == FORBIDDEN && !grants.iter().any(|grant| covers(grant, &access)) {
            difference.refused.insert(access);
        } else if !grants.iter().any(|grant| covers(grant, &access)) {
            difference.by_others.insert(access);
        } else {
            made_use_of.insert(access);
        }
    }
    difference.unused =
        grants.into_iter().filter(|grant| !made_use_of.iter().any(|used| covers(grant, used))).collect();
    Ok(difference)
}

fn accesses(granted: &[Granted<'_>]) -> Result<BTreeSet<Access>> {
    let mut accesses = BTreeSet::new();
    for Granted { namespace, rules } in granted {
        for rule in *rules {
            let PolicyRule { api_groups, resources, verbs, resource_names, non_resource_urls } = rule;
            let (groups, resources) = (api_groups.as_deref().unwrap_or_default(), resources.as_deref());
            let resources = resources.unwrap_or_default();
            ensure!(resource_names.as_ref().is_none_or(Vec::is_empty), "a rule for single objects: {rule:?}");
            ensure!(non_resource_urls.as_ref().is_none_or(Vec::is_empty), "a rule for addresses: {rule:?}");
            let words = groups.iter().chain(resources).chain(verbs);
            ensure!(!words.into_iter().any(|word| word.contains('*')), "a wildcard: {rule:?}");
            for group in groups {
                for resource in resources {
                    accesses.extend(verbs.iter().map(|verb| Access {
                        namespace: namespace.map(str::to_owned),
                        group: group.clone(),
                        resource: resource.clone(),
                        verb: verb.clone(),
                    }));
                }
            }
        }
    }
    Ok(accesses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(verb: &str, resource: &str, namespace: &str, code: u16) -> Entry {
        Entry {
            user: service_account("tools", "operator"),
            user_agent: "operator".into(),
            verb: verb.into(),
            resource: resource.into(),
            group: String::new(),
            namespace: namespace.into(),
            name: "x".into(),
            code,
            received: k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
            answered: k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn rule(resources: &[&str], verbs: &[&str]) -> PolicyRule {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        PolicyRule {
            api_groups: Some(vec![String::new()]),
            resources: Some(owned(resources)),
            verbs: owned(verbs),
            ..PolicyRule::default()
        }
    }

    fn told(entries: &[Entry], namespace: Option<&str>, rules: &[PolicyRule]) -> String {
        let user = service_account("tools", "operator");
        compare(entries, &user, &[Granted { namespace, rules }]).unwrap().to_string()
    }

    #[test]
    fn use_and_grants_that_are_the_same_differ_in_nothing() {
        let entries = [entry("get", "pods", "drones", 200), entry("create", "pods", "drones", 409)];
        assert_eq!(told(&entries, Some("drones"), &[rule(&["pods"], &["get", "create"])]), "");
        assert_eq!(told(&entries, None, &[rule(&["pods"], &["get", "create"])]), "");
    }

    #[test]
    fn a_grant_that_nobody_used_is_told() {
        let entries = [entry("get", "pods", "drones", 200)];
        let rules = [rule(&["pods", "pods/exec"], &["get", "delete"])];
        let expected = "granted but not used: delete pods in drones\n\
                        granted but not used: delete pods/exec in drones\n\
                        granted but not used: get pods/exec in drones\n";
        assert_eq!(told(&entries, Some("drones"), &rules), expected);
    }

    #[test]
    fn what_was_refused_is_told_and_is_no_use() {
        let entries = [entry("get", "pods", "drones", 403), entry("get", "secrets", "drones", 403)];
        let rules = [rule(&["pods"], &["get"])];
        assert_eq!(told(&entries, Some("tools"), &rules).lines().count(), 3);
        // Refused for another reason, such as a quota or Pod Security.
        assert_eq!(told(&entries[..1], Some("drones"), &rules), "");
    }

    #[test]
    fn what_somebody_else_did_is_nobody_s_use() {
        let mut other = entry("get", "pods", "drones", 200);
        other.user = "admin".into();
        let told = told(&[other], Some("drones"), &[rule(&["pods"], &["get"])]);
        assert_eq!(told, "granted but not used: get pods in drones\n");
    }

    #[test]
    fn what_other_roles_grant_is_told() {
        let entries = [entry("list", "nodes", "", 200)];
        assert_eq!(told(&entries, Some("drones"), &[]), "granted by other roles: list nodes\n");
    }

    #[test]
    fn wildcards_and_single_objects_cannot_be_shown_to_be_used() {
        let named = PolicyRule { resource_names: Some(vec!["x".into()]), ..rule(&["pods"], &["get"]) };
        for wrong in [rule(&["*"], &["get"]), rule(&["pods"], &["*"]), named] {
            assert!(compare(&[], "u", &[Granted { namespace: None, rules: &[wrong] }]).is_err());
        }
    }
}

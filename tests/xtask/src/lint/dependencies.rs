//! Which crate may depend on which, and what must never be in a crate's tree.

use std::collections::{BTreeSet, HashMap};

use cargo_metadata::{DependencyKind, Metadata, Node, Package, PackageId};

/// Our crates and those of ours that each may be built with. Tests may use more: dev-dependencies are not looked at.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("crds", &[]),
    ("operator", &["crds"]),
    ("protocol", &[]),
    ("client", &[]),
    ("scripted-model", &[]),
    ("hub", &["protocol", "crds", "client", "scripted-model"]),
    ("drone", &["protocol", "client"]),
    ("cli", &["hub", "drone", "client", "protocol", "scripted-model"]),
    ("tests", &["protocol", "crds", "client", "scripted-model", "hub", "drone", "operator"]),
    ("xtask", &[]),
];

/// What must not be anywhere below a crate, and why.
const NEVER_BELOW: &[(&str, &[&str], &str)] = &[
    (
        "protocol",
        &["tokio", "axum", "hyper", "reqwest", "rusqlite"],
        "it is types only: no client, no runtime",
    ),
    ("client", &["reqwest", "axum", "hyper", "rusqlite"], "it is a thin client"),
    (
        "drone",
        &["kube", "kube-client", "k8s-openapi", "mongodb", "rusqlite", "socketioxide"],
        "it talks to the hub only, and knows no Kubernetes and no database",
    ),
];

pub(super) fn violations(metadata: &Metadata) -> Vec<String> {
    let graph = Graph::new(metadata);
    let mut violations = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(ours, _)| *ours == name) else {
            violations.push(format!("{name} has no rule; add it to MAY_DEPEND_ON"));
            continue;
        };
        for dependency in graph.direct(&package.id) {
            let dependency_name = dependency.name.as_str();
            if metadata.workspace_members.contains(&dependency.id) && !allowed.contains(&dependency_name) {
                violations.push(format!("{name} must not depend on {dependency_name}"));
            }
        }
    }
    for (name, banned, why) in NEVER_BELOW {
        let Some(package) = metadata.workspace_packages().into_iter().find(|package| package.name == *name)
        else {
            violations.push(format!("there is no crate {name} any more; mend NEVER_BELOW"));
            continue;
        };
        for below in graph.below(&package.id) {
            if banned.contains(&below) {
                violations.push(format!("{name} must not have {below} in its tree: {why}"));
            }
        }
    }
    violations
}

/// Dependencies that are built into a crate, and not those of its tests.
struct Graph<'a> {
    packages: HashMap<&'a PackageId, &'a Package>,
    nodes: HashMap<&'a PackageId, &'a Node>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Metadata) -> Self {
        let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
        Self {
            packages: metadata.packages.iter().map(|package| (&package.id, package)).collect(),
            nodes: nodes.map(|node| (&node.id, node)).collect(),
        }
    }

    fn direct(&self, id: &PackageId) -> Vec<&'a Package> {
        let Some(node) = self.nodes.get(id) else { return Vec::new() };
        let built_in = node
            .deps
            .iter()
            .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
        built_in.filter_map(|dependency| self.packages.get(&dependency.pkg).copied()).collect()
    }

    fn below(&self, id: &PackageId) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        let mut names = BTreeSet::new();
        let mut open = self.direct(id);
        while let Some(package) = open.pop() {
            if seen.insert(&package.id) {
                names.insert(package.name.as_str());
                open.extend(self.direct(&package.id));
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_keeps_its_dependency_rules() {
        assert_eq!(violations(&crate::lint::metadata().unwrap()), Vec::<String>::new());
    }

    #[test]
    fn a_dependency_of_the_drone_on_the_hub_or_on_a_database_is_found() {
        let mut metadata = crate::lint::metadata().unwrap();
        let id = |name: &str| {
            metadata
                .packages
                .iter()
                .find(|package| package.name == name)
                .map(|package| package.id.clone())
                .unwrap()
        };
        let (drone, hub) = (id("drone"), id("hub"));
        let nodes = &mut metadata.resolve.as_mut().unwrap().nodes;
        let cli = nodes.iter().find(|node| node.deps.iter().any(|dep| dep.pkg == hub)).unwrap();
        let on_hub = cli.deps.iter().find(|dep| dep.pkg == hub).unwrap().clone();
        nodes.iter_mut().find(|node| node.id == drone).unwrap().deps.push(on_hub);
        let found = violations(&metadata);
        assert!(found.contains(&"drone must not depend on hub".to_owned()), "{found:?}");
        assert!(found.iter().any(|text| text.starts_with("drone must not have rusqlite")), "{found:?}");
    }
}

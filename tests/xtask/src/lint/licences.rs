//! Licences, banned crates and sources, by the rules in `deny.toml`.
//!
//! `cargo deny` reads the same file and says the same with more detail, but building it takes minutes; this check needs
//! nothing but the workspace's metadata.

use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, Package};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

/// The part of `deny.toml` that is checked here.
#[derive(Deserialize)]
pub(super) struct Rules {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    #[serde(default)]
    deny: Vec<Ban>,
}

#[derive(Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

impl Rules {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("failed to understand {}", path.display()))
    }
}

pub(super) fn violations(metadata: &Metadata, rules: &Rules) -> Vec<String> {
    metadata.packages.iter().flat_map(|package| check(package, rules)).collect()
}

fn check(package: &Package, Rules { licenses, bans, sources }: &Rules) -> Vec<String> {
    let name = package.name.as_str();
    let mut violations = Vec::new();
    let exception = licenses.exceptions.iter().find(|exception| exception.name == name);
    let exceptions = exception.map(|exception| exception.allow.as_slice()).unwrap_or_default();
    let allowed: Vec<&str> = licenses.allow.iter().chain(exceptions).map(String::as_str).collect();
    match package.license.as_deref() {
        None => violations.push(format!("{name} names no licence")),
        Some(licence) if !is_allowed(licence, &allowed) => {
            violations.push(format!("{name} is under {licence}, which deny.toml does not allow"));
        }
        Some(_) => {}
    }
    if let Some(ban) = bans.deny.iter().find(|ban| ban.name == name) {
        violations.push(format!("{name} is banned: {}", ban.reason));
    }
    if let Some(source) = &package.source {
        let registry = source.repr.strip_prefix("registry+");
        if !registry.is_some_and(|registry| sources.allow_registry.iter().any(|allowed| allowed == registry))
        {
            violations.push(format!("{name} comes from {source}, which deny.toml does not allow"));
        }
    }
    violations
}

/// True when the terms can be met with allowed licences alone. An exception (`WITH`) must be allowed by name.
fn is_allowed(licence: &str, allowed: &[&str]) -> bool {
    let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else { return false };
    expression.evaluate(|requirement| allowed.contains(&requirement.to_string().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_met_by_allowed_licences_alone() {
        let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];
        for licence in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "Apache-2.0 WITH LLVM-exception",
            "MIT AND Apache-2.0",
        ] {
            assert!(is_allowed(licence, &allowed), "{licence}");
        }
        for licence in
            ["GPL-3.0-only", "MIT AND GPL-3.0-only", "MIT WITH Classpath-exception-2.0", "no such thing", ""]
        {
            assert!(!is_allowed(licence, &allowed), "{licence}");
        }
    }

    #[test]
    fn this_workspace_keeps_deny_toml() {
        let rules = Rules::read(&crate::workspace::root().unwrap().join("deny.toml")).unwrap();
        assert_eq!(violations(&crate::lint::metadata().unwrap(), &rules), Vec::<String>::new());
    }
}

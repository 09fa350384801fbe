//! Each rule takes what it should and refuses what it should, in the words of the table.

use std::collections::BTreeMap;

use kube::Resource as _;
use serde_json::Value;

use crate::cases::{Case, Cases};
use crate::schema::schemas;

#[test]
fn every_case_of_the_table_is_judged_as_it_says() {
    let schemas = schemas();
    let validator = kube_cel::Validator::new();
    for case in Cases::read().rules {
        let found = validator.validate(&schemas[case.kind()], &case.object(), case.old().as_ref());
        let found: Vec<(String, String)> = match found {
            Ok(()) => Vec::new(),
            Err(errors) => errors
                .into_vec()
                .into_iter()
                .map(|error| (error.field_path.clone(), error.message.clone()))
                .collect(),
        };
        let expected: Vec<(String, String)> =
            case.message.iter().map(|message| (case.at.clone(), message.clone())).collect();
        assert_eq!(found, expected, "{}", case.name);
    }
}

#[test]
fn no_rule_is_without_a_case_in_each_direction() {
    let schemas = schemas();
    let validator = kube_cel::Validator::new();
    // Of each rule: whether a case is refused by it, and whether one is taken that it looks at.
    let mut seen: BTreeMap<(String, String, String), (bool, bool)> = BTreeMap::new();
    for (kind, schema) in &schemas {
        collect(schema, &mut Vec::new(), &mut |path, rule| {
            seen.insert((kind.clone(), path.join("."), rule.to_owned()), (false, false));
        });
    }
    for case in Cases::read().rules {
        let errors = validator.validate(&schemas[case.kind()], &case.object(), case.old().as_ref()).err();
        let refusing: Vec<String> = errors
            .into_iter()
            .flat_map(kube_cel::ValidationErrors::into_vec)
            .map(|error| error.rule)
            .collect();
        for ((kind, path, rule), (refuses, takes)) in &mut seen {
            if kind != case.kind() || !looks_at(&schemas[kind], &case, path, rule) {
                continue;
            }
            *refuses |= refusing.contains(rule);
            *takes |= refusing.is_empty();
        }
    }
    let bare: Vec<_> = seen.iter().filter(|(_, (refuses, takes))| !refuses || !takes).collect();
    assert!(seen.len() > 30, "the rules were not found");
    assert!(bare.is_empty(), "without a case in each direction: {bare:#?}");
}

#[test]
fn no_two_cases_have_one_name() {
    let Cases { rules, schema } = Cases::read();
    let names: Vec<String> = rules.into_iter().chain(schema).map(|case| case.name).collect();
    let different: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(different.len(), names.len());
}

#[test]
fn messages_of_rules_on_one_field_name_a_right_value() {
    for (kind, schema) in schemas() {
        collect(&schema, &mut Vec::new(), &mut |path, rule| {
            let message = message_of(&schema, path, rule);
            let says = ["such as '", "stays ", "may grow", "leave it out"];
            assert!(says.iter().any(|says| message.contains(says)), "{kind} {path:?}: {message}");
        });
    }
}

#[test]
fn the_group_and_version_are_what_the_crate_says() {
    assert_eq!(crds::ChatSession::api_version(&()), format!("{}/{}", crds::GROUP, crds::VERSION));
}

/// Whether there is a value at the rule's place, and an old one where the rule compares.
fn looks_at(schema: &Value, case: &Case, path: &str, rule: &str) -> bool {
    let there = |object: &Value| {
        let object = kube_cel::apply_defaults(schema, object);
        path.split('.').filter(|part| !part.is_empty()).try_fold(&object, step).is_some()
    };
    let is_transition = rule.contains("oldSelf");
    there(&case.object()) && (!is_transition || case.old().is_some_and(|old| there(&old)))
}

fn step<'a>(value: &'a Value, part: &str) -> Option<&'a Value> {
    match part.strip_suffix("[]") {
        Some(part) => value.get(part)?.get(0),
        None => value.get(part),
    }
}

fn collect(schema: &Value, path: &mut Vec<String>, found: &mut impl FnMut(&[String], &str)) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        found(path, rule["rule"].as_str().unwrap_or_default());
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let list = &field["items"];
        path.push(if list.is_object() { format!("{name}[]") } else { name.clone() });
        collect(field, path, found);
        collect(list, path, found);
        path.pop();
    }
}

fn message_of(schema: &Value, path: &[String], rule: &str) -> String {
    let place = path.iter().fold(schema, |schema, part| match part.strip_suffix("[]") {
        Some(part) => &schema["properties"][part]["items"],
        None => &schema["properties"][part],
    });
    let rules = place["x-kubernetes-validations"].as_array().into_iter().flatten();
    let found = rules.into_iter().find(|found| found["rule"] == rule);
    let text = found.and_then(|found| found["messageExpression"].as_str().or(found["message"].as_str()));
    text.unwrap_or_default().to_owned()
}

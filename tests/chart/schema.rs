//! Values: each is described, each has a schema, and what is not a value is refused by name.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::rendered::{directory, refused, template};

fn schema(chart: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(directory(chart).join("values.schema.json"))?)?)
}

fn values(chart: &str) -> Result<Value> {
    let text = std::fs::read_to_string(directory(chart).join("values.yaml"))?;
    serde_saphyr::from_str(&text).context("values.yaml")
}

/// Follows a reference to `$defs`.
fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/$defs/"));
    reference.map_or(schema, |name| &root["$defs"][name])
}

#[test]
fn every_default_has_a_schema_and_every_schema_a_default() -> Result<()> {
    fn compare(root: &Value, at: &str, schema: &Value, value: &Value) {
        let schema = resolved(root, schema);
        let Some(properties) = schema["properties"].as_object() else { return };
        // A value without parts, such as resources, is described as a whole.
        let Some(parts) =
            value.as_object().filter(|_| schema.get("$comment").is_some() || !at.ends_with("resources"))
        else {
            return;
        };
        for name in parts.keys() {
            assert!(properties.contains_key(name), "{at}.{name} has no schema");
        }
        for (name, schema) in properties {
            if name == "global" {
                continue;
            }
            let part = parts.get(name);
            assert!(part.is_some(), "{at}.{name} has no default");
            if let Some(part) = part {
                compare(root, &format!("{at}.{name}"), schema, part);
            }
        }
    }
    for chart in ["gadget", "gadget-crds"] {
        let schema = schema(chart)?;
        compare(&schema, chart, &schema, &values(chart)?);
    }
    Ok(())
}

#[test]
fn no_object_of_the_schema_takes_names_that_nobody_knows() -> Result<()> {
    fn check(at: &str, schema: &Value) {
        match schema {
            Value::Object(fields) => {
                let object = fields.get("type").is_some_and(|kind| kind == "object");
                if object && !fields.contains_key("$comment") {
                    // A map with names of the user's own says what its values are.
                    let closed = match fields.get("additionalProperties") {
                        Some(Value::Bool(open)) => !open,
                        Some(Value::Object(_)) => true,
                        _ => false,
                    };
                    assert!(closed, "{at} takes anything");
                }
                for (name, part) in fields {
                    check(&format!("{at}/{name}"), part);
                }
            }
            Value::Array(parts) => parts.iter().for_each(|part| check(at, part)),
            _ => {}
        }
    }
    for chart in ["gadget", "gadget-crds"] {
        check(chart, &schema(chart)?);
    }
    // What is left open is what the API server checks.
    let text = std::fs::read_to_string(directory("gadget").join("values.schema.json"))?;
    assert_eq!(text.matches("\"additionalProperties\": true").count(), 2);
    Ok(())
}

/// Lines of `values.yaml` that set a value of the chart, with whether the line before describes it.
fn described(text: &str) -> BTreeMap<String, bool> {
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut described = BTreeMap::new();
    let mut before = "";
    let mut inside: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let own = line.trim();
        if inside.is_some_and(|outer| indent > outer) {
            continue;
        }
        inside = None;
        if let Some((name, value)) = own.split_once(':').filter(|_| !own.starts_with('#')) {
            path.retain(|(at, _)| *at < indent);
            path.push((indent, name.to_owned()));
            let is_described = before.trim().starts_with("# -- ");
            if is_described && value.trim().is_empty() {
                // Described as a whole: what is below is its default.
                inside = Some(indent);
            }
            if is_described || !value.trim().is_empty() {
                let name = path.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(".");
                described.insert(name, is_described);
            }
        }
        before = line;
    }
    described
}

#[test]
fn every_value_is_described_in_one_line() -> Result<()> {
    for (chart, least) in [("gadget", 90), ("gadget-crds", 4)] {
        let text = std::fs::read_to_string(directory(chart).join("values.yaml"))?;
        let described = described(&text);
        assert!(described.len() >= least, "{}", described.len());
        let bare: Vec<_> = described.iter().filter(|(_, is)| !**is).map(|(name, _)| name).collect();
        assert_eq!(bare, Vec::<&String>::new());
    }
    Ok(())
}

#[test]
fn a_name_that_is_no_value_is_refused_wherever_it_stands() -> Result<()> {
    fn objects(root: &Value, at: &str, schema: &Value, into: &mut Vec<String>) {
        let schema = resolved(root, schema);
        if let Some(properties) = schema["properties"].as_object() {
            into.push(at.to_owned());
            for (name, part) in properties {
                objects(root, &format!("{at}{name}."), part, into);
            }
        }
    }
    let schema = schema("gadget")?;
    let mut places = Vec::new();
    objects(&schema, "", &schema, &mut places);
    assert!(places.len() > 30, "{places:?}");
    // All in one run: helm names each.
    let mut wrong = Value::Object(Map::new());
    for place in &places {
        let mut at = &mut wrong;
        for part in place.split('.').filter(|part| !part.is_empty()) {
            at = at.as_object_mut().unwrap().entry(part).or_insert_with(|| Value::Object(Map::new()));
        }
        at["colour"] = "red".into();
    }
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("values.json");
    std::fs::write(&file, wrong.to_string())?;
    let words = refused(&[&format!("--values={}", file.display())])?;
    for place in places {
        let at = format!("at '/{}'", place.trim_end_matches('.').replace('.', "/"));
        let at = if place.is_empty() { "at ''".to_owned() } else { at };
        let line = format!("{at}: additional properties 'colour' not allowed");
        assert!(words.contains(&line), "{at}: {words}");
    }
    Ok(())
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_by_its_name() -> Result<()> {
    let wrong = [
        ("operator.replicas=3", "/operator/replicas"),
        ("operator.replicas=0", "/operator/replicas"),
        ("hub.demo=perhaps", "/hub/demo"),
        ("hub.service.port=70000", "/hub/service/port"),
        ("hub.service.type=Service", "/hub/service/type"),
        ("hub.signInHours=0", "/hub/signInHours"),
        ("hub.publicUrl=gadget.example", "/hub/publicUrl"),
        ("hub.limits.prompt=-1", "/hub/limits/prompt"),
        ("hub.resources=1", "/hub/resources"),
        ("hub.log.format=xml", "/hub/log/format"),
        ("hub.extraEnv={a}", "/hub/extraEnv/0"),
        ("store.size=10 GB", "/store/size"),
        ("store.size=0", "/store/size"),
        ("store.accessMode=ReadWriteMany", "/store/accessMode"),
        ("image.tag=a b", "/image/tag"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("drones.namespace=Tools", "/drones/namespace"),
        ("drones.className=Large", "/drones/className"),
        ("drones.class.idleTimeout=30", "/drones/class/idleTimeout"),
        ("drones.class.idleTimeout=half an hour", "/drones/class/idleTimeout"),
        ("drones.class.workspace.retention=Keep", "/drones/class/workspace/retention"),
        ("drones.class.failurePolicy.maxRestarts=0", "/drones/class/failurePolicy/maxRestarts"),
        ("drones.class.env[0].name=1A", "/drones/class/env/0"),
        ("networkPolicy.drones.internet=1", "/networkPolicy/drones/internet"),
        ("networkPolicy.drones.privateRanges={10.0.0.0}", "/networkPolicy/drones/privateRanges/0"),
        ("networkPolicy.drones.classes.a.web=true", "/networkPolicy/drones/classes/a"),
        ("networkPolicy.hub.allow=Everybody", "/networkPolicy/hub/allow"),
        ("ingress.host=a/b", "/ingress/host"),
        ("metrics.serviceMonitor.interval=often", "/metrics/serviceMonitor/interval"),
        ("userPolicy.handle=", "/userPolicy/handle"),
        ("fullnameOverride=Gadget", "/fullnameOverride"),
        ("crds.install=2", "/crds/install"),
    ];
    for (set, place) in wrong {
        let words = refused(&["--set", set])?;
        assert!(words.contains(&format!("at '{place}")), "{set}: {words}");
    }
    Ok(())
}

#[test]
fn null_takes_a_default_away_where_there_is_one_to_fall_back_to() -> Result<()> {
    for set in [
        "hub.limits.prompt=null",
        "drones.class.hostUsers=null",
        "drones.class.failurePolicy.maxRestarts=null",
    ] {
        assert!(template("gadget", &["--set", set])?.status.success(), "{set}");
    }
    Ok(())
}

//! What the definitions hold besides their rules.

use std::collections::BTreeMap;

use serde_json::Value;

#[test]
fn every_field_is_described() {
    for (kind, schema) in schemas() {
        let mut bare = Vec::new();
        undescribed(&schema, "", &mut bare);
        assert!(bare.is_empty(), "{kind}: without a description: {bare:?}");
    }
}

#[test]
fn no_field_takes_anything() {
    for (kind, schema) in schemas() {
        let text = schema.to_string();
        assert!(!text.contains("x-kubernetes-preserve-unknown-fields"), "{kind}");
        assert!(
            !text.contains("\"format\":\"uint"),
            "{kind} has unsigned numbers, which Kubernetes does not know"
        );
    }
}

#[test]
fn what_is_selected_by_and_shown_is_a_field() {
    for definition in crds::all() {
        let kind = definition.spec.names.kind.clone();
        let schema = &schemas()[&kind];
        let version = &definition.spec.versions[0];
        let selectable = version.selectable_fields.iter().flatten().map(|field| &field.json_path);
        let shown = version.additional_printer_columns.iter().flatten().map(|column| &column.json_path);
        for path in selectable.chain(shown).filter(|path| !path.starts_with(".metadata")) {
            let plain = path.split('[').next().unwrap_or_default();
            let field = plain.trim_matches('.').split('.').try_fold(schema, |schema, name| {
                schema.get("properties").and_then(|properties| properties.get(name))
            });
            assert!(field.is_some(), "{kind}: {path} is no field");
        }
    }
}

#[test]
fn the_examples_are_objects_of_their_kinds() {
    let session: crds::ChatSession =
        serde_saphyr::from_str(include_str!("../../examples/minimal.yaml")).unwrap();
    assert_eq!(session.spec.user, "ada");
    let session: crds::ChatSession =
        serde_saphyr::from_str(include_str!("../../examples/full.yaml")).unwrap();
    assert!(session.spec.workspace.is_some_and(|workspace| workspace.size.is_some()));
    let class: crds::DroneClass =
        serde_saphyr::from_str(include_str!("../../examples/drone-class.yaml")).unwrap();
    assert!(!class.spec.env.is_empty());
}

#[test]
fn the_chart_has_the_definitions_that_come_of_the_types() {
    let files = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/gadget-crds/files");
    for definition in crds::all() {
        let name = format!("{}.yaml", definition.spec.names.plural);
        let committed = std::fs::read_to_string(files.join(&name)).unwrap_or_default();
        let fresh = serde_saphyr::to_string(&definition).unwrap();
        assert!(committed == fresh, "{name} is stale: run `cargo xtask generate` and commit");
    }
}

/// By kind.
pub(crate) fn schemas() -> BTreeMap<String, Value> {
    let definitions = crds::all().into_iter().map(|definition| {
        let schema = serde_json::to_value(&definition.spec.versions[0].schema).unwrap_or_default();
        (definition.spec.names.kind, schema["openAPIV3Schema"].clone())
    });
    definitions.collect()
}

/// `apiVersion`, `kind` and `metadata` are described by Kubernetes; an entry of a map or list has no name to describe.
fn undescribed(schema: &Value, path: &str, bare: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        if field["description"].as_str().is_none_or(str::is_empty) {
            bare.push(path.clone());
        }
        undescribed(field, &path, bare);
        undescribed(&field["items"], &path, bare);
    }
}

//! The chart of the definitions.

use anyhow::Result;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use crate::rendered::{Rendered, directory};

#[test]
fn the_chart_installs_the_definitions_that_the_types_make() -> Result<()> {
    let rendered = Rendered::chart("gadget-crds", &[])?;
    assert_eq!(rendered.objects.len(), 3);
    for definition in crds::all() {
        let name = definition.metadata.name.clone().unwrap();
        let installed: CustomResourceDefinition = rendered.typed("CustomResourceDefinition", &name)?;
        assert_eq!(
            serde_json::to_value(&installed.spec)?,
            serde_json::to_value(&definition.spec)?,
            "{name}: run `cargo run -p crds --bin crdgen charts/gadget-crds/files`"
        );
    }
    Ok(())
}

#[test]
fn the_files_are_what_crdgen_writes() -> Result<()> {
    let mut files = std::fs::read_dir(directory("gadget-crds").join("files"))?
        .map(|entry| Ok(entry?.file_name().into_string().unwrap()))
        .collect::<Result<Vec<_>>>()?;
    files.sort();
    assert_eq!(files, ["chatsessions.yaml", "droneclasses.yaml", "droneregistrations.yaml"]);
    for definition in crds::all() {
        let path =
            directory("gadget-crds").join("files").join(format!("{}.yaml", definition.spec.names.plural));
        // The order of the fields is `cargo xtask generate --check`'s to look at: it follows from how this test is built.
        let written: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path)?)?;
        assert!(
            written == serde_json::to_value(&definition)?,
            "{} is old: run `cargo run -p crds --bin crdgen charts/gadget-crds/files`",
            path.display()
        );
    }
    Ok(())
}

#[test]
fn definitions_stay_unless_told_otherwise() -> Result<()> {
    let annotations = |arguments: &[&str]| -> Result<Vec<Value>> {
        let rendered = Rendered::chart("gadget-crds", arguments)?;
        Ok(rendered.objects.iter().map(|object| object["metadata"]["annotations"].clone()).collect())
    };
    for of_one in annotations(&["--set=annotations.a=b"])? {
        assert_eq!(of_one, serde_json::json!({ "helm.sh/resource-policy": "keep", "a": "b" }));
    }
    for of_one in annotations(&["--set=keep=false"])? {
        assert_eq!(of_one, Value::Null);
    }
    Ok(())
}

#[test]
fn the_chart_of_gadget_brings_them_along_or_leaves_them() -> Result<()> {
    let with = Rendered::chart("gadget", &["--set=crds.labels.team=tools"])?;
    assert_eq!(with.of_kind("CustomResourceDefinition").count(), 3);
    for definition in with.of_kind("CustomResourceDefinition") {
        let labels = &definition["metadata"]["labels"];
        assert_eq!(labels["team"], "tools");
        assert_eq!(labels["app.kubernetes.io/component"], "crds");
        assert_eq!(labels["helm.sh/chart"], "gadget-crds-0.1.0");
    }
    let without = Rendered::gadget(&[])?;
    assert_eq!(without.of_kind("CustomResourceDefinition").count(), 0);
    Ok(())
}

//! Prints a custom resource definition as YAML, or writes all of them into a directory: what the chart installs.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        bail!("usage: crdgen DIRECTORY; writes one file for each custom resource definition");
    };
    let directory = PathBuf::from(directory);
    std::fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
    for definition in crds::all() {
        let path = directory.join(format!("{}.yaml", definition.spec.names.plural));
        let text = serde_saphyr::to_string(&definition).context("failed to write a definition as YAML")?;
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

//! Generated files that are committed: the built page, so that building the hub needs no Node, and the definitions of
//! custom resources in their chart, so that a change of theirs is seen in review.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::node::Node;
use crate::process::Runner;
use crate::workspace;

pub(crate) async fn run(runner: &Runner, check: bool) -> Result<()> {
    let definitions = workspace::root()?.join("charts/gadget-crds/files");
    let built = build_definitions(runner).await?;
    settle(check, built.path(), &definitions, "charts/gadget-crds/files")?;
    let node = match Node::require(runner).await? {
        Ok(node) => node,
        Err(missing) => bail!("the page cannot be built: {missing}"),
    };
    let web = web_directory()?;
    let built = build_page(runner, &node, &web).await?;
    settle(check, built.path(), &web.join("dist"), "hub/web/dist")
}

/// Writes what differs, or fails where nothing may be written.
fn settle(check: bool, built: &Path, committed: &Path, name: &str) -> Result<()> {
    let differences = differences(built, committed)?;
    if differences.is_empty() {
        println!("{name} is what its sources give");
        return Ok(());
    }
    if check {
        bail!("{name} is stale ({}); run `cargo xtask generate` and commit", differences.join(", "));
    }
    replace(built, committed)?;
    println!("wrote {name}: {}", differences.join(", "));
    Ok(())
}

/// The definitions of custom resources, one file each.
async fn build_definitions(runner: &Runner) -> Result<tempfile::TempDir> {
    let directory = tempfile::tempdir().context("failed to make a temporary directory")?;
    let mut crdgen = Command::new(workspace::cargo());
    crdgen.current_dir(workspace::root()?);
    crdgen.args(["run", "--quiet", "--package", "crds", "--bin", "crdgen", "--"]).arg(directory.path());
    runner.run(&mut crdgen).await?;
    Ok(directory)
}

pub(crate) fn web_directory() -> Result<PathBuf> {
    Ok(workspace::root()?.join("hub/web"))
}

/// Builds the page into a directory of its own.
pub(crate) async fn build_page(runner: &Runner, node: &Node, web: &Path) -> Result<tempfile::TempDir> {
    node.install(runner, web).await?;
    let page = tempfile::tempdir().context("failed to make a temporary directory")?;
    let mut build = node.npm(web);
    build.args(["run", "--silent", "build", "--", "--emptyOutDir", "--outDir"]).arg(page.path());
    runner.run(&mut build).await?;
    Ok(page)
}

/// The names of files that are not the same in both directories.
pub(crate) fn differences(built: &Path, committed: &Path) -> Result<Vec<String>> {
    let built = files(built)?;
    let mut committed = files(committed)?;
    let mut differences = Vec::new();
    for (name, content) in built {
        match committed.remove(&name) {
            Some(there) if there == content => {}
            Some(_) => differences.push(format!("{name} differs")),
            None => differences.push(format!("{name} is missing")),
        }
    }
    differences.extend(committed.into_keys().map(|name| format!("{name} is too many")));
    Ok(differences)
}

/// All files below a directory by their relative name; none when it is not there.
fn files(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(next) = open.pop() {
        let entries = match std::fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("failed to read {}", next.display())),
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(directory)?.to_string_lossy().into_owned();
            let content =
                std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
            found.insert(name, content);
        }
    }
    Ok(found)
}

fn replace(built: &Path, committed: &Path) -> Result<()> {
    if committed.exists() {
        std::fs::remove_dir_all(committed)
            .with_context(|| format!("failed to empty {}", committed.display()))?;
    }
    for (name, content) in files(built)? {
        let path = committed.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_difference_is_named_and_replacing_mends_it() {
        let (built, committed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |directory: &Path, name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(built.path(), "same", "1");
        write(committed.path(), "same", "1");
        write(built.path(), "assets/changed", "new");
        write(committed.path(), "assets/changed", "old");
        write(built.path(), "assets/added", "1");
        write(committed.path(), "gone", "1");
        assert_eq!(
            differences(built.path(), committed.path()).unwrap(),
            ["assets/added is missing", "assets/changed differs", "gone is too many"]
        );
        replace(built.path(), committed.path()).unwrap();
        assert!(differences(built.path(), committed.path()).unwrap().is_empty());
    }
}

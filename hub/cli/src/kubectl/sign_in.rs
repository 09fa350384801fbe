//! Sign-ins to the hubs of clusters: one for each API server and namespace, in a file that only the user can read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::data_dir::write_private;

#[derive(Debug, Default, Serialize, Deserialize)]
struct SignIns(BTreeMap<String, String>);

fn path() -> anyhow::Result<PathBuf> {
    let settings = dirs::config_dir().context("this user has no directory for settings: set HOME")?;
    Ok(settings.join("gadget").join("cluster-sign-ins.json"))
}

fn key(server: &str, namespace: &str) -> String {
    format!("{} {namespace}", server.trim_end_matches('/'))
}

/// The token for a hub, where somebody has signed in.
pub(super) fn token(server: &str, namespace: &str) -> anyhow::Result<Option<String>> {
    Ok(read(&path()?)?.0.remove(&key(server, namespace)))
}

pub(super) fn remember(server: &str, namespace: &str, token: &str) -> anyhow::Result<()> {
    let path = path()?;
    let mut all = read(&path)?;
    all.0.insert(key(server, namespace), token.to_owned());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("failed to make {}", parent.display()))?;
    }
    write_private(&path, &serde_json::to_vec(&all)?)
        .with_context(|| format!("failed to write {}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<SignIns> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged: delete it and sign in again", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(SignIns::default()),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hubs_of_a_cluster_are_told_apart() {
        assert_eq!(key("https://one:6443/", "team"), key("https://one:6443", "team"));
        assert_ne!(key("https://one:6443", "team"), key("https://one:6443", "other"));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster-sign-ins.json");
        assert!(read(&path).unwrap().0.is_empty());
        std::fs::write(&path, "{").unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("delete it and sign in again"));
    }
}

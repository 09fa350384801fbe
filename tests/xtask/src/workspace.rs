//! Where things are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the repository that this program was built from.
pub(crate) fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).map(Path::to_path_buf).context("this program was built outside of its repository")
}

/// Where parts that were fetched or built are kept between runs, by name and version.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("gadget"))
}

/// A program of the workspace, beside this one: all are built into one target directory.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("failed to find this program")?;
    Ok(this.with_file_name(name))
}

/// The cargo that called this program.
pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

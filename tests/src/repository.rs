//! Real git repositories on disk, to be cloned from.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tokio::process::Command;

/// A repository with one commit, as a remote.
#[derive(Debug)]
pub struct Repository {
    directory: tempfile::TempDir,
}

impl Repository {
    /// Each file is a name and its content.
    pub async fn with(files: &[(&str, &str)]) -> Result<Self> {
        let repository = Self { directory: tempfile::tempdir()? };
        git(repository.path(), &["init", "--quiet", "--initial-branch=main"]).await?;
        for (name, content) in files {
            let path = repository.path().join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(path, content)?;
        }
        git(repository.path(), &["add", "--all"]).await?;
        git(repository.path(), &["commit", "--quiet", "--allow-empty", "--message", "Begin"]).await?;
        Ok(repository)
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What a project's `gitUrl` says.
    pub fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }
}

/// Runs git without anything of the user's own settings. Returns what it writes to stdout.
pub async fn git(directory: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        bail!("git {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The only git checkout right below a workspace.
pub fn checkout_in(workspace: &Path) -> Result<PathBuf> {
    for entry in std::fs::read_dir(workspace)? {
        let path = entry?.path();
        if path.join(".git").exists() {
            return Ok(path);
        }
    }
    bail!("no checkout in {}", workspace.display())
}

//! The tour's toy repository: a calculator for the shell with one failing test. It needs nothing but `sh`.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is wrong with the calculator, and how it is mended.
pub(super) const BROKEN: &str = "mul() { echo $(($1 + $2)); }";
pub(super) const MENDED: &str = "mul() { echo $(($1 * $2)); }";

pub(super) const FILES: &[(&str, &str)] = &[
    ("AGENTS.md", include_str!("toy/AGENTS.md")),
    ("README.md", include_str!("toy/README.md")),
    ("calc.sh", include_str!("toy/calc.sh")),
    ("tests/run.sh", include_str!("toy/tests/run.sh")),
];

/// Makes them one commit where they lie in a workspace; it may not have a repository or an author yet.
pub(super) const COMMIT: &str = "git init --quiet && git add --all && \
     git -c user.name=Gadget -c user.email=demo@gadget.invalid commit --quiet --message='Add a calculator'";

#[derive(Debug, thiserror::Error)]
pub enum ToyError {
    #[error("failed to write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("failed to start git; is it installed?")]
    Start {
        #[source]
        source: io::Error,
    },
    #[error("git {command} failed: {message}")]
    Git { command: String, message: String },
}

/// Makes a bare git repository at `dir` with the toy's files in one commit, the same down to the commit's id each time.
/// A repository that is there already is left as it is.
pub fn write_toy_repository(dir: &Path) -> Result<(), ToyError> {
    if dir.join("HEAD").exists() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(|source| ToyError::Write { path: parent.to_owned(), source })?;
    let scratch = tempfile::Builder::new()
        .prefix(".toy-")
        .tempdir_in(parent)
        .map_err(|source| ToyError::Write { path: parent.to_owned(), source })?;
    let (tree, bare) = (scratch.path().join("tree"), scratch.path().join("bare"));
    for (name, content) in FILES {
        write(&tree.join(name), content)?;
    }
    git(&tree, ["init", "--quiet", "--initial-branch=main"])?;
    git(&tree, ["add", "--all"])?;
    git(&tree, ["commit", "--quiet", "--message=Add a calculator"])?;
    git(&tree, ["init", "--quiet", "--bare", "--initial-branch=main", "../bare"])?;
    git(&tree, ["push", "--quiet", "../bare", "main"])?;
    // Only a whole repository ever appears under its name.
    fs::rename(&bare, dir).map_err(|source| ToyError::Write { path: dir.to_owned(), source })
}

fn write(path: &Path, content: &str) -> Result<(), ToyError> {
    let failed = |source| ToyError::Write { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    fs::write(path, content).map_err(failed)
}

/// Runs git without the settings of whoever starts it: they would change the commit's id, or ask for a signature.
fn git<const N: usize>(dir: &Path, arguments: [&str; N]) -> Result<(), ToyError> {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(["-c", "core.autocrlf=false"]).args(arguments);
    for inherited in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(inherited);
    }
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", OsStr::new("/dev/null"));
    for prefix in ["GIT_AUTHOR", "GIT_COMMITTER"] {
        command
            .env(format!("{prefix}_NAME"), "Gadget")
            .env(format!("{prefix}_EMAIL"), "demo@gadget.invalid")
            .env(format!("{prefix}_DATE"), "2026-01-01T00:00:00+0000");
    }
    let output = command.output().map_err(|source| ToyError::Start { source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(ToyError::Git {
        command: arguments.first().map(ToString::to_string).unwrap_or_default(),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

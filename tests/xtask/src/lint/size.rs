//! No Rust file may grow too long to be read at one go.

use std::path::Path;

use anyhow::Result;
use tokio::process::Command;

use crate::process::Runner;

const MOST_LINES: usize = 800;

pub(super) async fn violations(runner: &Runner, root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard", "--", "*.rs"]);
    let mut violations = Vec::new();
    for name in runner.output(&mut git).await?.lines() {
        // A file that was deleted and not yet committed is still listed.
        let Ok(text) = std::fs::read_to_string(root.join(name)) else { continue };
        let lines = text.lines().count();
        if lines > MOST_LINES {
            violations.push(format!("{name} has {lines} lines, at most {MOST_LINES} are allowed: split it"));
        }
    }
    Ok(violations)
}

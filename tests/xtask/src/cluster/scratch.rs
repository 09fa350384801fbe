//! Clusters that are made for one run of the tests or the benches.

use anyhow::{Context as _, Result};

use crate::cluster::{Place, down};
use crate::workspace;

/// A place for one run: not the one of `cargo xtask cluster`, which somebody may be using, nor that of another run that goes on.
pub(crate) async fn scratch() -> Result<Place> {
    const PREFIX: &str = "cluster-run-";
    let cache = workspace::cache()?;
    std::fs::create_dir_all(&cache).with_context(|| format!("failed to create {}", cache.display()))?;
    for entry in std::fs::read_dir(&cache).with_context(|| format!("failed to read {}", cache.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse().ok());
        let Some(run) = run else { continue };
        // Of one that was killed, so that it took nothing away.
        if nix::sys::signal::kill(nix::unistd::Pid::from_raw(run), None).is_err() {
            down(&Place::at(&entry.path())?).await?;
        }
    }
    Place::at(&cache.join(format!("{PREFIX}{}", std::process::id())))
}

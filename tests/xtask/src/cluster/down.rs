//! Takes a cluster away. Calls no program, so that it can be called while everything else is being stopped.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cluster::place::{FIXED, Place, is_mounted_over};

/// For each of the steps.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);

pub(crate) async fn down(place: &Place) -> Result<()> {
    stop(place).await?;
    match std::fs::remove_dir_all(place.directory()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", place.directory().display()))
        }
        _ => Ok(()),
    }
}

/// Ends all that runs, and removes what cannot outlive it. Nothing does any more when this has returned.
pub(super) async fn stop(place: &Place) -> Result<()> {
    if let Some(pid) = place.supervisor() {
        let pid = Pid::from_raw(pid);
        let gone = async || {
            while place.supervisor().is_some() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _already_gone = kill(pid, Signal::SIGTERM);
        if tokio::time::timeout(PATIENCE, gone()).await.is_err() {
            let _already_gone = kill(pid, Signal::SIGKILL);
            tokio::time::timeout(PATIENCE, gone()).await.context("the supervisor does not end")?;
        }
    }
    // The kernel has ended the rest by then, but may not have let go of it.
    let groups = place.control_groups();
    let removing = async {
        while groups.iter().any(|group| remove_group(group).is_err()) {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(PATIENCE, removing).await.is_err() {
        bail!("the control groups {} are in use", place.id());
    }
    let link = Path::new("/sys/class/net").join(place.id());
    let removing = async {
        while link.exists() {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(PATIENCE, removing).await.is_err() {
        bail!("the link {} is still there: `ip link del` it", place.id());
    }
    for fixed in made(place).into_iter().filter(|fixed| !is_mounted_over(fixed)) {
        // Somebody else may use it by now.
        let _in_use = std::fs::remove_dir(fixed);
    }
    Ok(())
}

/// Those of the fixed places that were not there before the cluster was.
fn made(place: &Place) -> Vec<&'static str> {
    let text = std::fs::read_to_string(place.path("made")).unwrap_or_default();
    FIXED.into_iter().filter(|fixed| text.lines().any(|line| line == *fixed)).collect()
}

/// Groups are removed as empty directories, the innermost first.
fn remove_group(group: &Path) -> std::io::Result<()> {
    if !group.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    std::fs::remove_dir(group)
}

//! Keeps a command's writes where they belong, by Landlock: needs no rights, no namespaces and no container features.
//!
//! Reading is not restricted: what must not be read by an agent must not be in its pod. Signals to processes outside
//! the job are refused too where the kernel can, so that a careless `pkill` does not end the drone.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use crate::path::OWN;

/// Needed: with the first version no file could be moved between directories. What later versions add is used where
/// the kernel has it.
const NEEDED: ABI = ABI::V2;
const WISHED: ABI = ABI::V3;

/// Devices that every program may write to.
const DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/shm",
];
const TEMPORARY: &[&str] = &["/tmp", "/var/tmp"];

/// Where a command may write: the checkouts unless the mode forbids it, scratch and cache directories, devices. Never
/// the drone's own records.
pub(super) fn writable(workspace: &Path, projects: Projects, extra: &[PathBuf]) -> Vec<PathBuf> {
    let own = workspace.join(OWN);
    let mut places: Vec<PathBuf> = DEVICES.iter().map(PathBuf::from).collect();
    places.extend([own.join("tmp"), own.join("cache")]);
    // A rule for a directory holds for all below it: one above the workspace would open the drone's records.
    let harmless = |place: &PathBuf| !workspace.starts_with(place) && !place.starts_with(&own);
    places.extend(TEMPORARY.iter().map(PathBuf::from).filter(harmless));
    places.extend(extra.iter().filter(|place| harmless(place)).cloned());
    if projects == Projects::Writable
        && let Ok(entries) = std::fs::read_dir(workspace)
    {
        // A link would open what it points to.
        let real = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
        places.extend(real.map(|entry| entry.path()).filter(|path| *path != own));
    }
    places
}

/// Whether the checkouts may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Projects {
    Writable,
    ReadOnly,
}

/// Confines the calling thread and all that it starts, for good. False: this kernel cannot.
pub(super) fn enter(writable: &[PathBuf]) -> Result<bool, RulesetError> {
    let write = AccessFs::from_write(WISHED);
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let ruleset = match ruleset.handle_access(AccessFs::from_write(NEEDED)) {
        Ok(ruleset) => ruleset,
        Err(_unsupported) => return Ok(false),
    };
    let status = ruleset
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(write)?
        .scope(Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(writable, write))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced
        && matches!(status.landlock, LandlockStatus::Available { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_directories_above_the_workspace_are_not_opened() {
        let inside =
            writable(Path::new("/tmp/x/workspace"), Projects::ReadOnly, &["/tmp/x".into(), "/opt/c".into()]);
        assert!(!inside.contains(&"/tmp".into()) && !inside.contains(&"/tmp/x".into()));
        assert!(inside.contains(&"/var/tmp".into()) && inside.contains(&"/opt/c".into()));
        assert!(inside.contains(&"/tmp/x/workspace/.gadget/tmp".into()));
    }

    #[test]
    fn all_checkouts_or_none_are_writable() {
        let workspace = tempfile::tempdir().unwrap();
        for name in ["one", "two", OWN] {
            std::fs::create_dir(workspace.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink("/etc", workspace.path().join("link")).unwrap();
        let open = writable(workspace.path(), Projects::Writable, &[]);
        assert!(!open.contains(&workspace.path().join("link")));
        let closed = writable(workspace.path(), Projects::ReadOnly, &[]);
        for name in ["one", "two"] {
            assert!(open.contains(&workspace.path().join(name)));
            assert!(!closed.contains(&workspace.path().join(name)));
        }
        assert!(!open.contains(&workspace.path().join(OWN)));
    }
}

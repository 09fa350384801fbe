//! Where a cluster keeps what it has, and what on the machine is named after it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::workspace;

/// A socket's path must be shorter than 108 bytes.
const LONGEST: usize = 80;
/// Places that programs write to and that cannot be moved by a setting: in the cluster's mounts, directories of ours.
pub(super) const FIXED: [&str; 4] =
    ["/var/lib/kubelet", "/var/lib/cni", "/run/containerd", "/var/log/containers"];

/// In a cluster's directory: which process its supervisor is.
const SUPERVISOR: &str = "supervisor.json";

/// Whether any process sees something else mounted there, as another cluster does. The kernel would take that mount away
/// together with the directory, and with it all that the other cluster's containers are known by.
pub(super) fn is_mounted_over(directory: &str) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut seen =
        processes.filter_map(|process| std::fs::read_to_string(process.path().join("mountinfo")).ok());
    seen.any(|mounts| mounts.lines().any(|mount| mount.split(' ').nth(4) == Some(directory)))
}

/// One cluster: all follows from its directory.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    directory: PathBuf,
    hash: [u8; 4],
}

impl Place {
    pub(crate) fn usual() -> Result<Self> {
        Self::at(&workspace::cache()?.join("cluster"))
    }

    pub(crate) fn at(directory: &Path) -> Result<Self> {
        let directory = std::path::absolute(directory)
            .with_context(|| format!("failed to find {}", directory.display()))?;
        if directory.as_os_str().len() > LONGEST {
            bail!(
                "{} is longer than {LONGEST} characters, too long for the sockets in it; choose another --directory",
                directory.display()
            );
        }
        let digest = Sha256::digest(directory.as_os_str().as_bytes());
        let hash = [digest[0], digest[1], digest[2], digest[3]];
        Ok(Self { directory, hash })
    }

    /// Of the cluster that runs and has this file, if one of ours does.
    pub(crate) fn of(kubeconfig: &Path) -> Result<Option<Self>> {
        let kubeconfig = std::path::absolute(kubeconfig)?;
        let Some(directory) = kubeconfig.parent().filter(|directory| directory.join(SUPERVISOR).is_file())
        else {
            return Ok(None);
        };
        let place = Self::at(directory)?;
        Ok((place.kubeconfig() == kubeconfig && place.supervisor().is_some()).then_some(place))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// Names what is not in the directory: the link, and the control groups.
    pub(super) fn id(&self) -> String {
        format!("gadget-{:02x}{:02x}{:02x}", self.hash[0], self.hash[1], self.hash[2])
    }

    /// The machine's end of the link; the node's is the next one. Of 10.254.0.0/16, in fours.
    pub(super) fn host_address(&self) -> String {
        format!("10.254.{}.{}", self.hash[0], (self.hash[1] & 0xfc) | 1)
    }

    pub(super) fn node_address(&self) -> String {
        format!("10.254.{}.{}", self.hash[0], (self.hash[1] & 0xfc) | 2)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.path("containerd.sock")
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.path("admin.kubeconfig")
    }

    /// Where a fixed place really is.
    pub(super) fn instead_of(&self, fixed: &str) -> PathBuf {
        self.path("instead").join(fixed.trim_start_matches('/').replace('/', "-"))
    }

    /// The supervisor, when it is alive.
    pub(crate) fn supervisor(&self) -> Option<i32> {
        let text = std::fs::read_to_string(self.path(SUPERVISOR)).ok()?;
        let recorded: Process = serde_json::from_str(&text).ok()?;
        (Process::of(recorded.pid)? == recorded).then_some(recorded.pid)
    }

    pub(super) fn record_supervisor(&self, pid: i32) -> Result<()> {
        let process = Process::of(pid).context("the supervisor ended at once")?;
        std::fs::write(self.path(SUPERVISOR), serde_json::to_string(&process)?)
            .context("failed to record the supervisor")
    }

    /// The directories that this cluster's control groups are, one for each hierarchy of the machine.
    pub(super) fn control_groups(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        if root.join("cgroup.controllers").exists() {
            return vec![root.join(self.id())];
        }
        let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
        // Links are second names of a hierarchy.
        let hierarchies = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        hierarchies.map(|entry| entry.path().join(self.id())).collect()
    }
}

/// A process that no later one is taken for: numbers come back, within a boot and after it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: i32,
    /// Clock ticks after the boot.
    started: String,
    boot: String,
}

impl Process {
    fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        // After the name, which may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        if fields.next()? == "Z" {
            return None;
        }
        Some(Self { pid, started: fields.nth(18)?.to_owned(), boot: boot.trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_in_two_directories_do_not_meet() {
        let (one, other) = (Place::at(Path::new("/a")).unwrap(), Place::at(Path::new("/b")).unwrap());
        assert_ne!(one.id(), other.id());
        assert_ne!(one.host_address(), other.host_address());
        assert_ne!(one.host_address(), one.node_address());
        assert!(one.id().len() < 16, "the name of a link");
    }

    #[test]
    fn a_process_is_known_by_more_than_its_number() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(directory.path()).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(place.supervisor(), None);
        place.record_supervisor(own).unwrap();
        assert_eq!(place.supervisor(), Some(own));
        let (own_file, other) = (place.kubeconfig(), directory.path().join("other.kubeconfig"));
        assert!(Place::of(&own_file).unwrap().is_some() && Place::of(&other).unwrap().is_none());
        let recorded = Process { started: "1".to_owned(), ..Process::of(own).unwrap() };
        std::fs::write(place.path(SUPERVISOR), serde_json::to_string(&recorded).unwrap()).unwrap();
        assert_eq!(place.supervisor(), None);
        assert!(Place::of(&own_file).unwrap().is_none());
    }

    #[test]
    fn a_directory_whose_sockets_would_be_too_long_is_refused() {
        let error = Place::at(Path::new(&format!("/{}", "x".repeat(90)))).unwrap_err();
        assert!(error.to_string().contains("choose another --directory"), "{error}");
    }
}

//! The environment of shell commands: an allow-list, so that no credential that the drone was started with gets to an
//! agent.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::path::OWN;

/// The variable that every process of a job carries.
pub const MARKER: &str = "GADGET_JOB";

/// Handed on from the drone: who and where the user is, how text is written, where toolchains and certificates lie.
const ALLOWED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TERM",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "GOROOT",
    "GOPATH",
    "JAVA_HOME",
    "NVM_DIR",
    "PYENV_ROOT",
    "VIRTUAL_ENV",
];

/// Where package managers keep what they have downloaded, below the home directory.
const CACHES: &[&str] = &[
    ".cache",
    ".cargo/registry",
    ".cargo/git",
    ".npm",
    ".yarn",
    ".local/share/pnpm",
    "go/pkg",
    ".m2/repository",
    ".gradle/caches",
];

/// The environment of a job, from the drone's.
pub(crate) fn build(
    drone: impl Iterator<Item = (OsString, OsString)>,
    also: &[String],
    given: &BTreeMap<String, String>,
    workspace: &Path,
    marker: &str,
) -> BTreeMap<OsString, OsString> {
    let allowed = |name: &OsStr| {
        ALLOWED.iter().any(|allowed| name == *allowed) || also.iter().any(|allowed| name == allowed.as_str())
    };
    let mut environment: BTreeMap<OsString, OsString> = drone.filter(|(name, _)| allowed(name)).collect();
    let own = workspace.join(OWN);
    environment.entry("TERM".into()).or_insert_with(|| "dumb".into());
    environment.insert("TMPDIR".into(), own.join("tmp").into());
    environment.insert("XDG_CACHE_HOME".into(), own.join("cache").into());
    environment.insert("GIT_TERMINAL_PROMPT".into(), "0".into());
    environment.extend(given.iter().map(|(name, value)| (name.into(), value.into())));
    environment.insert(MARKER.into(), marker.into());
    environment
}

/// The directories that the environment names.
pub(crate) fn make_directories(workspace: &Path) -> io::Result<()> {
    let own = workspace.join(OWN);
    fs::create_dir_all(own.join("tmp"))?;
    fs::create_dir_all(own.join("cache"))
}

/// Caches of package managers that are there, so that builds can use and fill them.
pub(super) fn package_caches() -> Vec<PathBuf> {
    let Some(home) = std::env::home_dir() else { return Vec::new() };
    CACHES.iter().map(|cache| home.join(cache)).filter(|cache| cache.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_the_drone_stay_with_the_drone() {
        let drone = [
            ("PATH", "/bin"),
            ("HOME", "/root"),
            ("OPENAI_API_KEY", "sk"),
            ("SPECIAL", "1"),
            ("TMPDIR", "/x"),
        ];
        let given = BTreeMap::from([("GIT_CONFIG_COUNT".to_owned(), "1".to_owned())]);
        let built = build(
            drone.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))),
            &["SPECIAL".to_owned()],
            &given,
            Path::new("/w"),
            "mark",
        );
        let shown: Vec<String> =
            built.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect();
        assert_eq!(
            shown,
            [
                "GADGET_JOB=mark",
                "GIT_CONFIG_COUNT=1",
                "GIT_TERMINAL_PROMPT=0",
                "HOME=/root",
                "PATH=/bin",
                "SPECIAL=1",
                "TERM=dumb",
                "TMPDIR=/w/.gadget/tmp",
                "XDG_CACHE_HOME=/w/.gadget/cache",
            ]
        );
    }
}

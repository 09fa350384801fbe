//! Programs that the tests need and that the system may lack.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tokio::process::Command;
use tokio::time::Instant;

use crate::process::Runner;

/// Where network plugins are: Debian's place, and where everybody else has them.
const NETWORK_PLUGINS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// A program and the Debian package that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Git,
    Chromium,
    Node,
    Npm,
    Buildah,
    Mmdebstrap,
    MuslGcc,
    Containerd,
    Runc,
    Nft,
    Ip,
    Unshare,
    Tmux,
    /// Plugins that give pods their network; programs, but not on the path.
    Cni,
}

impl Tool {
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Chromium => "chromium",
            Self::Node => "node",
            Self::Npm => "npm",
            Self::Buildah => "buildah",
            Self::Mmdebstrap => "mmdebstrap",
            Self::MuslGcc => "musl-gcc",
            Self::Containerd => "containerd",
            Self::Runc => "runc",
            Self::Nft => "nft",
            Self::Ip => "ip",
            Self::Unshare => "unshare",
            Self::Tmux => "tmux",
            Self::Cni => "ptp",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Chromium => "chromium",
            Self::Node => "nodejs",
            Self::Npm => "npm",
            Self::Buildah => "buildah",
            Self::Mmdebstrap => "mmdebstrap",
            Self::MuslGcc => "musl-tools",
            Self::Containerd => "containerd",
            Self::Runc => "runc",
            Self::Nft => "nftables",
            Self::Ip => "iproute2",
            Self::Unshare => "util-linux",
            Self::Tmux => "tmux",
            Self::Cni => "containernetworking-plugins",
        }
    }

    pub(crate) fn find(self) -> Option<PathBuf> {
        match self {
            Self::Cni => NETWORK_PLUGINS
                .map(|place| Path::new(place).join(self.program()))
                .into_iter()
                .find(|file| is_executable(file)),
            _ => find_program(self.program()),
        }
    }
}

/// Makes sure that all are there, installing Debian packages when we may. Otherwise says what is missing.
pub(crate) async fn require(runner: &Runner, tools: &[Tool]) -> Result<Result<(), String>> {
    let missing = || -> Vec<Tool> { tools.iter().copied().filter(|tool| tool.find().is_none()).collect() };
    let lacking = missing();
    if lacking.is_empty() {
        return Ok(Ok(()));
    }
    let packages: Vec<&str> = lacking.iter().map(|tool| tool.package()).collect();
    let advice = format!("missing: {}; install it (Debian: apt-get install {0})", packages.join(" "));
    if !nix::unistd::geteuid().is_root() || find_program("apt-get").is_none() {
        return Ok(Err(advice));
    }
    let began = Instant::now();
    println!("installing Debian packages: {}", packages.join(" "));
    runner.run(apt_get().args(["--quiet", "--quiet", "update"])).await?;
    let mut install = apt_get();
    install.args(["--quiet", "--quiet", "--yes", "--no-install-recommends", "install"]).args(&packages);
    runner.run(&mut install).await?;
    println!("installed {} in {:.0} s", packages.join(" "), began.elapsed().as_secs_f64());
    if missing().is_empty() { Ok(Ok(())) } else { Ok(Err(advice)) }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok()
}

//! Where the programs of the control plane are: `cargo xtask test` builds them and says so by environment.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

const ADVICE: &str = "run `cargo xtask test control-plane`, which builds them; it keeps them in ~/.cache/gadget/kube-…, \
                      and GADGET_KUBE_BIN=<that directory> is enough for `cargo test -p tests --features control-plane`";

#[derive(Clone, Debug)]
pub struct Programs {
    directory: PathBuf,
    helm: PathBuf,
}

impl Programs {
    /// From `GADGET_KUBE_BIN`, and `HELM` or `helm` in the same directory.
    pub fn find() -> Result<Self> {
        let directory = std::env::var_os("GADGET_KUBE_BIN").map(PathBuf::from);
        let directory =
            directory.with_context(|| format!("the programs of Kubernetes are missing: {ADVICE}"))?;
        let helm = std::env::var_os("HELM").map_or_else(|| directory.join("helm"), PathBuf::from);
        ensure!(
            directory.join("kube-apiserver").is_file(),
            "there is no kube-apiserver in {}: {ADVICE}",
            directory.display()
        );
        Ok(Self { directory, helm })
    }

    pub fn command(&self, name: &str) -> Command {
        Command::new(self.directory.join(name))
    }

    pub fn helm(&self) -> Command {
        Command::new(&self.helm)
    }
}

/// A program of this workspace, beside the test: `gadget-operator`, `gadget-hub`, `gadget-drone`.
/// `cargo xtask test control-plane` has built it; `GADGET_BIN_DIR` names another directory.
pub fn built(name: &str) -> Result<PathBuf> {
    let directory = if let Some(directory) = std::env::var_os("GADGET_BIN_DIR") {
        PathBuf::from(directory)
    } else {
        let test = std::env::current_exe().context("failed to find this program")?;
        test.ancestors().nth(2).context("this program is in no target directory")?.to_path_buf()
    };
    let program = directory.join(name);
    ensure!(program.is_file(), "{} is not built: run `cargo build --bin {name}`", program.display());
    Ok(program)
}

//! Kubernetes, control plane and node, with etcd, a name server, a provisioner of volumes, kubectl and helm.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::go::{self, Programs};
use crate::process::Runner;

const VERSION: &str = "1.34.4";
/// All but helm are one program, which looks at the name that it is called by.
const PROGRAMS: [&str; 9] = [
    "coredns",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "local-provisioner",
];

/// The directory with the programs, built first where it is not there. Otherwise says what is missing.
pub(crate) async fn require(runner: &Runner) -> Result<Result<PathBuf, String>> {
    match std::env::var_os("GADGET_KUBE_BIN") {
        Some(directory) => Ok(Ok(PathBuf::from(directory))),
        None => go::require(runner, &Kubernetes).await,
    }
}

struct Kubernetes;

impl Programs for Kubernetes {
    fn title(&self) -> String {
        format!("Kubernetes {VERSION}, etcd and helm")
    }

    fn file_name(&self) -> String {
        format!("kube-{VERSION}")
    }

    fn source(&self) -> &'static str {
        "tests/kube"
    }

    fn patience(&self) -> &'static str {
        "some 8 minutes"
    }

    async fn build(&self, runner: &Runner, source: &Path, directory: &Path) -> Result<()> {
        let (component, client) = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version");
        let versions = format!(
            "-X {component}.gitVersion=v{VERSION} -X {component}.gitMajor=1 -X {component}.gitMinor=34 \
             -X {client}.gitVersion=v{VERSION}"
        );
        runner.run(&mut go::build(source, &versions, &directory.join("kube"), ".")).await?;
        let helm = "helm.sh/helm/v3/cmd/helm";
        runner.run(&mut go::build(source, "", &directory.join("helm"), helm)).await?;
        for program in PROGRAMS {
            std::fs::hard_link(directory.join("kube"), directory.join(program))
                .with_context(|| format!("failed to make the link {program}"))?;
        }
        Ok(())
    }

    async fn works(&self, runner: &Runner, directory: &Path) -> bool {
        let all_there = PROGRAMS.iter().all(|program| directory.join(program).is_file());
        let kubectl = directory.join("kubectl");
        let helm = directory.join("helm");
        all_there
            && runner
                .output(Command::new(kubectl).args(["version", "--client"]))
                .await
                .is_ok_and(|text| text.contains(&format!("v{VERSION}")))
            && runner
                .output(Command::new(helm).args(["version", "--short"]))
                .await
                .is_ok_and(|text| text.starts_with("v3."))
    }
}

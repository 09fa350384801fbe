//! Makes a cluster, or makes one whole again of which only the directory is left.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::time::Instant;

use crate::cluster::place::{FIXED, Place, is_mounted_over};
use crate::cluster::{addons, certificates, down, import, link, require, settings};
use crate::image::{self, ImageArgs};
use crate::kube;
use crate::process::Runner;
use crate::tools::Tool;
use crate::workspace;

const PATIENCE: Duration = Duration::from_mins(3);
const LOOK: Duration = Duration::from_millis(200);
/// What a supervisor that is gone has left behind and nothing else may find.
const OF_ONE_RUN: [&str; 5] =
    ["containerd-state", "containerd.sock", "containerd.sock.ttrpc", "addresses", "instead/var-lib-cni"];

/// A cluster that runs.
pub(crate) struct Cluster {
    pub kubeconfig: PathBuf,
    /// The programs of Kubernetes.
    pub programs: PathBuf,
}

/// Says what is missing as an error.
pub(crate) async fn up(runner: &Runner, place: &Place, with_images: bool) -> Result<Cluster> {
    if let Err(missing) = require::check(runner, place).await? {
        bail!(missing);
    }
    let programs = match kube::require(runner).await? {
        Ok(programs) => programs,
        Err(missing) => bail!(missing),
    };
    let mut archives = vec![image::pause(runner, settings::PAUSE).await?];
    if with_images {
        let root = workspace::root()?;
        let built = image::build(runner, &ImageArgs::default(), &root, &root.join("target/images")).await?;
        archives.extend(built.into_iter().map(|image| image.archive));
    }
    let began = Instant::now();
    std::fs::create_dir_all(place.directory())
        .with_context(|| format!("failed to make {}", place.directory().display()))?;
    if place.supervisor().is_none() {
        start(runner, place, &programs).await?;
    }
    let cluster = Cluster { kubeconfig: place.kubeconfig(), programs };
    let waiting = async {
        wait(async || import::answers(runner, place).await).await;
        for archive in &archives {
            import::archive(runner, place, archive).await?;
        }
        cluster.wait_until_ready(runner, place).await
    };
    let Ok(ready) = tokio::time::timeout(PATIENCE, waiting).await else {
        let log = place.path("log");
        bail!("the cluster is not ready after {} s; see {}", PATIENCE.as_secs(), log.display());
    };
    ready?;
    println!("the cluster is up after {:.1} s", began.elapsed().as_secs_f64());
    Ok(cluster)
}

async fn start(runner: &Runner, place: &Place, programs: &Path) -> Result<()> {
    // Of a cluster that ended without `down`: by a crash, or with the machine.
    down::stop(place).await?;
    for name in OF_ONE_RUN {
        let path = place.path(name);
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("failed to remove {}", path.display()));
            }
            _ => {}
        }
    }
    let plugin = Tool::Cni.find().context("the network plugins are not where they were")?;
    settings::write(place, plugin.parent().context("a program is in a directory")?)?;
    if !place.kubeconfig().is_file() {
        certificates::write(place)?;
    }
    fixed_places(place)?;
    for group in place.control_groups() {
        std::fs::create_dir_all(&group).with_context(|| format!("failed to make {}", group.display()))?;
    }
    let pid = supervise(place, programs).await?;
    place.record_supervisor(pid)?;
    link::make(runner, place, pid).await
}

/// Where directories of ours are mounted there must be one; those that were not there are removed again.
fn fixed_places(place: &Place) -> Result<()> {
    let mut made = String::new();
    for fixed in FIXED {
        let instead = place.instead_of(fixed);
        std::fs::create_dir_all(&instead).with_context(|| format!("failed to make {}", instead.display()))?;
        let is_new = !Path::new(fixed).is_dir();
        if is_new {
            std::fs::create_dir_all(fixed).with_context(|| format!("failed to make {fixed}"))?;
        }
        // That another cluster has made goes with the last of them.
        if is_new || is_mounted_over(fixed) {
            made.push_str(fixed);
            made.push('\n');
        }
    }
    std::fs::write(place.path("made"), made).context("failed to record the directories that were made")
}

/// Starts the supervisor in namespaces of its own. Its number outside of them.
async fn supervise(place: &Place, programs: &Path) -> Result<i32> {
    let log = File::options().create(true).append(true).open(place.path("log/supervisor.log"));
    let log = log.context("failed to open the supervisor's log")?;
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation=private", "--net", "--pid", "--mount-proc", "--fork"]);
    // By its name: what runs may have been built anew since it started, as the tests do.
    command.arg("--kill-child").arg(workspace::built("xtask")?);
    command.args(["cluster", "--directory"]).arg(place.directory());
    command.args(["supervise", "--programs"]).arg(programs);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // It outlives us, and a Ctrl-C that is meant for us.
    let mut unshare = command.process_group(0).spawn().context("failed to start unshare")?;
    let children = format!("/proc/{0}/task/{0}/children", unshare.id());
    loop {
        if let Ok(text) = std::fs::read_to_string(&children)
            && let Some(pid) = text.split_whitespace().next()
        {
            return pid.parse().context("a process id is no number");
        }
        if let Some(status) = unshare.try_wait()? {
            bail!("unshare failed: {status}; see {}", place.path("log/supervisor.log").display());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Cluster {
    async fn wait_until_ready(&self, runner: &Runner, place: &Place) -> Result<()> {
        let answers = async |arguments: &[&str]| {
            let mut kubectl = self.kubectl();
            kubectl.args(arguments).stderr(Stdio::null());
            runner.output(&mut kubectl).await.is_ok()
        };
        wait(async || answers(&["get", "--raw", "/readyz"]).await).await;
        let list = place.path("addons.json");
        std::fs::write(&list, addons::list(place).to_string()).context("failed to write the add-ons")?;
        let list = list.to_string_lossy();
        // Roles and ranges of addresses are there a moment after the API server is ready.
        wait(async || answers(&["apply", "--filename", &list]).await).await;
        wait(async || answers(&["get", "--namespace=default", "serviceaccount/default"]).await).await;
        let ready = ["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=5s"];
        wait(async || answers(&ready).await).await;
        Ok(())
    }

    fn kubectl(&self) -> Command {
        let mut command = Command::new(self.programs.join("kubectl"));
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }
}

/// Looks until it is so. Whoever calls gives the deadline.
async fn wait(mut is_so: impl AsyncFnMut() -> bool) {
    while !is_so().await {
        tokio::time::sleep(LOOK).await;
    }
}

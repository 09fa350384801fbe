//! Node and npm, for the tests of the page and of unchanged JavaScript clients.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::time::Instant;

use crate::process::Runner;
use crate::tools::{self, Tool};
use crate::workspace;

/// What the page's build tools ask for.
const OLDEST: (u32, u32) = (20, 19);
/// Fetched where the system's Node is older; Debian 12 has 18.
const FETCHED: &str = "24.21.0";

/// A Node that is new enough.
pub(crate) struct Node {
    program: PathBuf,
}

impl Node {
    /// The system's own, else one from npm that is kept in the cache. Otherwise says what is missing.
    pub(crate) async fn require(runner: &Runner) -> Result<Result<Self, String>> {
        if let Err(missing) = tools::require(runner, &[Tool::Node, Tool::Npm]).await? {
            return Ok(Err(missing));
        }
        let Some(program) = Tool::Node.find() else {
            return Ok(Err("node is missing".to_owned()));
        };
        if version(runner, &program).await? >= OLDEST {
            return Ok(Ok(Self { program }));
        }
        Ok(Ok(Self { program: fetch(runner).await? }))
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn command(&self, directory: &Path) -> Command {
        self.with_path(&self.program, directory)
    }

    pub(crate) fn npm(&self, directory: &Path) -> Command {
        self.with_path(Path::new(Tool::Npm.program()), directory)
    }

    /// Installs what `package-lock.json` in `directory` names, unless that is done already.
    pub(crate) async fn install(&self, runner: &Runner, directory: &Path) -> Result<()> {
        let lock = directory.join("package-lock.json");
        let wanted = std::fs::read(&lock).with_context(|| format!("failed to read {}", lock.display()))?;
        let installed = directory.join("node_modules/.installed-package-lock.json");
        if std::fs::read(&installed).is_ok_and(|installed| installed == wanted) {
            return Ok(());
        }
        let began = Instant::now();
        println!("npm ci in {}", directory.display());
        runner.run(self.npm(directory).args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])).await?;
        std::fs::write(&installed, wanted)
            .with_context(|| format!("failed to write {}", installed.display()))?;
        println!("npm ci took {:.0} s", began.elapsed().as_secs_f64());
        Ok(())
    }

    /// With our Node first in the path, so that scripts find it too.
    fn with_path(&self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        let ours = self.program.parent().map(Path::to_path_buf);
        let system = std::env::var_os("PATH").unwrap_or_default();
        let path = ours.into_iter().chain(std::env::split_paths(&system));
        if let Ok(path) = std::env::join_paths(path) {
            command.env("PATH", path);
        }
        command.current_dir(directory);
        command
    }
}

async fn version(runner: &Runner, program: &Path) -> Result<(u32, u32)> {
    let text = runner.output(Command::new(program).arg("--version")).await?;
    let mut numbers = text.trim().trim_start_matches('v').split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => bail!("{} says a strange version: {text:?}", program.display()),
    }
}

async fn fetch(runner: &Runner) -> Result<PathBuf> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => {
            bail!("Node {}.{} or newer is needed; there is none to fetch for {other}", OLDEST.0, OLDEST.1)
        }
    };
    let package = format!("node-linux-{machine}");
    let directory = workspace::cache()?.join(format!("node-{FETCHED}"));
    let program = directory.join("node_modules").join(&package).join("bin/node");
    if program.is_file() && version(runner, &program).await.is_ok_and(|version| version >= OLDEST) {
        return Ok(program);
    }
    let began = Instant::now();
    println!("fetching Node {FETCHED}, the system's is older than {}.{}", OLDEST.0, OLDEST.1);
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("failed to create {}", directory.display()))?;
    let mut npm = Command::new(Tool::Npm.program());
    npm.current_dir(&directory).args([
        "install",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        "--prefix",
        ".",
    ]);
    runner.run(npm.arg(format!("{package}@{FETCHED}"))).await?;
    println!("fetched Node in {:.0} s", began.elapsed().as_secs_f64());
    Ok(program)
}

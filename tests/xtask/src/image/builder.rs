//! What builds images here: buildah, or podman, or a docker that answers.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::process::Runner;
use crate::tools::{self, Tool};
use crate::workspace;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Buildah,
    Podman,
    Docker,
}

/// One image to be built.
pub(super) struct Recipe<'a> {
    pub name: &'a str,
    pub file: &'a Path,
    pub context: &'a Path,
    pub base: Option<&'a str>,
    pub labels: &'a [(String, String)],
    /// Seconds since 1970 that all in the image is said to be from.
    pub epoch: &'a str,
}

pub(super) struct Builder {
    program: Program,
    /// Buildah's own images and containers, so that nothing of the machine's is touched.
    storage: PathBuf,
}

impl Builder {
    /// The first of those that are there; else buildah is installed, where we may. Otherwise says what is missing.
    pub(super) async fn require(runner: &Runner) -> Result<Result<Self, String>> {
        let storage = workspace::root()?.join("target/images/storage");
        let root = nix::unistd::geteuid().is_root();
        let there = |name: &str| tools::find_program(name).is_some();
        let program = if root && there("buildah") {
            Program::Buildah
        } else if there("podman") {
            Program::Podman
        } else if there("docker") && docker_answers(runner).await {
            Program::Docker
        } else if root {
            if let Err(missing) = tools::require(runner, &[Tool::Buildah]).await? {
                return Ok(Err(format!("images are built by buildah, podman or docker; {missing}")));
            }
            Program::Buildah
        } else {
            return Ok(Err(
                "images are built by buildah (as root), podman or docker, and none of them is usable here: \
                 install podman (Debian: apt-get install podman), or start docker's daemon"
                    .to_owned(),
            ));
        };
        Ok(Ok(Self { program, storage }))
    }

    /// Builds the image; its id is the digest of its configuration, which holds those of its layers.
    pub(super) async fn build(&self, runner: &Runner, recipe: &Recipe<'_>) -> Result<String> {
        let mut command = self.command();
        command.args(build_arguments(self.program, recipe)).env("SOURCE_DATE_EPOCH", recipe.epoch);
        let text = runner.output(&mut command).await?;
        let id = text.lines().last().unwrap_or_default().trim();
        if id.is_empty() {
            bail!("{:?} did not say what it built", self.program);
        }
        Ok(id.trim_start_matches("sha256:").to_owned())
    }

    pub(super) async fn has(&self, runner: &Runner, name: &str) -> Result<bool> {
        let mut command = self.command();
        command.args(["images", "--quiet", "--filter"]).arg(format!("reference={name}"));
        Ok(!runner.output(&mut command).await?.trim().is_empty())
    }

    /// Writes the image as an archive that docker, podman, kind and containerd load.
    pub(super) async fn save(&self, runner: &Runner, name: &str, archive: &Path) -> Result<()> {
        match std::fs::remove_file(archive) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("failed to remove {}", archive.display()));
            }
            _ => {}
        }
        let mut command = self.command();
        match self.program {
            Program::Buildah => {
                command.args(["push", "--quiet", name]);
                command.arg(format!("docker-archive:{}:{name}", archive.display()));
            }
            Program::Podman => {
                command.args(["save", "--quiet", "--format", "docker-archive", "--output"]);
                command.arg(archive).arg(name);
            }
            Program::Docker => {
                command.args(["save", "--output"]).arg(archive).arg(name);
            }
        }
        runner.run(&mut command).await
    }

    /// Sends the image to its registry, signed in as the program is.
    pub(super) async fn push(&self, runner: &Runner, name: &str) -> Result<()> {
        runner.run(self.command().args(["push", name])).await
    }

    fn command(&self) -> Command {
        match self.program {
            Program::Buildah => {
                let mut command = Command::new("buildah");
                command.arg("--root").arg(self.storage.join("root"));
                command.arg("--runroot").arg(self.storage.join("run"));
                command.args(["--storage-driver", "overlay"]);
                command
            }
            Program::Podman => Command::new("podman"),
            Program::Docker => Command::new("docker"),
        }
    }
}

/// A client alone builds nothing.
async fn docker_answers(runner: &Runner) -> bool {
    let mut command = Command::new("docker");
    command.args(["version", "--format", "{{.Server.Version}}"]).stderr(std::process::Stdio::null());
    runner.output(&mut command).await.is_ok()
}

fn build_arguments(program: Program, recipe: &Recipe<'_>) -> Vec<String> {
    let Recipe { name, file, context, base, labels, epoch } = recipe;
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
    match program {
        // Namespaces of its own are not to be had in every container.
        Program::Buildah => add(&["bud", "--isolation", "chroot", "--layers=false", "--timestamp", epoch]),
        Program::Podman => add(&["build", "--layers=false", "--timestamp", epoch]),
        Program::Docker => add(&["build", "--no-cache", "--provenance=false"]),
    }
    add(&["--quiet", "--tag", name, "--file", &file.to_string_lossy()]);
    if let Some(base) = base {
        add(&["--build-arg", &format!("BASE={base}")]);
    }
    for (key, value) in *labels {
        add(&["--label", &format!("{key}={value}")]);
    }
    add(&[&context.to_string_lossy()]);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(program: Program) -> String {
        let labels = [("org.opencontainers.image.version".to_owned(), "0.1.0".to_owned())];
        let recipe = Recipe {
            name: "gadget-hub:0.1.0",
            file: Path::new("hub/Dockerfile"),
            context: Path::new("target/hub"),
            base: Some("scratch"),
            labels: &labels,
            epoch: "1764316800",
        };
        build_arguments(program, &recipe).join(" ")
    }

    #[test]
    fn each_program_is_told_the_same() {
        let common = "--quiet --tag gadget-hub:0.1.0 --file hub/Dockerfile --build-arg BASE=scratch \
                      --label org.opencontainers.image.version=0.1.0 target/hub";
        let expected = format!("bud --isolation chroot --layers=false --timestamp 1764316800 {common}");
        assert_eq!(arguments(Program::Buildah), expected);
        let expected = format!("build --layers=false --timestamp 1764316800 {common}");
        assert_eq!(arguments(Program::Podman), expected);
        assert_eq!(arguments(Program::Docker), format!("build --no-cache --provenance=false {common}"));
    }
}

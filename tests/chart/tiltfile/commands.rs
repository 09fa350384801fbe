//! Whether what the Tiltfile runs can be run: by asking the programs, not by running it.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tests::control_plane::programs;

use super::stand_ins::Named;
use crate::rendered::root;

/// An argument vector as a shell's line; what `sh -c` is given is one already.
pub(super) fn flat(command: &[String]) -> String {
    match command {
        [shell, option, line] if shell == "sh" && option == "-c" => line.clone(),
        words => words.join(" "),
    }
}

/// The single commands of a line, without what they are fed.
fn parts(line: &str) -> impl Iterator<Item = Vec<&str>> {
    let line = line.split_once(" <<").map_or(line, |(command, _)| command);
    line.split(" && ").map(|part| part.split_whitespace().collect())
}

pub(super) fn check(line: &str, named: &Named) -> Result<()> {
    for words in parts(line) {
        match &*words {
            ["cargo", "xtask", rest @ ..] => xtask(rest)?,
            ["cargo", "build", rest @ ..] => Build::read(rest)?.check()?,
            ["cp", _, _] => {}
            ["kubectl", "--namespace", _, rest @ ..] => kubectl(rest, line, named)?,
            other => bail!("nobody knows whether this can be run: {other:?}"),
        }
    }
    Ok(())
}

/// Files that a line makes: programs that cargo builds, and copies.
pub(super) fn makes(line: &str) -> Result<Vec<String>> {
    let mut made = Vec::new();
    for words in parts(line) {
        match &*words {
            ["cargo", "build", rest @ ..] => made.extend(Build::read(rest)?.makes()?),
            ["cp", _, to] => made.push((*to).to_owned()),
            _ => {}
        }
    }
    Ok(made)
}

fn cargo(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = command.current_dir(root()).args(arguments).output().context("failed to run cargo")?;
    ensure!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn xtask(words: &[&str]) -> Result<()> {
    cargo(&[&["xtask"], words, &["--help"]].concat()).map(drop)
}

/// `cargo build --locked --bins --target T --package P… --features F`
#[derive(Debug, Default)]
struct Build<'a> {
    target: &'a str,
    packages: Vec<&'a str>,
    features: Vec<&'a str>,
}

impl<'a> Build<'a> {
    fn read(words: &[&'a str]) -> Result<Self> {
        let mut build = Self::default();
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            if ["--locked", "--bins"].contains(&word) {
                continue;
            }
            let value = words.next().with_context(|| format!("{word} has no value"))?;
            match word {
                "--target" => build.target = value,
                "--package" => build.packages.push(value),
                "--features" => build.features.extend(value.split(',')),
                other => bail!("cargo build {other}"),
            }
        }
        Ok(build)
    }

    /// Cargo resolves just what it would build.
    fn check(&self) -> Result<()> {
        let targets = Command::new("rustc").args(["--print", "target-list"]).output()?;
        let targets = String::from_utf8(targets.stdout)?;
        ensure!(targets.lines().any(|target| target == self.target), "rustc knows no {}", self.target);
        let packages = self.packages.iter().flat_map(|package| ["--package", package]);
        let features = self.features.iter().flat_map(|feature| ["--features", feature]);
        let tree = ["tree", "--locked", "--depth=0", "--target", self.target];
        cargo(&tree.into_iter().chain(packages).chain(features).collect::<Vec<_>>()).map(drop)
    }

    fn makes(&self) -> Result<Vec<String>> {
        let told = cargo(&["metadata", "--locked", "--no-deps", "--format-version=1"])?;
        let metadata: Value = serde_json::from_str(&told)?;
        let packages = metadata["packages"].as_array().context("no packages")?.iter();
        let built = packages.filter(|package| self.packages.iter().any(|name| package["name"] == **name));
        let targets = built.flat_map(|package| package["targets"].as_array().into_iter().flatten());
        let programs = targets.filter(|target| target["kind"] == serde_json::json!(["bin"]));
        let names = programs.filter_map(|program| program["name"].as_str());
        Ok(names.map(|name| format!("target/{}/debug/{name}", self.target)).collect())
    }
}

fn kubectl(words: &[&str], line: &str, named: &Named) -> Result<()> {
    match words {
        ["exec", deployment, "--", program, rest @ ..] => {
            let name = deployment.strip_prefix("deploy/").context("no deployment")?;
            let there = |object: &Value| object["kind"] == "Deployment" && object["metadata"]["name"] == name;
            ensure!(named.objects.iter().any(there), "the charts make no {deployment}");
            ensure!(name == *program, "the image of {name} has no {program}");
            let output = Command::new(programs::built(program)?).args(rest).arg("--help").output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(())
        }
        ["create", "--filename", "-"] => {
            let manifest = line.split_once("<<EOF\n").and_then(|(_, rest)| rest.strip_suffix("EOF"));
            let mut manifest = manifest.context("nothing to create")?.to_owned();
            for input in named.buttons.iter().flat_map(|button| &button.inputs) {
                manifest = manifest.replace(&format!("${input}"), "given");
            }
            ensure!(!manifest.contains('$'), "no input fills this: {manifest}");
            let session: crds::ChatSession = serde_saphyr::from_str(&manifest).context("no session")?;
            let given = (session.spec.user.as_str(), session.spec.project.slug.as_str());
            ensure!(given == ("given", "given"), "{given:?}");
            Ok(())
        }
        other => bail!("kubectl {other:?}"),
    }
}

//! The programs of the images, static, so that any base will do, and the same to the bit wherever they are built.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::time::Instant;

use crate::process::Runner;
use crate::tools::{self, Tool};
use crate::workspace;

/// Where a program of `source` will be once it is built.
pub(super) fn path(source: &Path, program: &str) -> PathBuf {
    source.join("target").join(target()).join("release").join(program)
}

/// Builds all of them: which features a dependency has must not depend on which images are asked for.
pub(super) async fn build(runner: &Runner, source: &Path) -> Result<()> {
    build_with(runner, source, None).await
}

/// The scripted model, for pods of tests: together with the others, so that nothing is compiled again for it.
pub(crate) async fn scripted_model(runner: &Runner, source: &Path) -> Result<PathBuf> {
    const NAME: &str = "scripted-model";
    build_with(runner, source, Some(NAME)).await?;
    Ok(path(source, NAME))
}

async fn build_with(runner: &Runner, source: &Path, more: Option<&str>) -> Result<()> {
    let mut cargo = Command::new(workspace::cargo());
    cargo.current_dir(source).args(["build", "--release", "--locked", "--quiet", "--bins"]);
    cargo
        .args(["--target", &target(), "--features", "hub/kube"])
        .arg("--target-dir")
        .arg(source.join("target"));
    for package in ["operator", "hub", "drone"].into_iter().chain(more) {
        cargo.args(["--package", package]);
    }
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", flags(source)?);
    println!("building the static programs of the images (release): minutes, the first time");
    let began = Instant::now();
    runner.run(&mut cargo).await?;
    println!("built them in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// Panics name source files: without the machine's directories.
fn flags(source: &Path) -> Result<String> {
    let cargo = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cargo"),
    };
    let flags = [(&cargo, "/cargo"), (&source.to_path_buf(), "/gadget")]
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    // They are separated by spaces.
    if flags.iter().any(|flag| flag.contains(' ')) {
        bail!("the directory of the sources or of cargo has a space in its name: {}", flags.join(" "));
    }
    Ok(flags.join(" "))
}

/// A compiler of C for static programs, and Rust's standard library for them, which rustup has. Otherwise says what is
/// missing.
pub(crate) async fn require(runner: &Runner) -> Result<Result<(), String>> {
    if let Err(missing) = tools::require(runner, &[Tool::MuslGcc]).await? {
        return Ok(Err(missing));
    }
    let target = target();
    let mut library = Command::new("rustc");
    library.current_dir(workspace::root()?).args(["--print", "target-libdir", "--target", &target]);
    if Path::new(runner.output(&mut library).await?.trim()).is_dir() {
        return Ok(Ok(()));
    }
    let add = ["target", "add", &target];
    let mut rustup = Command::new("rustup");
    rustup.current_dir(workspace::root()?).args(add);
    if tools::find_program("rustup").is_some() && runner.run(&mut rustup).await.is_ok() {
        return Ok(Ok(()));
    }
    Ok(Err(format!("missing: Rust's standard library for {target}; `rustup {}` installs it", add.join(" "))))
}

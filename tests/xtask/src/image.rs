//! `cargo xtask image`: the images of operator, hub and drone, from the Dockerfiles of their crates.
//!
//! The programs are built outside of the images, static, by the cargo that is here; an image is a base, a program and
//! labels. The same commit gives the same images to the bit: `--twice` builds a fresh clone as well and compares.

mod base;
mod builder;
mod pause;
mod programs;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use tokio::process::Command;
use tokio::time::Instant;

use crate::image::builder::{Builder, Recipe};
pub(crate) use crate::image::pause::pause;
pub(crate) use crate::image::programs::{require as require_programs, scripted_model};
use crate::process::Runner;
use crate::workspace;

/// What an image of operator or hub may take, compressed.
const MOST_BYTES: u64 = 25_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Image {
    Operator,
    Hub,
    Drone,
}

#[derive(Args, Default)]
pub(crate) struct ImageArgs {
    /// All unless some are named
    images: Vec<Image>,
    /// Registry and path before the images' names, as the chart's value image.registry
    #[arg(long, value_name = "REGISTRY", default_value = "")]
    registry: String,
    /// Tag, as the chart's value image.tag; the chart's appVersion if none is given
    #[arg(long)]
    tag: Option<String>,
    /// Image to put the drone on: with git, ssh, ripgrep, bash, CA certificates, and what your agents need
    #[arg(long, value_name = "IMAGE")]
    drone_base: Option<String>,
    /// Make the drone's base of today's Debian packages, instead of those that were kept
    #[arg(long)]
    fresh_base: bool,
    /// Where the sources are, for the images' labels
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// Send the images to the registry
    #[arg(long, requires = "registry")]
    push: bool,
    /// Build a fresh clone of the commit as well, and fail unless the images are the same to the bit
    #[arg(long)]
    twice: bool,
}

/// An image that is built.
pub(crate) struct Built {
    pub name: String,
    pub archive: PathBuf,
    id: String,
    took: Duration,
}

pub(crate) async fn run(runner: &Runner, arguments: &ImageArgs) -> Result<()> {
    let root = workspace::root()?;
    let directory = root.join("target/images");
    let all = build(runner, arguments, &root, &directory).await?;
    println!("{:<32} {:>10} {:>8}  archive", "image", "compressed", "seconds");
    let mut too_large = Vec::new();
    for Built { name, archive, took, .. } in &all {
        let bytes = compressed(runner, archive).await?;
        let (size, tenth) = (bytes / 1_000_000, bytes % 1_000_000 / 100_000);
        let (seconds, archive) = (took.as_secs_f64(), archive.display());
        println!("{name:<32} {size:>5}.{tenth} MB {seconds:>8.1}  {archive}");
        if bytes > MOST_BYTES && !name.contains("gadget-drone") {
            too_large.push(name.as_str());
        }
    }
    if !too_large.is_empty() {
        bail!("larger than {} MB: {}", MOST_BYTES / 1_000_000, too_large.join(", "));
    }
    if arguments.twice {
        compare(runner, arguments, &root, &all).await?;
    }
    if arguments.push {
        let builder = builder(runner).await?;
        for Built { name, .. } in &all {
            builder.push(runner, name).await?;
            println!("pushed {name}");
        }
    }
    Ok(())
}

/// What builds images, installed where we may. Otherwise says what is missing.
pub(crate) async fn require(runner: &Runner, arguments: &ImageArgs) -> Result<Result<(), String>> {
    if let Err(missing) = programs::require(runner).await? {
        return Ok(Err(missing));
    }
    let stands_on_base = |image: &Image| match image {
        Image::Operator => false,
        // Its certificates are from there.
        Image::Hub => true,
        Image::Drone => arguments.drone_base.is_none(),
    };
    if arguments.images().iter().any(stands_on_base)
        && let Err(missing) = base::require(runner).await?
    {
        return Ok(Err(missing));
    }
    Ok(Builder::require(runner).await?.map(drop))
}

async fn builder(runner: &Runner) -> Result<Builder> {
    match Builder::require(runner).await? {
        Ok(builder) => Ok(builder),
        Err(missing) => bail!(missing),
    }
}

/// Builds the images of the sources into archives in `directory`.
pub(crate) async fn build(
    runner: &Runner,
    arguments: &ImageArgs,
    source: &Path,
    directory: &Path,
) -> Result<Vec<Built>> {
    if let Err(missing) = require(runner, arguments).await? {
        bail!(missing);
    }
    let builder = builder(runner).await?;
    programs::build(runner, source).await?;
    let epoch = commit(runner, source, "%ct").await?;
    let labels = labels(runner, arguments, source).await?;
    let mut all = Vec::new();
    for image in arguments.images() {
        let began = Instant::now();
        let name = arguments.name(*image, source)?;
        let context = directory.join("context").join(image.program());
        image.fill(runner, source, &context).await?;
        let base = match image {
            Image::Operator | Image::Hub => "scratch".to_owned(),
            Image::Drone => match &arguments.drone_base {
                Some(base) => base.clone(),
                None => base::image(runner, &builder, arguments.fresh_base).await?,
            },
        };
        let recipe = Recipe {
            name: &name,
            file: &source.join(image.package()).join("Dockerfile"),
            context: &context,
            base: Some(&base),
            labels: &labels,
            epoch: &epoch,
        };
        let id = builder.build(runner, &recipe).await?;
        let archive = directory.join(format!("{}.tar", image.program()));
        builder.save(runner, &name, &archive).await?;
        all.push(Built { name, archive, id, took: began.elapsed() });
    }
    Ok(all)
}

impl Image {
    fn package(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Hub => "hub",
            Self::Drone => "drone",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Operator => "gadget-operator",
            Self::Hub => "gadget-hub",
            Self::Drone => "gadget-drone",
        }
    }

    /// Puts into the context what the image's Dockerfile copies.
    async fn fill(self, runner: &Runner, source: &Path, context: &Path) -> Result<()> {
        std::fs::create_dir_all(context).with_context(|| format!("failed to make {}", context.display()))?;
        let program = programs::path(source, self.program());
        std::fs::copy(&program, context.join(self.program()))
            .with_context(|| format!("failed to copy {}", program.display()))?;
        match self {
            Self::Hub => base::certificates(runner, &context.join("ca-certificates.crt")).await,
            Self::Operator | Self::Drone => Ok(()),
        }
    }
}

impl ImageArgs {
    fn images(&self) -> &[Image] {
        if self.images.is_empty() { Image::value_variants() } else { &self.images }
    }

    /// As the chart has it: `gadget.image` in its helpers.
    fn name(&self, image: Image, source: &Path) -> Result<String> {
        let tag = match &self.tag {
            Some(tag) => tag.clone(),
            None => app_version(source)?,
        };
        let registry = self.registry.trim_end_matches('/');
        let slash = if registry.is_empty() { "" } else { "/" };
        Ok(format!("{registry}{slash}{}:{tag}", image.program()))
    }
}

fn app_version(source: &Path) -> Result<String> {
    let chart = source.join("charts/gadget/Chart.yaml");
    let text =
        std::fs::read_to_string(&chart).with_context(|| format!("failed to read {}", chart.display()))?;
    let version = text.lines().find_map(|line| line.strip_prefix("appVersion:"));
    Ok(version.context("the chart has no appVersion")?.trim().trim_matches('"').to_owned())
}

async fn labels(runner: &Runner, arguments: &ImageArgs, source: &Path) -> Result<Vec<(String, String)>> {
    let mut labels = vec![
        ("licenses", env!("CARGO_PKG_LICENSE").to_owned()),
        ("revision", revision(runner, source).await?),
        ("title", "Gadget".to_owned()),
        ("version", app_version(source)?),
    ];
    if let Some(url) = origin(runner, arguments, source).await? {
        labels.push(("source", url));
    }
    Ok(labels.into_iter().map(|(key, value)| (format!("org.opencontainers.image.{key}"), value)).collect())
}

/// Where the sources come from, when that is a place that others can reach.
async fn origin(runner: &Runner, arguments: &ImageArgs, source: &Path) -> Result<Option<String>> {
    if arguments.source.is_some() {
        return Ok(arguments.source.clone());
    }
    let mut git = Command::new("git");
    git.current_dir(source).args(["config", "--default", "", "--get", "remote.origin.url"]);
    let url = runner.output(&mut git).await?.trim().to_owned();
    // An address may hold a name and a password.
    Ok((url.starts_with("https://") && !url.contains('@')).then_some(url))
}

/// The commit, and whether the sources are no longer what it has.
async fn revision(runner: &Runner, source: &Path) -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(source).args(["describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]);
    Ok(runner.output(&mut git).await?.trim().to_owned())
}

async fn commit(runner: &Runner, source: &Path, format: &str) -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(source).args(["log", "-1", &format!("--format={format}")]);
    Ok(runner.output(&mut git).await?.trim().to_owned())
}

/// Layers as a registry keeps them.
async fn compressed(runner: &Runner, archive: &Path) -> Result<u64> {
    let mut gzip = Command::new("sh");
    gzip.args(["-c", "gzip --stdout \"$1\" | wc -c", "sh"]).arg(archive);
    let text = runner.output(&mut gzip).await?;
    text.trim().parse().with_context(|| format!("gzip said {text:?}"))
}

/// Builds a fresh clone elsewhere: other directory, other times of files.
async fn compare(runner: &Runner, arguments: &ImageArgs, root: &Path, all: &[Built]) -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["status", "--porcelain"]);
    if !runner.output(&mut git).await?.is_empty() {
        bail!("--twice compares with a clone of the commit; there are changes that are not committed");
    }
    println!("building a fresh clone, to compare");
    let elsewhere = tempfile::Builder::new()
        .prefix("again-")
        .tempdir_in(root.join("target/images"))
        .context("failed to make a directory for the clone")?;
    let clone = elsewhere.path().join("gadget");
    let mut git = Command::new("git");
    git.args(["clone", "--quiet", "--no-hardlinks"]).arg(root).arg(&clone);
    runner.run(&mut git).await?;
    let again = ImageArgs {
        images: arguments.images.clone(),
        registry: arguments.registry.clone(),
        tag: arguments.tag.clone(),
        drone_base: arguments.drone_base.clone(),
        source: origin(runner, arguments, root).await?,
        ..ImageArgs::default()
    };
    let again = build(runner, &again, &clone, &elsewhere.path().join("images")).await?;
    let differ: Vec<&str> = all
        .iter()
        .zip(&again)
        .filter(|(first, second)| first.id != second.id)
        .map(|(first, _)| first.name.as_str())
        .collect();
    if !differ.is_empty() {
        bail!("built twice, these differ: {}", differ.join(", "));
    }
    println!("built twice, all are the same to the bit");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_as_the_chart_names_them() {
        let root = workspace::root().unwrap();
        let version = app_version(&root).unwrap();
        let mut arguments = ImageArgs::default();
        assert_eq!(arguments.name(Image::Hub, &root).unwrap(), format!("gadget-hub:{version}"));
        arguments.registry = "registry.example/tools/".to_owned();
        arguments.tag = Some("7".to_owned());
        assert_eq!(arguments.name(Image::Drone, &root).unwrap(), "registry.example/tools/gadget-drone:7");
    }
}

//! `cargo xtask test`: every part, what it needs set up first, and one table at the end.

mod cluster;
mod javascript;
mod kube;
mod report;
mod rust;
mod web;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use tokio::time::Instant;

use crate::process::Runner;
use crate::test::cluster::ClusterOptions;
use crate::test::report::{Report, Row};

#[derive(Args)]
pub(crate) struct TestArgs {
    /// All unless some are named
    parts: Vec<Part>,
    #[command(flatten)]
    cluster: ClusterOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Every crate's own tests, and hub and drone together as real processes
    Rust,
    /// The official Socket.IO client for JavaScript against a running `gadget local`
    Ide,
    /// The page at `/` in a real browser
    Page,
    /// The page's own tests, and whether the committed build is what its sources give
    Web,
    /// Operator, hub and drones on a real API server, with the real controllers and scheduler
    ControlPlane,
    /// The charts on a real API server, with the real helm
    Chart,
    /// The charts and the images on a real cluster, with real pods
    Cluster,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Ide => "ide",
            Self::Page => "page",
            Self::Web => "web",
            Self::ControlPlane => "control-plane",
            Self::Chart => "chart",
            Self::Cluster => "cluster",
        }
    }

    /// One that takes longer hangs.
    fn timeout(self) -> Duration {
        match self {
            Self::Rust | Self::Ide | Self::Page | Self::Web => Duration::from_mins(20),
            // The first time it builds Kubernetes, and the images.
            Self::ControlPlane | Self::Chart | Self::Cluster => Duration::from_mins(45),
        }
    }
}

/// What came of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcome {
    passed: u64,
    failed: u64,
    /// What could not run here, and why.
    not_run: Option<String>,
}

impl Outcome {
    fn not_run(why: impl Into<String>) -> Self {
        Self { not_run: Some(why.into()), ..Self::default() }
    }

    fn add(&mut self, other: Self) {
        let Self { passed, failed, not_run } = other;
        self.passed += passed;
        self.failed += failed;
        self.not_run = self.not_run.take().or(not_run);
    }
}

pub(crate) async fn run(runner: &Runner, arguments: &TestArgs) -> ExitCode {
    let TestArgs { parts, cluster } = arguments;
    let parts = if parts.is_empty() { Part::value_variants() } else { parts };
    // In CI nothing may be skipped unseen.
    let strict = std::env::var("CI").is_ok_and(|value| value == "true");
    let mut report = Report::default();
    for part in parts {
        println!("== {}", part.name());
        let began = Instant::now();
        let outcome = match tokio::time::timeout(part.timeout(), run_part(runner, *part, cluster)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                println!("{}: {error:#}", part.name());
                Outcome { failed: 1, ..Outcome::default() }
            }
            Err(_) => {
                println!("{}: did not end within {:?}", part.name(), part.timeout());
                Outcome { failed: 1, ..Outcome::default() }
            }
        };
        report.add(Row { part: part.name(), outcome, took: began.elapsed() });
        if runner.is_interrupted() {
            break;
        }
    }
    print!("\n{}", report.table(strict));
    if report.is_good(strict) && !runner.is_interrupted() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run_part(runner: &Runner, part: Part, cluster: &ClusterOptions) -> Result<Outcome> {
    let outcome = match part {
        Part::Rust => rust::run(runner).await?,
        Part::Ide => javascript::ide(runner).await?,
        Part::Page => javascript::page(runner).await?,
        Part::Web => web::run(runner).await?,
        Part::ControlPlane => kube::run(runner, kube::CONTROL_PLANE).await?,
        Part::Chart => kube::run(runner, "chart").await?,
        Part::Cluster => cluster::run(runner, cluster).await?,
    };
    if outcome == Outcome::default() {
        bail!("there was nothing to run");
    }
    Ok(outcome)
}

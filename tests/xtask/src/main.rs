//! The command surface of the repository: `cargo xtask …`. People and CI call the same.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this program's output is its purpose")]

mod agent_sandbox;
mod bench;
mod cluster;
mod generate;
mod go;
mod image;
mod kube;
mod lint;
mod node;
mod process;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::process::Runner;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, checks and measures Gadget", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the tests, setting up what they need; all parts unless some are named
    Test(test::TestArgs),
    /// Check format, lints, dependency rules, licences and file sizes
    Lint,
    /// Write the generated files that are committed (the built page, the chart's resource definitions)
    Generate {
        /// Write nothing; fail when a committed file is not what would be written
        #[arg(long)]
        check: bool,
    },
    /// Build the images of operator, hub and drone; all unless some are named
    Image(image::ImageArgs),
    /// A Kubernetes of one node on this machine, with the images of this tree
    Cluster(cluster::ClusterArgs),
    /// Measure, beside a floor or a peer in the same run; all benches unless some are named
    Bench {
        names: Vec<String>,
        /// Fail when a goal is missed
        #[arg(long)]
        check: bool,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    match run(command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Test(arguments) => return Ok(test::run(&Runner::new()?, &arguments).await),
        Command::Lint => lint::run(&Runner::new()?).await?,
        Command::Generate { check } => generate::run(&Runner::new()?, check).await?,
        Command::Image(arguments) => image::run(&Runner::new()?, &arguments).await?,
        // Its supervisor listens in its own way for the signals that a runner takes.
        Command::Cluster(arguments) => arguments.run().await?,
        Command::Bench { names, check } => bench::run(&Runner::new()?, &names, check).await?,
    }
    Ok(ExitCode::SUCCESS)
}

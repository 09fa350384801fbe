//! Figures beside a floor or a peer, measured in one run: `cargo xtask bench [name]`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this program's output is its purpose")]

#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "control-plane")]
mod control_plane;
mod drone;
mod first_token;
mod hub_server;
mod memory;
mod process;
mod raw_peer;
mod reattach;
mod recovery;
mod relay;
mod report;
mod sample;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// The quick ones first.
const NAMES: &[&str] = &[
    "relay",
    "memory",
    "first-token",
    "drone",
    "reattach",
    // Needs the programs of Kubernetes, which `cargo xtask bench` builds.
    #[cfg(feature = "control-plane")]
    "control-plane",
    // Needs a cluster with the images, which `cargo xtask bench` makes.
    #[cfg(feature = "cluster")]
    "cluster",
    "recovery",
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, pairs, workers, place @ ..] = &arguments[..]
        && first == hub_server::SUBCOMMAND
    {
        return hub_server::serve(pairs.parse()?, workers.parse()?, hub_server::Place::parse(place)?);
    }
    // For every client of HTTP here.
    let _first = rustls::crypto::ring::default_provider().install_default();
    let check = arguments.iter().any(|argument| argument == "--check");
    let names: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|argument| *argument != "--check").collect();
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(name)) {
        bail!("there is no bench {unknown:?}; there are {}", NAMES.join(", "));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let directory = target_directory()?.join("bench");
    let mut missed = 0;
    for &name in NAMES {
        if !names.is_empty() && !names.contains(&name) {
            continue;
        }
        eprintln!("bench {name} …");
        let load_average = process::load_average();
        let figures =
            runtime.block_on(Box::pin(run(name))).with_context(|| format!("bench {name} failed"))?;
        let report = report::Report { name, load_average, figures };
        println!("{}", report.table());
        report.write(&directory)?;
        missed += report.missed().count();
    }
    if check && missed > 0 {
        bail!("{missed} goals are missed");
    }
    Ok(())
}

async fn run(name: &str) -> Result<Vec<report::Figure>> {
    let peer = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("bench/peer/relay.mjs").display().to_string();
    match name {
        "relay" => relay::run(&peer).await,
        "memory" => memory::run(&peer).await,
        "first-token" => Box::pin(first_token::run()).await,
        "drone" => Box::pin(drone::run(&target_directory()?)).await,
        "reattach" => Box::pin(reattach::run()).await,
        #[cfg(feature = "control-plane")]
        "control-plane" => Box::pin(control_plane::run()).await,
        #[cfg(feature = "cluster")]
        "cluster" => Box::pin(cluster::run()).await,
        "recovery" => Box::pin(recovery::run()).await,
        other => bail!("there is no bench {other:?}"),
    }
}

/// How much of its work a bench on Kubernetes does; `GADGET_BENCH_PERCENT` asks for less.
#[cfg(feature = "control-plane")]
fn percent() -> Result<usize> {
    match std::env::var("GADGET_BENCH_PERCENT") {
        Ok(percent) => percent.parse().context("GADGET_BENCH_PERCENT is no number"),
        Err(_) => Ok(100),
    }
}

/// The directory that this program was built in.
fn target_directory() -> Result<PathBuf> {
    let program = std::env::current_exe().context("failed to find this program")?;
    program.ancestors().nth(2).map(PathBuf::from).context("this program is in no target directory")
}

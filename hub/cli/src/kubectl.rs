//! `kubectl gadget`: sessions and drones of a cluster, and the agents in them, from the terminal.
//!
//! What a cluster knows is read from its resources; what an agent says comes from the hub, reached through the API server.

mod args;
mod cluster;
mod forward;
mod hub;
mod list;
mod logs;
mod sign_in;
mod steer;
mod why;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use self::args::{KubectlArgs, Verb};
use self::cluster::Cluster;
use crate::console::Console;
use crate::{done, in_runtime, parsed};

/// Runs the command line; the words are those of the process, its name first.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let KubectlArgs { place, verb } = match parsed(KubectlArgs::try_parse_from(words)) {
        Ok(args) => args,
        Err(code) => return code,
    };
    in_runtime(async |console| {
        let cluster = Cluster::connect(place).await?;
        run(&cluster, verb, console).await
    })
}

async fn run(cluster: &Cluster, verb: Verb, console: &mut Console) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Ls(args) => done(list::run(cluster, &args, console).await),
        Verb::Why(args) => done(why::run(cluster, &args, console).await),
        Verb::Suspend(args) => done(steer::suspend(cluster, &args, console).await),
        Verb::Resume(args) => done(steer::resume(cluster, &args, console).await),
        Verb::Terminate(args) => done(steer::terminate(cluster, &args, console).await),
        Verb::Logs(args) => done(logs::run(cluster, &args, console).await),
        Verb::Login(args) => done(hub::login(cluster, args, console).await),
        Verb::Attach(args) => hub::attach(cluster, args, console).await,
        Verb::Prompt(args) => hub::prompt(cluster, args, console).await,
        Verb::Open(args) => done(hub::open(cluster, args, console).await),
    }
}

//! `gadget`: the whole product in one program, and the commands that talk to a hub.

mod access;
mod api;
mod args;
mod command;
mod console;
mod data_dir;
#[cfg(feature = "kube")]
pub mod kubectl;
mod live;
mod local;
mod log_file;
mod table;
mod turn;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};

use self::args::{Command, GadgetArgs, ProvidersArgs, UsersArgs};
use self::console::{Console, Paint};

/// How long threads that cannot be told to stop are waited for.
const GOODBYE: Duration = Duration::from_millis(250);

/// Runs the command line; the words are those of the process, its name first.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parsed(GadgetArgs::try_parse_from(words)) {
        Ok(GadgetArgs { command }) => in_runtime(async |console| run(command, console).await),
        Err(code) => code,
    }
}

fn parsed<T>(args: Result<T, clap::Error>) -> Result<T, ExitCode> {
    args.map_err(|error| {
        // Nobody is left to tell when standard error is closed.
        let _closed = error.print();
        if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
    })
}

/// Runs a command, and says what went wrong.
fn in_runtime(command: impl AsyncFnOnce(&mut Console) -> anyhow::Result<ExitCode>) -> ExitCode {
    // The first one in a process is taken by all; a second call changes nothing.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let mut console = Console::standard();
    let ended = tokio::runtime::Runtime::new().context("failed to start the runtime").and_then(|runtime| {
        let ended = runtime.block_on(command(&mut console));
        // A thread that reads from a terminal ends with the next line only.
        runtime.shutdown_timeout(GOODBYE);
        ended
    });
    ended.unwrap_or_else(|error| {
        let label = console.style.paint(Paint::Bad, "error:");
        console.note(&format!("{label} {error:#}"));
        ExitCode::FAILURE
    })
}

async fn run(command: Command, console: &mut Console) -> anyhow::Result<ExitCode> {
    match command {
        Command::Local(args) => local::run(args, console).await,
        Command::Prompt(args) => command::prompt::run(args, console).await,
        Command::Attach(args) => command::attach::run(args, console).await,
        Command::Sessions(args) => done(command::sessions::list(args, console).await),
        Command::Drones(args) => done(command::drones::list(args, console).await),
        Command::Users(UsersArgs { command }) => done(command::users::run(command, console).await),
        Command::Providers(ProvidersArgs { command }) => {
            done(command::providers::run(command, console).await)
        }
        Command::Login(args) => done(command::login::run(args, console).await),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut GadgetArgs::command(), "gadget", &mut script);
            done(console.bytes(&script).map_err(Into::into))
        }
    }
}

fn done(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

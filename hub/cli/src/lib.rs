//! `gadget`: the whole product in one program, and the commands that talk to a hub.

mod access;
mod api;
mod args;
mod command;
mod console;
mod data_dir;
mod live;
mod local;
mod log_file;
mod table;
mod turn;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};

use self::args::{Command, GadgetArgs, ProvidersArgs, UsersArgs};
use self::console::{Console, Paint};

/// Runs the command line; the words are those of the process, its name first.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.into_iter().collect();
    let GadgetArgs { command } = match GadgetArgs::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _closed = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let mut console = Console::standard();
    match run(command, &mut console) {
        Ok(code) => code,
        Err(error) => {
            let label = console.style.paint(Paint::Bad, "error:");
            console.note(&format!("{label} {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, console: &mut Console) -> anyhow::Result<ExitCode> {
    // The first one in a process is taken by all; a second call changes nothing.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
    runtime.block_on(async {
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
                done(console.out(&String::from_utf8_lossy(&script)).map_err(Into::into))
            }
        }
    })
}

fn done(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

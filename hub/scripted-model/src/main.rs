//! `scripted-model`: a model endpoint that follows a script file.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use scripted_model::settings::Settings;
use scripted_model::{Pace, ScriptedModel};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// A model endpoint that follows a script: OpenAI chat completions and Ollama's chat API, without any model.
///
/// Prints its address as one line of JSON and serves until SIGINT or SIGTERM. GET /report tells what was asked and
/// which rules were broken.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The script file; none: the demo tour.
    #[arg(long)]
    script: Option<PathBuf>,
    /// Milliseconds between the pieces of an answer; overrides the file's.
    #[arg(long)]
    pace: Option<u64>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { listen, script, pace } = Args::parse();
    let pace = pace.map(|piece| Pace { piece, seed: 0 });
    let model = match script {
        None => ScriptedModel::tour(pace.unwrap_or(Pace::TYPING)),
        Some(path) => {
            let text = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
            let settings: Settings = serde_json::from_slice(&text)
                .with_context(|| format!("{} is no script file", path.display()))?;
            ScriptedModel::new(Settings { pace: pace.unwrap_or(settings.pace), ..settings })
        }
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let server = model.serve(listen).await?;
    writeln!(std::io::stdout(), "{}", json!({ "url": server.url() }))?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    server.stop().await;
    Ok(())
}

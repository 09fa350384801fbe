//! `gadget attach`: a session live in the terminal, with prompts typed into it.

use std::process::ExitCode;

use anyhow::Context as _;
use protocol::document::{ChatSession, ChatTurn};
use protocol::event::TurnEvent;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines, Stdin};

use crate::access::HubAccess;
use crate::api::Api;
use crate::args::AttachArgs;
use crate::console::Console;
use crate::live::{Live, Target, Update};
use crate::turn::interrupt::Interrupts;
use crate::turn::output::Output;

pub(crate) async fn run(args: AttachArgs, console: &mut Console) -> anyhow::Result<ExitCode> {
    let AttachArgs { session: id, hub, json } = args;
    session(HubAccess::find(&hub)?, &id, json, console).await
}

pub(crate) async fn session(
    access: HubAccess,
    id: &str,
    json: bool,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let mut interrupts = Interrupts::listen().context("failed to listen for signals")?;
    let api = Api::new(access)?;
    let turns: Vec<ChatTurn> = api.list(&format!("/chat-sessions/{id}/turns")).await?;
    let ChatSession { id, project, name, .. } = api.get(&format!("/chat-sessions/{id}")).await?;
    let mut live = Live::open(api.access(), Target { session: id, project }, Some(replayed_from(&turns)))?;
    let mut output = Output::new(console, json);
    output.note(&format!("{name}: type a prompt and Enter; Ctrl-C stops a running turn, twice leaves"));
    for turn in turns.iter().filter(|turn| turn.status.is_over()) {
        output.past(turn)?;
    }
    let mut keyboard = (!json).then(|| BufReader::new(tokio::io::stdin()).lines());
    let ended = follow(&mut live, &mut output, &mut interrupts, &mut keyboard).await;
    live.close().await;
    output.end()?;
    ended.map(|()| ExitCode::SUCCESS)
}

/// What is over is shown from the store; a turn that runs is told from its beginning.
fn replayed_from(turns: &[ChatTurn]) -> u64 {
    turns.iter().filter(|turn| turn.status.is_over()).map(|turn| turn.last_seq).max().unwrap_or(0)
}

async fn follow(
    live: &mut Live,
    output: &mut Output<'_>,
    interrupts: &mut Interrupts,
    keyboard: &mut Option<Lines<BufReader<Stdin>>>,
) -> anyhow::Result<()> {
    let mut runs = false;
    // Each attempt may fail for the same reason; once is enough to be told.
    let mut away = String::new();
    let mut is_locked = false;
    // Typed before the session is locked. No more is read until it is.
    let mut waiting: Option<String> = None;
    loop {
        tokio::select! {
            update = live.next() => match update {
                Update::Event(event) => {
                    runs = event.turn.as_ref().map_or(runs, |(event, _)| !matches!(event, TurnEvent::WorkOrderComplete { .. }));
                    output.event(&event, true)?;
                }
                Update::CaughtUp(turn) => {
                    runs = !turn.status.is_over();
                    output.stored(&turn)?;
                }
                Update::Submitted(_) => runs = true,
                Update::Refused(request, why) => output.note(&format!("{request}: {why}")),
                Update::Away(why) => {
                    is_locked = false;
                    if why != away {
                        output.note(&why);
                        away = why;
                    }
                }
                Update::Gone(why) => anyhow::bail!("{why}"),
                Update::Locked => {
                    is_locked = true;
                    away.clear();
                    if let Some(prompt) = waiting.take() {
                        live.submit(&prompt);
                    }
                }
                Update::Aborting => {}
            },
            () = interrupts.recv() => {
                if !runs {
                    return Ok(());
                }
                // Another one leaves, and lets the turn work on.
                runs = false;
                live.abort();
            }
            typed = next_line(keyboard), if waiting.is_none() => match typed? {
                Some(prompt) if !prompt.trim().is_empty() && is_locked => live.submit(&prompt),
                Some(prompt) if !prompt.trim().is_empty() => waiting = Some(prompt),
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}

async fn next_line(keyboard: &mut Option<Lines<BufReader<Stdin>>>) -> std::io::Result<Option<String>> {
    match keyboard {
        Some(lines) => lines.next_line().await,
        None => std::future::pending().await,
    }
}

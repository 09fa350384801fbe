//! `gadget local`: the whole product in one process and its drones, until it is told to stop.

mod announce;
mod hub;
mod listen;
mod models;
mod owner;
mod place;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use self::announce::Ready;
use self::hub::LocalHub;
use self::place::Place;
use crate::access::HubAccess;
use crate::args::LocalArgs;
use crate::console::Console;
use crate::live::Target;
use crate::turn::interrupt::Interrupts;
use crate::turn::{self, TurnRequest};
use crate::{data_dir, log_file};

/// Starts everything, says where it is, and stops everything again.
pub(crate) async fn run(args: LocalArgs, console: &mut Console) -> anyhow::Result<ExitCode> {
    let LocalArgs { listen, data, workspace, project, openai, key_env, ollama, model, prompt, json } = args;
    // First of all: a signal that comes while things start must stop them in order, too.
    let mut interrupts = Interrupts::listen().context("failed to listen for signals")?;
    let wishes = models::Wishes::new(openai, key_env, ollama, model)?;
    let project = project.as_deref().map(place::repository).transpose()?;
    let workspace = workspace.as_deref().map(place::checked_workspace).transpose()?;
    let data = data_dir::resolve(data.as_deref())?;
    let lock = hub::lock(&data)?;
    log_file::start(&data)?;

    let listener = listen::bind(listen, &data).await?;
    let running = LocalHub::start(&data, lock, listener, &wishes).await?;
    // A model server that does not answer is waited for; whoever wants to stop is not kept by that.
    let prepared = tokio::select! {
        prepared = prepare(&running, &data, &wishes, project, workspace) => prepared.map(Some),
        () = interrupts.recv() => Ok(None),
    };
    let outcome = match prepared {
        Ok(Some((ready, place))) => {
            serve(&running, &ready, place, prompt.as_deref(), json, console, &mut interrupts).await
        }
        Ok(None) if prompt.is_some() => Ok(turn::TurnEnd::Aborted.exit_code()),
        Ok(None) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
    };
    // A hub that has gone is not found by other commands any more.
    let _not_there = std::fs::remove_file(data_dir::running_file(&data));
    running.stop().await;
    outcome
}

/// Owner, token, project and session: what makes the printed address useful.
async fn prepare(
    running: &LocalHub,
    data: &Path,
    wishes: &models::Wishes,
    project: Option<String>,
    workspace: Option<std::path::PathBuf>,
) -> anyhow::Result<(Ready, Place)> {
    let app = &running.app;
    let owner = app.auth.ensure_owner().await.context("failed to make the owner's account")?;
    let token = owner::token(app, &owner, &data_dir::token_file(data)).await?;
    let warnings = models::look(&app.providers, wishes).await;
    let providers = app.store.providers().await?;
    let model = models::choose(wishes, &providers, project.is_some())?;
    let place = place::find_or_make(app, data, &owner.user, &model, project, workspace).await?;
    let ready = Ready {
        url: running.url.clone(),
        link: format!("{}/#token={token}", running.url),
        token,
        data_dir: data.to_owned(),
        workspace: place.workspace.clone(),
        pid: std::process::id(),
        model_label: model.label(&providers),
        model,
        warnings,
    };
    let found_by = data_dir::Running { url: ready.url.clone(), pid: ready.pid };
    data_dir::write_private(&data_dir::running_file(data), &serde_json::to_vec(&found_by)?)
        .with_context(|| format!("failed to write into {}", data.display()))?;
    Ok((ready, place))
}

async fn serve(
    running: &LocalHub,
    ready: &Ready,
    place: Place,
    prompt: Option<&str>,
    json: bool,
    console: &mut Console,
    interrupts: &mut Interrupts,
) -> anyhow::Result<ExitCode> {
    for warning in &ready.warnings {
        console.note(warning);
    }
    if json {
        console.json(ready)?;
    }
    let Some(prompt) = prompt else {
        if !json {
            console.out(&ready.text(console.style))?;
        }
        tokio::select! {
            () = interrupts.recv() => {}
            () = running.failed() => anyhow::bail!("the hub stopped serving; see {}", ready.log().display()),
        }
        if !json {
            console.note("stopping");
        }
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(hint) = ready.model.hint() {
        console.note(&hint);
    }
    let access = HubAccess::with_file(&ready.url, data_dir::token_file(&ready.data_dir));
    let Place { project, session, workspace: _ } = place;
    let request = TurnRequest { access: &access, target: Target { session, project }, prompt, json };
    Ok(turn::run(request, console, interrupts).await?.exit_code())
}

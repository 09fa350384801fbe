//! `gadget prompt`.

use std::process::ExitCode;

use anyhow::Context as _;
use protocol::document::{ChatSession, Project};
use reqwest::Method;
use serde_json::json;

use crate::access::HubAccess;
use crate::api::Api;
use crate::args::PromptArgs;
use crate::console::Console;
use crate::live::Target;
use crate::turn::interrupt::Interrupts;
use crate::turn::{self, TurnRequest};

pub(crate) async fn run(args: PromptArgs, console: &mut Console) -> anyhow::Result<ExitCode> {
    let PromptArgs { text, session, new, hub, json } = args;
    let mut interrupts = Interrupts::listen().context("failed to listen for signals")?;
    let api = Api::new(HubAccess::find(&hub)?)?;
    let ChatSession { id, project, .. } = match session {
        Some(id) => api.get(&format!("/chat-sessions/{id}")).await?,
        None => newest_or_new(&api, new).await?,
    };
    let target = Target { session: id, project };
    let request = TurnRequest { access: api.access(), target, prompt: &text, json };
    Ok(turn::run(request, console, &mut interrupts).await?.exit_code())
}

/// Of the project that was worked on last.
async fn newest_or_new(api: &Api, new: bool) -> anyhow::Result<ChatSession> {
    let sessions: Vec<ChatSession> = api.list("/chat-sessions").await?;
    // Ids sort by time.
    let newest = sessions.into_iter().filter(|s| s.archived_at.is_none()).max_by(|a, b| a.id.cmp(&b.id));
    let project = match newest {
        Some(session) if !new => return Ok(session),
        Some(session) => session.project,
        None => {
            let projects: Vec<Project> = api.list("/projects").await?;
            projects.into_iter().next().context("there is no project yet: make one in the hub's page")?.id
        }
    };
    api.ask(Method::POST, "/chat-sessions", Some(&json!({ "project": project }))).await
}

//! `gadget sessions`.

use std::collections::HashMap;

use protocol::document::{ChatSession, Project};

use crate::access::HubAccess;
use crate::api::Api;
use crate::args::ListArgs;
use crate::console::Console;
use crate::table::table;

pub(crate) async fn list(args: ListArgs, console: &mut Console) -> anyhow::Result<()> {
    let ListArgs { hub, json } = args;
    let api = Api::new(HubAccess::find(&hub)?)?;
    let sessions: Vec<ChatSession> = api.list("/chat-sessions").await?;
    if json {
        return Ok(sessions.iter().try_for_each(|session| console.json(session))?);
    }
    let projects: Vec<Project> = api.list("/projects").await?;
    let names: HashMap<_, _> = projects.into_iter().map(|project| (project.id, project.name)).collect();
    let rows: Vec<[String; 5]> = sessions
        .into_iter()
        .map(|session| {
            let ChatSession { id, project, name, selected_model, provider, stats, .. } = session;
            let project = names.get(&project).cloned().unwrap_or_else(|| project.to_string());
            let model = selected_model.or(provider).unwrap_or_else(|| "–".to_owned());
            [id.to_string(), name, project, model, stats.turn_count.to_string()]
        })
        .collect();
    Ok(console.out(&table(console.style, ["ID", "NAME", "PROJECT", "MODEL", "TURNS"], &rows))?)
}

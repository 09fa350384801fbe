//! `kubectl gadget ls`.

use crds::why::words;
use crds::{ChatSession, conditions};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;

use super::args::ListArgs;
use super::cluster::Cluster;
use crate::console::Console;
use crate::table::table;

/// So many objects are asked for at a time.
const PAGE: u32 = 500;

pub(super) async fn run(cluster: &Cluster, args: &ListArgs, console: &mut Console) -> anyhow::Result<()> {
    let ListArgs { all_namespaces, json } = *args;
    let api: Api<ChatSession> = if all_namespaces { Api::all(cluster.client.clone()) } else { cluster.api() };
    let mut sessions: Vec<ChatSession> = Vec::new();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = cluster.answer(api.list(&params)).await?;
        sessions.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    if json {
        return Ok(sessions.iter().try_for_each(|session| console.json(session))?);
    }
    if sessions.is_empty() {
        let place =
            if all_namespaces { String::new() } else { format!(" in namespace {}", cluster.namespace) };
        console.note(&format!("no sessions{place}"));
        return Ok(());
    }
    let now = Timestamp::now();
    let rows: Vec<[String; 8]> = sessions.iter().map(|session| row(session, now)).collect();
    let heading = ["NAMESPACE", "NAME", "PHASE", "SINCE", "USER", "PROJECT", "RESTARTS", "WHY"];
    let text = if all_namespaces {
        table(console.style, heading, &rows)
    } else {
        let rows: Vec<[String; 7]> = rows.into_iter().map(|[_, rest @ ..]| rest).collect();
        let [_, heading @ ..] = heading;
        table(console.style, heading, &rows)
    };
    Ok(console.out(&text)?)
}

fn row(session: &ChatSession, now: Timestamp) -> [String; 8] {
    let status = session.status.clone().unwrap_or_default();
    let ready = conditions::find(&status.conditions, conditions::READY);
    let since = ready.map(|ready| words::ago(ready.last_transition_time.0, now)).unwrap_or_default();
    let why = ready.filter(|ready| ready.status != "True").map(|ready| ready.reason.clone());
    let none = || "–".to_owned();
    [
        session.metadata.namespace.clone().unwrap_or_default(),
        session.metadata.name.clone().unwrap_or_default(),
        status.phase.map_or_else(none, |phase| format!("{phase:?}")),
        since,
        session.spec.user.clone(),
        session.spec.project.slug.clone(),
        status.restarts.unwrap_or_default().to_string(),
        why.unwrap_or_default(),
    ]
}

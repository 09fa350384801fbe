//! What the hub knows and the cluster does not: what the agent says. `kubectl gadget login`, `attach`, `prompt`, `open`.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use crds::chat_session::AdoptionState;
use crds::{ChatSession, names};
use protocol::document::ChatSession as Document;
use serde::Deserialize;
use serde_json::json;

use super::args::{AttachArgs, HubPlace, LoginArgs, OpenArgs, PromptArgs};
use super::cluster::Cluster;
use super::forward::Forward;
use super::sign_in;
use crate::access::HubAccess;
use crate::api::Api;
use crate::command::{attach as attaching, login as signing_in, secret};
use crate::console::Console;
use crate::live::Target;
use crate::turn::interrupt::Interrupts;
use crate::turn::{self, TurnRequest};

#[derive(Deserialize)]
struct SignedIn {
    token: String,
}

pub(super) async fn login(cluster: &Cluster, args: LoginArgs, console: &mut Console) -> anyhow::Result<()> {
    let LoginArgs { email, invite, hub } = args;
    let namespace = place(cluster, &hub);
    let forward = Forward::start(cluster, namespace, 0).await?;
    let (route, body) = match (&email, &invite) {
        (Some(email), _) => {
            let password = secret(console, "Password")?;
            ("sign-in", json!({ "email": email, "password": password }))
        }
        (None, Some(link)) => ("redeem", json!({ "invite": code(link.as_str())? })),
        (None, None) => bail!("name --email or --invite"),
    };
    let SignedIn { token } = signing_in::ask(&forward.url(), route, &body).await?;
    sign_in::remember(&cluster.server, namespace, &token)?;
    Ok(console.line(&format!("signed in to the hub in namespace {namespace}"))?)
}

pub(super) async fn attach(
    cluster: &Cluster,
    args: AttachArgs,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let AttachArgs { session, hub, json } = args;
    let id = id_of(&cluster.session(&session).await?)?;
    let (_forward, access) = reach(cluster, &hub).await?;
    attaching::session(access, &id, json, console).await
}

pub(super) async fn prompt(
    cluster: &Cluster,
    args: PromptArgs,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let PromptArgs { session, text, hub, json } = args;
    let mut interrupts = Interrupts::listen().context("failed to listen for signals")?;
    let id = id_of(&cluster.session(&session).await?)?;
    let (_forward, access) = reach(cluster, &hub).await?;
    let api = Api::new(access)?;
    let Document { id, project, .. } = api.get(&format!("/chat-sessions/{id}")).await?;
    let request =
        TurnRequest { access: api.access(), target: Target { session: id, project }, prompt: &text, json };
    Ok(turn::run(request, console, &mut interrupts).await?.exit_code())
}

pub(super) async fn open(cluster: &Cluster, args: OpenArgs, console: &mut Console) -> anyhow::Result<()> {
    let OpenArgs { session, hub, port, no_browser } = args;
    let page = match session {
        Some(name) => format!("/#/s/{}", id_of(&cluster.session(&name).await?)?),
        None => "/".to_owned(),
    };
    let mut interrupts = Interrupts::listen().context("failed to listen for signals")?;
    let forward = Forward::start(cluster, place(cluster, &hub), port).await?;
    let url = format!("{}{page}", forward.url());
    console.line(&url)?;
    if !no_browser && !browse(&url) {
        console.note("no browser could be started: open the address above");
    }
    console.note("Ctrl-C ends it");
    interrupts.recv().await;
    Ok(())
}

fn place<'a>(cluster: &'a Cluster, hub: &'a HubPlace) -> &'a str {
    hub.hub_namespace.as_deref().unwrap_or(&cluster.namespace)
}

async fn reach(cluster: &Cluster, hub: &HubPlace) -> anyhow::Result<(Forward, HubAccess)> {
    let namespace = place(cluster, hub);
    let Some(token) = sign_in::token(&cluster.server, namespace)? else {
        bail!(
            "not signed in to the hub in namespace {namespace}: `kubectl gadget login --email …`, or print a link with \
             `kubectl -n {namespace} exec deploy/gadget-hub -- gadget-hub invite HANDLE` and give it to \
             `kubectl gadget login --invite LINK`"
        );
    };
    let forward = Forward::start(cluster, namespace, 0).await?;
    let access = HubAccess::with_token(&forward.url(), token);
    Ok((forward, access))
}

/// The hub's own sessions are named by their id; others are known to it by their uid, once it has taken them in.
fn id_of(session: &ChatSession) -> anyhow::Result<String> {
    let metadata = &session.metadata;
    let (name, uid) = (metadata.name.clone().unwrap_or_default(), metadata.uid.clone().unwrap_or_default());
    let by = metadata.labels.as_ref().and_then(|labels| labels.get(names::MANAGED_BY));
    if by.is_some_and(|by| by == names::HUB) {
        return Ok(name);
    }
    match session.status.as_ref().and_then(|status| status.adoption.as_ref()) {
        Some(adoption) if adoption.state == AdoptionState::Adopted => Ok(uid),
        Some(adoption) => bail!("the hub has not taken {name} in: {}", adoption.message),
        None => bail!("the hub has not taken {name} in yet; try again in a moment"),
    }
}

/// What stands after `#invite=` in a link.
fn code(link: &str) -> anyhow::Result<&str> {
    let code = link.split_once("#invite=").map(|(_, code)| code).filter(|code| !code.is_empty());
    code.context("this is no link of `gadget-hub invite`: it ends with #invite=…, put it in quotes")
}

fn browse(url: &str) -> bool {
    ["xdg-open", "open"].iter().any(|program| {
        let mut command = Command::new(program);
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Not waited for by us: some stay for as long as the browser does.
        command.spawn().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn session(metadata: Value, status: Value) -> ChatSession {
        serde_json::from_value(json!({
            "apiVersion": "gadgetcode.dev/v1alpha1", "kind": "ChatSession", "metadata": metadata, "status": status,
            "spec": { "user": "ada", "project": { "slug": "shop" } },
        }))
        .unwrap()
    }

    #[test]
    fn a_session_is_known_to_the_hub_by_its_name_or_its_uid() {
        let labels = json!({ "app.kubernetes.io/managed-by": "gadget-hub" });
        let own = session(json!({ "name": "01j", "uid": "u-1", "labels": labels }), json!({}));
        assert_eq!(id_of(&own).unwrap(), "01j");
        let taken_in = json!({ "adoption": { "state": "Adopted", "message": "" } });
        let made = session(json!({ "name": "fix-login", "uid": "u-2" }), taken_in);
        assert_eq!(id_of(&made).unwrap(), "u-2");
    }

    #[test]
    fn why_the_hub_does_not_know_a_session_is_said() {
        let status = json!({ "adoption": { "state": "UserUnknown", "message": "add the user ada" } });
        let unknown = session(json!({ "name": "fix-login", "uid": "u-2" }), status);
        assert!(id_of(&unknown).unwrap_err().to_string().contains("add the user ada"));
    }

    #[test]
    fn the_code_is_taken_from_the_link() {
        assert_eq!(code("http://localhost:8420/#invite=abc").unwrap(), "abc");
        assert!(code("http://localhost:8420/").is_err());
    }
}

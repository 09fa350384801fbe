//! Git servers that refuse: without the project's credential the turn ends with what to do, with it the agent clones and
//! pushes, and the password is nowhere.

use std::path::Path;

use protocol::event::EventName;
use protocol::value::ChatTurnStatus;
use reqwest::Method;
use scripted_model::script::{Answer, Script, Step};
use serde_json::{Value, json};
use tests::repository::{Repository, checkout_in};
use tests::stage::Stage;
use tests::transcript::all_ended_well;

use self::git_server::GitServer;

mod git_server;

const PASSWORD: &str = "glpat-nobody-sees-this-password";

fn pushing() -> Script {
    let command = "cat README.md && echo pushed > pushed.txt && git add pushed.txt \
                   && git commit --quiet --message Push && git push --quiet origin HEAD:main; \
                   code=$?; env; cat .git/config; exit $code";
    Script::new([
        Answer::new([Step::call("shell_exec", json!({ "command": command }))]),
        Answer::new([Step::say("Pushed.")]),
    ])
}

/// Files below a directory that hold the password.
fn holding_the_password(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(holding_the_password(&entry.path()));
        } else if kind.is_file() {
            // What is gone by now is no leak.
            let content = std::fs::read(entry.path()).unwrap_or_default();
            if content.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes()) {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn a_credential_of_the_project_lets_the_agent_clone_and_push_and_shows_itself_nowhere() {
    let stage = Stage::with_script(pushing()).await.unwrap();
    let repository = Repository::with(&[("README.md", "boats\n")]).await.unwrap();
    let server = GitServer::start(&repository, "ada", PASSWORD).await.unwrap();
    let (ide, session) = stage.open("boats", Some(&server.url())).await.unwrap();

    // Without it the turn says what is missing, and asks no model.
    let refused = ide.prompt("Push it").await.unwrap();
    assert_eq!(ide.finished(&refused).await.unwrap(), ChatTurnStatus::Error);
    assert_eq!(ide.names(&refused), [EventName::WorkOrderComplete]);
    let stored = stage.api.finished_turn(&session.id, &refused).await.unwrap();
    let reason = stored.error_message.unwrap();
    assert!(reason.starts_with("sync_failed: failed to clone "), "{reason}");
    assert!(reason.contains("wants a credential and there is none"), "{reason}");

    let credential = json!({ "host": server.host, "username": "ada", "password": PASSWORD });
    let path = format!("/projects/{}/credential", session.project);
    let place: Value = stage.api.call(Method::PUT, &path, Some(&credential)).await.unwrap();
    assert_eq!(place["host"], server.host.as_str());

    let turn = ide.prompt("Push it now").await.unwrap();
    let status = ide.finished(&turn).await.unwrap();
    let stored = stage.api.finished_turn(&session.id, &turn).await.unwrap();
    assert_eq!(status, ChatTurnStatus::Finished, "{:?}", stored.error_message);
    all_ended_well(&stored.tool_calls).unwrap();
    assert!(stored.tool_calls[0].response.contains("boats"), "{:?}", stored.tool_calls);
    assert_eq!(server.show("pushed.txt").await.unwrap(), "pushed");

    assert_eq!(server.leaks(), [""; 0]);
    assert_eq!(holding_the_password(&stage.gadget.data()), [""; 0]);
    assert!(!serde_json::to_string(&stored).unwrap().contains(PASSWORD));
    ide.close().await.unwrap();
}

#[tokio::test]
async fn a_repository_that_is_not_there_ends_the_turn_with_the_reason_until_it_is() {
    let stage = Stage::with_script(Script::new([Answer::new([Step::say("Here it is.")])])).await.unwrap();
    let repository = Repository::with(&[("README.md", "boats\n")]).await.unwrap();
    let elsewhere = repository.path().join("elsewhere");
    let (ide, session) = stage.open("gone", Some(&format!("file://{}", elsewhere.display()))).await.unwrap();
    let turn = ide.prompt("Look").await.unwrap();
    assert_eq!(ide.finished(&turn).await.unwrap(), ChatTurnStatus::Error);
    let stored = stage.api.finished_turn(&session.id, &turn).await.unwrap();
    let reason = stored.error_message.unwrap();
    assert!(reason.contains("sync_failed") && reason.contains("there is no such repository"), "{reason}");
    assert!(stage.model.requests().iter().all(|request| request.tools.is_empty()), "an agent ran on nothing");

    tests::repository::git(repository.path(), &["clone", "--quiet", ".", "elsewhere"]).await.unwrap();
    let turn = ide.prompt("Look again").await.unwrap();
    assert_eq!(ide.finished(&turn).await.unwrap(), ChatTurnStatus::Finished);
    let checkout = checkout_in(&stage.gadget.workspace(&session.id)).unwrap();
    assert!(checkout.join("README.md").exists());
    ide.close().await.unwrap();
}

//! Git asks the drone for credentials, and the drone the hub.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use drone::model::endpoint::http_client;
use drone::project::credential::{CredentialServer, HubCredentials};
use drone::session_token::{SessionToken, TokenKeeper};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::repository::{Repository, Server, always_open, served};
use crate::world::{DRONE, World, until};

/// A hub that knows one credential and notes the questions.
#[derive(Clone, Default)]
struct Hub {
    questions: Arc<Mutex<Vec<Value>>>,
}

async fn credential(State(hub): State<Hub>, headers: HeaderMap, Json(question): Json<Value>) -> Response {
    if headers.get(header::AUTHORIZATION).is_none_or(|value| value != "Bearer session-token") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let known = question["host"].as_str().is_some_and(|host| host.starts_with("127.0.0.1"));
    hub.questions.lock().push(question);
    if known {
        Json(json!({ "username": "ada", "password": "right" })).into_response()
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}

struct Setup {
    hub: Hub,
    _hub_server: Server,
    credentials: CredentialServer,
    keeper: Option<TokenKeeper>,
    world: World,
}

async fn setup(token: Option<&str>) -> Setup {
    let mut world = World::new();
    let hub = Hub::default();
    let router = Router::new().route("/internal/git-credential", post(credential)).with_state(hub.clone());
    let server = Server::start(router).await;
    let keeper = TokenKeeper::new(token.map(SessionToken::new));
    let url = server.url.parse().unwrap();
    let asking = HubCredentials::new(http_client(&url).unwrap(), &url, keeper.tokens()).unwrap();
    let credentials = CredentialServer::start(&world.context.workspace, DRONE.as_ref(), &[], asking).unwrap();
    world.context.job_env = Arc::new(credentials.git_environment());
    Setup { hub, _hub_server: server, credentials, keeper: Some(keeper), world }
}

#[tokio::test]
async fn the_agents_git_gets_the_credential_of_the_hub() {
    let repository = Repository::new();
    let router = served(repository.directory.path(), Some(("ada", "right")), always_open());
    let server = Server::start(router).await;
    let setup = setup(Some("session-token")).await;
    let command = format!("git clone --quiet {}/bare.git cloned && cat cloned/README.md", server.url);
    let text = setup.world.text("shell_exec", json!({ "command": command })).await;
    assert!(text.contains("first\n"), "{text}");
    let host = server.url.trim_start_matches("http://");
    let expected = json!({ "protocol": "http", "host": host, "path": "bare.git" });
    assert!(setup.hub.questions.lock().contains(&expected));
    let environment =
        setup.world.text("shell_exec", json!({ "command": "env; cat cloned/.git/config" })).await;
    assert!(!environment.contains("right") && !environment.contains("session-token"), "{environment}");
    setup.credentials.stop().await;
}

#[tokio::test]
async fn the_drones_own_git_gets_it_too() {
    let repository = Repository::new();
    let router = served(repository.directory.path(), Some(("ada", "right")), always_open());
    let server = Server::start(router).await;
    let setup = setup(Some("session-token")).await;
    let settings = drone::project::GitSettings {
        environment: setup.credentials.git_environment(),
        ..drone::project::GitSettings::default()
    };
    let project = serde_json::from_value(json!({
        "_id": "p", "createdAt": "2026-01-01T00:00:00Z", "user": "u", "name": "P", "slug": "cloned",
        "gitUrl": format!("{}/bare.git", server.url),
    }))
    .unwrap();
    let cancel = tokio_util::sync::CancellationToken::new();
    let workspace = &setup.world.context.workspace;
    let checkout =
        drone::project::sync(&project, None, workspace, &settings, &|_| {}, &cancel).await.unwrap();
    assert!(checkout.root.join("README.md").exists());
}

#[tokio::test]
async fn without_a_credential_git_fails_at_once_and_does_not_ask_anybody_else() {
    let repository = Repository::new();
    let router = served(repository.directory.path(), Some(("ada", "right")), always_open());
    let server = Server::start(router).await;
    for token in [None, Some("expired")] {
        let mut setup = setup(token).await;
        // The process ends: there will be no other one.
        setup.keeper = None;
        let command = format!("git ls-remote {}/bare.git", server.url);
        let outcome = setup.world.call("shell_exec", json!({ "command": command })).await;
        assert!(outcome.is_error && outcome.text.contains("told us to quit"), "{}", outcome.text);
    }
}

#[tokio::test]
async fn only_this_user_can_reach_the_socket_however_long_the_path_is() {
    let temporary = tempfile::tempdir().unwrap();
    let workspace = temporary.path().join("w".repeat(120));
    std::fs::create_dir_all(&workspace).unwrap();
    let tokens = TokenKeeper::new(None).tokens();
    let url = "http://127.0.0.1:1/".parse().unwrap();
    let hub = HubCredentials::new(http_client(&url).unwrap(), &url, tokens).unwrap();
    let server = CredentialServer::start(&workspace, DRONE.as_ref(), &[], hub).unwrap();
    let socket = PathBuf::from(&server.git_environment()["GADGET_GIT_CREDENTIAL"]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    server.stop().await;
}

#[tokio::test]
async fn an_agent_that_cleans_up_too_much_does_not_cut_git_off() {
    let setup = setup(Some("session-token")).await;
    let socket = PathBuf::from(&setup.credentials.git_environment()["GADGET_GIT_CREDENTIAL"]);
    let gone = setup.world.text("shell_exec", json!({ "command": "rm -rf $TMPDIR/*; ls $TMPDIR" })).await;
    assert!(gone.starts_with("[no output]"), "{gone}");
    until("git can ask again", || socket.exists()).await;
    let question = "printf 'protocol=https\\nhost=127.0.0.1\\n\\n' | git credential fill";
    let text = setup.world.text("shell_exec", json!({ "command": question })).await;
    assert!(text.contains("password=right"), "{text}");
}

#[tokio::test]
async fn a_token_that_is_missing_or_refused_is_waited_for() {
    let repository = Repository::new();
    let router = served(repository.directory.path(), Some(("ada", "right")), always_open());
    let server = Server::start(router).await;
    for token in [None, Some("expired")] {
        let mut setup = setup(token).await;
        let keeper = setup.keeper.take().unwrap();
        let renewing = tokio::spawn(async move {
            if token.is_some() {
                keeper.refused().await;
            }
            keeper.put(Some(SessionToken::new("session-token")));
            keeper
        });
        let command = format!("git ls-remote {}/bare.git", server.url);
        let text = setup.world.text("shell_exec", json!({ "command": command })).await;
        assert!(text.contains("refs/heads/main"), "{text}");
        renewing.await.unwrap();
    }
}

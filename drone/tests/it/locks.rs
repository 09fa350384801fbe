//! Locks, modes, files, and a process that begins and ends.

use std::time::Duration;

use drone::job::DEFAULT_MORE_TASKS;
use drone::model::endpoint::Clocks;
use drone::run::config::{DEFAULT_ORPHAN_TIMEOUT, Exit, RunConfig};
use drone::run::run_until;
use nix::sys::signal::Signal;
use protocol::event::TurnEvent;
use protocol::value::ChatTurnStatus;
use scripted_model::ScriptedModel;
use scripted_model::script::{Answer, Script, Step};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::hub::{Hub, Store, TOKEN};
use crate::world::{World, order, project};

const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(400);

fn nobody() -> ScriptedModel {
    ScriptedModel::of(Script::default())
}

async fn mode(world: &World, mode: &str) -> Vec<Value> {
    world.hub.ask("requestWorkspaceMode", &(json!(null), json!(null), json!(null), mode)).await
}

#[tokio::test]
async fn a_lock_brings_the_project_and_is_known_to_the_next_process() {
    let mut world = World::locked(nobody()).await;
    assert!(world.project().join(".git").exists());
    let modes = world.hub.look(|store| store.modes.clone());
    assert_eq!(modes, ["syncing", "idle"]);
    let document = world.document("workspace.json").unwrap();
    assert_eq!(document["chatSession"]["_id"], "session-1");
    assert_eq!(document["lockedProject"]["slug"], "boats");
    assert_eq!(document["projects"][0]["_id"], "project-1");
    assert_eq!(document["registration"]["status"], "busy");
    let state = world.hub.ask("workspaceState", &(json!({}),)).await;
    assert_eq!((&state[0], &state[1]), (&json!(true), &document));
    world.drone.kill().await;
    let before = world.hub.look(|store| store.hellos.len());
    world.start_drone(&["--process-restarts", "1", "--last-exit", "signal:9"]);
    world.hub.hellos(before + 1).await;
    let hello = world.hub.look(|store| store.hellos.last().cloned()).unwrap();
    assert_eq!(hello.lock.unwrap().chat_session_id.as_str(), "session-1");
    assert_eq!(hello.process_restarts, 1);
    assert_eq!(hello.last_exit.unwrap().signal, Some(9));
}

#[tokio::test]
async fn another_session_is_refused_until_the_lock_is_released() {
    let world = World::locked(nobody()).await;
    assert_eq!(world.lock("session-1").await[0], true);
    let answer = world.lock("session-2").await;
    assert_eq!((&answer[0], &answer[2]["code"]), (&json!(false), &json!("drone_locked")));
    assert_eq!(world.hub.ask("sessionHeartbeat", &()).await, [true]);
    assert_eq!(world.hub.ask("releaseSessionLock", &()).await[0], true);
    assert_eq!(world.hub.ask("sessionHeartbeat", &()).await, [false]);
    assert_eq!(world.lock("session-2").await[0], true);
}

#[tokio::test]
async fn modes_and_file_writes_follow_the_rules() {
    let world = World::locked(nobody()).await;
    let write = json!({ "path": "a.txt", "content": "a" });
    let answer = world.hub.ask("fileWriteRequest", &(&write,)).await;
    assert_eq!((&answer[0], &answer[1]["code"]), (&json!(false), &json!("mode")));
    assert_eq!(mode(&world, "syncing").await[0], false);
    assert_eq!(mode(&world, "user").await[..2], [json!(true), json!("user")]);
    let answer = world.hub.ask("fileWriteRequest", &(&write,)).await;
    assert_eq!(answer[0], true, "{answer:?}");
    let answer = world.hub.ask("fileReadRequest", &(json!({ "path": "a.txt" }),)).await;
    assert_eq!((&answer[0], &answer[1]["content"]), (&json!(true), &json!("a")));
    let answer = world.hub.ask("fileTreeRequest", &(json!({}),)).await;
    assert_eq!(answer[1]["entries"][0]["name"], "a.txt", "{answer:?}");
    let answer = world.hub.ask("fileReadRequest", &(json!({ "path": "../../etc/passwd" }),)).await;
    assert_eq!((&answer[0], &answer[1]["code"]), (&json!(false), &json!("path_escape")));
    let answer = world.hub.dispatch(order("work")).await;
    assert_eq!((&answer[0], &answer[1]["code"]), (&json!(false), &json!("mode")));
}

#[tokio::test]
async fn what_nobody_understands_is_answered_with_a_code() {
    let world = World::start(nobody()).await;
    let answer = world.hub.ask("makeCoffee", &()).await;
    assert_eq!((&answer[0], &answer[1]["code"]), (&json!(false), &json!("unknown_event")));
    let answer = world.hub.ask("processWorkOrder", &(json!(1), json!({ "_id": 7 }))).await;
    assert_eq!((&answer[0], &answer[1]["code"]), (&json!(false), &json!("invalid")));
    let answer = world.hub.dispatch(order("work")).await;
    assert_eq!((&answer[0], &answer[1]["code"]), (&json!(false), &json!("no_session")));
    assert_eq!(world.hub.ask("abortWorkOrder", &()).await[0], false);
}

#[tokio::test]
async fn a_second_drone_on_the_workspace_is_told_who_is_there() {
    let world = World::start(nobody()).await;
    let (status, words) = world.another_drone(&[]).ended().await;
    assert!(!status.success());
    assert!(words.contains(&format!("process {}", world.drone.pid())), "{words}");
}

#[tokio::test]
async fn a_refused_drone_ends_for_good_and_says_why() {
    let world = World::start(nobody()).await;
    std::fs::write(world.token_file(), "stolen").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut stranger =
        crate::process::DroneProcess::start(elsewhere.path(), &world.hub.url(), &world.token_file(), &[]);
    let (status, words) = stranger.ended().await;
    assert_eq!(status.code(), Some(78));
    assert!(words.contains("this token is of another drone"), "{words}");
}

#[tokio::test]
async fn told_to_end_by_hub_or_signal_the_process_ends_well() {
    let mut world = World::locked(nobody()).await;
    assert_eq!(world.hub.ask("requestTermination", &()).await, [true]);
    assert!(world.drone.ended().await.0.success());
    let mut world = World::locked(nobody()).await;
    world.drone.signal(Signal::SIGTERM);
    assert!(world.drone.ended().await.0.success());
}

#[tokio::test]
async fn a_drone_without_hub_and_work_ends_by_itself() {
    let mut world = World::start(nobody()).await;
    world.drone.kill().await;
    world.hub.kill().await;
    world.start_drone(&["--orphan-timeout", "300ms"]);
    assert!(world.drone.ended().await.0.success());
}

#[tokio::test]
async fn a_lock_without_heartbeats_is_let_go_and_one_with_a_turn_is_not() {
    let script = Script::new([Answer::new([Step::say("Wait. "), Step::Stall])]);
    let hub = Hub::start(ScriptedModel::of(script));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), TOKEN).unwrap();
    let config = RunConfig {
        workspace: dir.path().join("workspace"),
        hub: hub.url(),
        registration: "drone-1".into(),
        token_file: dir.path().join("token"),
        orphan_timeout: DEFAULT_ORPHAN_TIMEOUT,
        heartbeat_timeout: HEARTBEAT_TIMEOUT,
        clocks: Clocks::default(),
        clone_depth: None,
        job_tasks: DEFAULT_MORE_TASKS,
        health_listen: None,
        job_program: env!("CARGO_BIN_EXE_gadget-drone").into(),
        job_prefix: Vec::new(),
        process_restarts: 0,
        last_exit: None,
    };
    let shutdown = CancellationToken::new();
    let scenario = async {
        hub.hellos(1).await;
        let lock = async || {
            let session = json!({ "_id": "session-1", "name": "A session" });
            hub.ask("requestSessionLock", &(json!(null), project(), session)).await
        };
        let is_locked = |store: &mut Store| store.hellos.last().is_some_and(|hello| hello.lock.is_some());
        assert_eq!(lock().await[0], true);
        hub.until("the lock", |store| is_locked(store).then_some(())).await;
        hub.until("the lock let go", |store| (!is_locked(store)).then_some(())).await;

        assert_eq!(lock().await[0], true);
        assert_eq!(hub.dispatch(order("talk")).await, [true]);
        hub.until("text", |store| (!store.events.is_empty()).then_some(())).await;
        tokio::time::sleep(2 * HEARTBEAT_TIMEOUT).await;
        assert_eq!(hub.ask("sessionHeartbeat", &()).await, [true]);
        shutdown.cancel();
    };
    let (exit, ()) = tokio::join!(run_until(config, shutdown.clone()), scenario);
    assert_eq!(exit.unwrap(), Exit::Terminated);
}

#[tokio::test]
async fn a_work_order_that_comes_while_the_project_does_is_held_and_can_be_stopped() {
    // The clone waits for a remote that never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/boats.git", listener.local_addr().unwrap());
    let world = World::start(ScriptedModel::of(Script::default())).await;
    let mut slow = project();
    slow["gitUrl"] = url.into();
    let session = json!({ "_id": "session-1", "name": "A session" });
    assert_eq!(world.hub.ask("requestSessionLock", &(json!(null), slow, session)).await[0], true);
    assert_eq!(mode(&world, "user").await[0], false);
    assert_eq!(world.hub.dispatch(order("work")).await, [true]);
    assert!(world.document("work-order.json").is_some());
    assert_eq!(world.hub.ask("abortWorkOrder", &()).await[0], true);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Aborted);
    world.forgotten().await;
}

/// A repository with one commit, where there was nothing before.
fn make_remote(path: &std::path::Path) {
    std::fs::create_dir_all(path).unwrap();
    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com"];
        let git = std::process::Command::new("git").args(who).args(arguments).current_dir(path).status();
        assert!(git.unwrap().success(), "{arguments:?}");
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    std::fs::write(path.join("README.md"), "boats\n").unwrap();
    git(&["add", "README.md"]);
    git(&["commit", "--quiet", "--message", "Begin"]);
}

#[tokio::test]
async fn a_project_that_git_refuses_ends_the_turn_with_the_reason_and_the_next_turn_tries_again() {
    let model = ScriptedModel::of(Script::new([Answer::new([Step::say("There it is.")])]));
    let world = World::start(model.clone()).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let remote = elsewhere.path().join("boats");
    let url = format!("file://{}", remote.display());
    let mut project = project();
    project["gitUrl"] = url.clone().into();
    let session = json!({ "_id": "session-1", "name": "A session" });
    assert_eq!(world.hub.ask("requestSessionLock", &(json!(null), project, session)).await[0], true);
    let is_refused = |store: &mut Store| {
        let told = store.status.iter().any(|line| line.contains("could not be synchronised"));
        (told && store.modes.last().is_some_and(|mode| mode == "idle")).then_some(())
    };
    world.hub.until("the reason", is_refused).await;

    let order_of = |prompt: &str| {
        let mut order = order(prompt);
        order.session.project.git_url = Some(url.clone());
        order
    };
    assert_eq!(world.hub.dispatch(order_of("work")).await, [true]);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Error);
    let last = world.hub.events().pop();
    let Some(TurnEvent::WorkOrderComplete { message: Some(message), .. }) = last else { panic!("{last:?}") };
    assert!(message.starts_with("sync_failed: failed to clone "), "{message}");
    assert!(message.contains("there is no such repository"), "{message}");
    assert_eq!(model.requests().len(), 0, "a model was asked without a project");
    world.forgotten().await;

    make_remote(&remote);
    assert_eq!(world.hub.dispatch(order_of("work now")).await, [true]);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert!(world.project().join("README.md").exists());
    assert_eq!(world.hub.look(|store| store.modes.last().cloned()).as_deref(), Some("agent"));
}

#[tokio::test]
async fn an_address_that_was_corrected_is_used_when_the_lock_is_asked_for_again() {
    let world = World::start(nobody()).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let remote = elsewhere.path().join("boats");
    make_remote(&remote);
    let lock = async |path: &std::path::Path| {
        let mut project = project();
        project["gitUrl"] = format!("file://{}", path.display()).into();
        let session = json!({ "_id": "session-1", "name": "A session" });
        world.hub.ask("requestSessionLock", &(json!(null), project, session)).await
    };
    assert_eq!(lock(&elsewhere.path().join("typo")).await[0], true);
    let told = |words: &'static str| {
        move |store: &mut Store| store.status.iter().any(|line| line.contains(words)).then_some(())
    };
    world.hub.until("the reason", told("could not be synchronised")).await;
    assert_eq!(lock(&remote).await[0], true);
    world.hub.until("the project", told("The project is ready")).await;
    assert!(world.project().join("README.md").exists());
}

#[tokio::test]
async fn a_clone_is_as_deep_as_the_drone_is_told() {
    let elsewhere = tempfile::tempdir().unwrap();
    make_remote(elsewhere.path());
    let second =
        ["-c", "user.name=Ann", "-c", "user.email=ann@example.com", "commit", "--quiet", "--allow-empty"];
    let second = std::process::Command::new("git")
        .args(second)
        .args(["--message", "Go on"])
        .current_dir(elsewhere.path())
        .status();
    assert!(second.unwrap().success());
    let mut world = World::start(nobody()).await;
    world.drone.kill().await;
    world.start_drone(&["--clone-depth", "1"]);
    world.hub.hellos(2).await;
    let mut project = project();
    project["gitUrl"] = format!("file://{}", elsewhere.path().display()).into();
    let session = json!({ "_id": "session-1", "name": "A session" });
    assert_eq!(world.hub.ask("requestSessionLock", &(json!(null), project, session)).await[0], true);
    let is_ready =
        |store: &mut Store| store.status.iter().any(|line| line == "The project is ready").then_some(());
    world.hub.until("the project", is_ready).await;
    let count = std::process::Command::new("git")
        .args(["rev-list", "--count", "HEAD"])
        .current_dir(world.project())
        .output();
    assert_eq!(String::from_utf8(count.unwrap().stdout).unwrap(), "1\n");
}

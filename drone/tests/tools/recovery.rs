//! What becomes of calls whose drone was killed.

use std::path::Path;
use std::process::{Command, Stdio};

use drone::job::directory::State;
use drone::tool::{Intent, Outcome, Verdict};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::world::{World, processes_of, role, tool, until};

/// In a process of its own: plans a command, writes the intent down as the turn loop does, and carries it out.
pub(crate) fn drone_that_waits_for_its_command(workspace: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let world = World::at(workspace);
        let command = std::fs::read_to_string(workspace.join("command")).unwrap();
        let intent = world.plan("shell_exec", json!({ "command": command })).await.unwrap();
        std::fs::write(workspace.join("intent.new"), serde_json::to_vec(&intent).unwrap()).unwrap();
        std::fs::rename(workspace.join("intent.new"), workspace.join("intent")).unwrap();
        world.apply(&intent).await;
    });
}

/// Starts a drone with a command and kills it when the condition is met. Gives the intent that it left behind.
async fn killed_drone(world: &World, command: &str, mut ready: impl FnMut(&Intent) -> bool) -> Intent {
    let workspace = &world.context.workspace;
    std::fs::write(workspace.join("command"), command).unwrap();
    let mut drone = Command::new(std::env::current_exe().unwrap())
        .args(role("play_the_drone"))
        .arg("drone")
        .arg(workspace)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut found = None;
    until("the drone is ready to be killed", || {
        let Ok(text) = std::fs::read(workspace.join("intent")) else { return false };
        let intent: Intent = serde_json::from_slice(&text).unwrap();
        let is_ready = ready(&intent);
        found = Some(intent);
        is_ready
    })
    .await;
    drone.kill().unwrap();
    drone.wait().unwrap();
    found.unwrap()
}

async fn verdict(world: &World, intent: &Intent) -> Verdict {
    tool(&intent.tool).reconcile(intent, &world.context).await
}

fn done(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Done(outcome) => outcome,
        other => panic!("not done: {other:?}"),
    }
}

#[tokio::test]
async fn a_command_outlives_its_drone_and_is_followed_again() {
    let world = World::new();
    let command = "echo one >> runs; echo before; while [ ! -e gate ]; do sleep 0.01; done; echo after";
    let runs = world.path("runs");
    let intent = killed_drone(&world, command, |_| runs.exists()).await;
    assert_eq!(verdict(&world, &intent).await, Verdict::Running);
    std::fs::write(world.path("gate"), "").unwrap();
    let outcome = world.apply(&intent).await;
    assert!(outcome.text.starts_with("before\nafter\n[exit code 0"), "{}", outcome.text);
    assert_eq!(world.content("runs"), "one\n");
}

#[tokio::test]
async fn a_command_that_ended_while_no_drone_was_there_gives_its_result() {
    let world = World::new();
    let command = "echo one >> runs; while [ ! -e gate ]; do sleep 0.01; done; echo after; exit 4";
    let runs = world.path("runs");
    let intent = killed_drone(&world, command, |_| runs.exists()).await;
    std::fs::write(world.path("gate"), "").unwrap();
    let job = world.job(&intent);
    until("the command ends", || matches!(job.state().unwrap(), State::Ended(_))).await;
    let outcome = done(verdict(&world, &intent).await);
    assert!(outcome.is_error && outcome.text.starts_with("after\n[exit code 4"), "{}", outcome.text);
    // Applied all the same it gives the same result and does not run again.
    assert_eq!(world.apply(&intent).await, outcome);
    assert_eq!(world.content("runs"), "one\n");
}

#[tokio::test]
async fn a_command_is_stopped_by_the_drone_that_comes_after() {
    let world = World::new();
    let runs = world.path("runs");
    let intent = killed_drone(&world, "touch runs; setsid sleep 1000 & wait", |_| runs.exists()).await;
    world.context.cancel.cancel();
    let outcome = world.apply(&intent).await;
    assert!(outcome.text.contains("stopped by the user"), "{}", outcome.text);
    assert_eq!(processes_of(&world.job(&intent)), Vec::<i32>::new());
}

#[tokio::test]
async fn what_nobody_asks_for_any_more_is_stopped() {
    let world = World::new();
    let runs = world.path("runs");
    let intent = killed_drone(&world, "touch runs; setsid sleep 1000 & wait", |_| runs.exists()).await;
    drone::job::follow::stop_all(&world.context.workspace).await.unwrap();
    assert_eq!(processes_of(&world.job(&intent)), Vec::<i32>::new());
    assert!(matches!(world.job(&intent).state().unwrap(), State::Ended(_)));
    drone::job::follow::stop_all(&world.context.workspace).await.unwrap();
}

#[tokio::test]
async fn a_command_that_was_never_claimed_is_started() {
    let world = World::new();
    let intent = world.plan("shell_exec", json!({ "command": "echo one >> runs" })).await.unwrap();
    assert_eq!(verdict(&world, &intent).await, Verdict::NotDone);
    assert!(!world.apply(&intent).await.is_error);
    assert_eq!(world.content("runs"), "one\n");
}

#[tokio::test]
async fn a_command_whose_runner_was_killed_has_an_unknown_outcome_and_no_process_left() {
    let world = World::new();
    let runs = world.path("runs");
    let command = "echo begun; touch runs; setsid sleep 1000 & sleep 1000";
    let intent = killed_drone(&world, command, |_| runs.exists()).await;
    let job = world.job(&intent);
    let State::Running(runner) = job.state().unwrap() else { panic!("not running") };
    kill(Pid::from_raw(runner.pid), Signal::SIGKILL).unwrap();
    until("the runner is gone", || matches!(job.state().unwrap(), State::Lost(_))).await;
    let Verdict::Unsafe(outcome) = verdict(&world, &intent).await else { panic!("not unsafe") };
    assert!(outcome.unknown_outcome && outcome.is_error);
    assert!(outcome.text.contains("unknown") && outcome.text.contains("begun"), "{}", outcome.text);
    assert_eq!(processes_of(&job), Vec::<i32>::new());
}

#[tokio::test]
async fn a_command_that_ended_with_its_drone_has_an_unknown_outcome_and_was_not_stopped_by_the_user() {
    let world = World::new();
    let runs = world.path("runs");
    let intent = killed_drone(&world, "echo begun; touch runs; sleep 1000", |_| runs.exists()).await;
    let job = world.job(&intent);
    let State::Running(runner) = job.state().unwrap() else { panic!("not running") };
    // As the supervisor does when it gives up.
    kill(Pid::from_raw(runner.pid), Signal::SIGTERM).unwrap();
    until("the runner is done", || matches!(job.state().unwrap(), State::Ended(_))).await;
    let Verdict::Unsafe(outcome) = verdict(&world, &intent).await else { panic!("not unsafe") };
    assert!(outcome.unknown_outcome && outcome.is_error);
    assert!(!outcome.text.contains("user"), "{}", outcome.text);
    assert!(outcome.text.contains("Check before you repeat") && outcome.text.contains("begun"));
    assert_eq!(world.apply(&intent).await, outcome);
    assert_eq!(processes_of(&job), Vec::<i32>::new());
}

#[tokio::test]
async fn a_runner_killed_under_a_living_drone_ends_the_call_with_an_unknown_outcome() {
    let world = World::new();
    let intent =
        world.plan("shell_exec", json!({ "command": "setsid sleep 1000 & sleep 1000" })).await.unwrap();
    let job = world.job(&intent);
    let context = world.context.clone();
    let called = tokio::spawn(async move { tool("shell_exec").apply(&intent, &context).await });
    until("the command runs", || processes_of(&job).len() > 2).await;
    let State::Running(runner) = job.state().unwrap() else { panic!("not running") };
    kill(Pid::from_raw(runner.pid), Signal::SIGKILL).unwrap();
    assert!(called.await.unwrap().unknown_outcome);
    assert_eq!(processes_of(&job), Vec::<i32>::new());
}

#[tokio::test]
async fn a_drone_killed_at_any_moment_never_makes_a_command_run_twice() {
    for moment in 0..6 {
        let world = World::new();
        let mut looks = 0;
        let intent = killed_drone(&world, "echo one >> runs", |_| {
            looks += 1;
            looks > moment
        })
        .await;
        let outcome = match verdict(&world, &intent).await {
            Verdict::Done(outcome) => outcome,
            Verdict::NotDone | Verdict::Running => world.apply(&intent).await,
            Verdict::Unsafe(outcome) => panic!("nobody killed the runner: {}", outcome.text),
        };
        assert!(!outcome.is_error, "{}", outcome.text);
        assert_eq!(world.content("runs"), "one\n", "killed at moment {moment}");
    }
}

#[tokio::test]
async fn a_change_that_took_effect_before_the_crash_is_not_made_again() {
    let world = World::new();
    world.put("file", "a\n");
    for (name, arguments, content) in [
        ("edit", json!({ "path": "file", "old": "a", "new": "aa" }), "aa\n"),
        ("write", json!({ "path": "file", "content": "new\n" }), "new\n"),
        ("write", json!({ "path": "deep/er/other", "content": "x" }), "x"),
    ] {
        let intent = world.plan(name, arguments).await.unwrap();
        assert_eq!(verdict(&world, &intent).await, Verdict::NotDone);
        let outcome = world.apply(&intent).await;
        let path = intent.plan["path"].as_str().unwrap();
        assert_eq!(world.content(path), content);
        let after = done(verdict(&world, &intent).await);
        assert_eq!(after.text, outcome.text);
        assert!(!world.apply(&intent).await.is_error);
        assert_eq!(world.content(path), content);
    }
}

#[tokio::test]
async fn a_file_that_somebody_else_changed_meanwhile_is_left_alone_and_the_model_told() {
    let world = World::new();
    world.put("file", "a\nb\n");
    let edit = world.plan("edit", json!({ "path": "file", "old": "a", "new": "c" })).await.unwrap();
    let write = world.plan("write", json!({ "path": "file", "content": "mine\n" })).await.unwrap();
    world.put("file", "theirs\n");
    for (intent, shown) in [(&edit, "-a\n+c"), (&write, "-theirs\n+mine")] {
        let Verdict::Unsafe(outcome) = verdict(&world, intent).await else { panic!("not unsafe") };
        let error: drone::tool::ToolError = serde_json::from_str(&outcome.text).unwrap();
        assert_eq!(error.code, "CONFLICT");
        assert!(error.message.contains(shown), "{}", error.message);
        assert!(world.apply(intent).await.text.contains("STALE_FILE"));
    }
    assert_eq!(world.content("file"), "theirs\n");
}

#[tokio::test]
async fn looking_and_lists_are_simply_done_again() {
    let world = World::new();
    world.put("file", "x");
    for (name, arguments) in [
        ("read", json!({ "path": "file" })),
        ("list", json!({})),
        ("glob", json!({ "pattern": "*" })),
        ("grep", json!({ "pattern": "x" })),
        ("todo", json!({ "items": [{ "text": "a", "status": "pending" }] })),
    ] {
        let intent = world.plan(name, arguments).await.unwrap();
        let first = world.apply(&intent).await;
        assert_eq!(verdict(&world, &intent).await, Verdict::NotDone, "{name}");
        assert_eq!(world.apply(&intent).await, first, "{name}");
    }
}

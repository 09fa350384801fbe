//! `shell_exec` with real processes.

use std::time::Duration;

use drone::job::directory::State;
use serde_json::{Value, json};

use crate::world::{World, processes_of, until};

fn data(outcome: &drone::tool::Outcome) -> Value {
    outcome.data.clone().unwrap()
}

#[tokio::test]
async fn a_command_gives_its_output_and_exit_code_and_runs_in_its_directory() {
    let world = World::new();
    world.put("sub/file", "x");
    let arguments = json!({ "command": "pwd; ls; echo oops >&2; exit 3", "cwd": "sub" });
    let outcome = world.call("shell_exec", arguments).await;
    let directory = world.path("sub").canonicalize().unwrap();
    let begins = format!("{}\nfile\n[stderr]\noops\n[exit code 3 after ", directory.display());
    assert!(outcome.text.starts_with(&begins), "{}", outcome.text);
    assert!(outcome.is_error);
    assert_eq!(data(&outcome)["exitCode"], 3);
}

#[tokio::test]
async fn a_command_that_never_ends_is_stopped_at_its_time_limit_with_all_it_started() {
    let world = World::new();
    let command = "trap '' TERM; (while :; do sleep 0.1; done) & sleep 1000";
    let intent = world.plan("shell_exec", json!({ "command": command, "timeout": 300 })).await.unwrap();
    let outcome = world.apply(&intent).await;
    assert!(outcome.is_error && outcome.text.contains("time limit"), "{}", outcome.text);
    assert_eq!(processes_of(&world.job(&intent)), Vec::<i32>::new());
}

#[tokio::test]
async fn stopping_leaves_no_process_even_of_daemons_in_sessions_of_their_own() {
    let mut world = World::new();
    let command = "setsid sh -c 'trap \"\" TERM HUP; echo up; sleep 1000' & \
                   setsid -f sh -c 'env -i sleep 1000' ; \
                   nohup sleep 1000 >/dev/null 2>&1 & wait";
    let intent = world.plan("shell_exec", json!({ "command": command })).await.unwrap();
    let job = world.job(&intent);
    let (context, stopper) = (world.context.clone(), world.context.cancel.clone());
    let called = tokio::spawn(async move { crate::world::tool("shell_exec").apply(&intent, &context).await });
    while !world.progress.recv().await.unwrap().contains("up") {}
    stopper.cancel();
    let outcome = called.await.unwrap();
    assert!(outcome.text.contains("stopped by the user"), "{}", outcome.text);
    assert_eq!(processes_of(&job), Vec::<i32>::new());
}

#[tokio::test]
async fn a_daemon_that_keeps_the_pipes_open_does_not_hold_the_call_up_and_is_ended() {
    let world = World::new();
    let command = "setsid -f sleep 1000; echo done";
    let intent = world.plan("shell_exec", json!({ "command": command })).await.unwrap();
    let outcome = world.apply(&intent).await;
    assert!(!outcome.is_error && outcome.text.starts_with("done\n[exit code 0"), "{}", outcome.text);
    assert!(outcome.text.contains("a process that it had left behind"), "{}", outcome.text);
    assert_eq!(processes_of(&world.job(&intent)), Vec::<i32>::new());
}

#[tokio::test]
async fn a_command_that_closes_its_output_is_waited_for() {
    let world = World::new();
    let outcome = world.call("shell_exec", json!({ "command": "exec >&- 2>&-; sleep 0.3; exit 7" })).await;
    assert_eq!(data(&outcome)["exitCode"], 7);
}

#[tokio::test]
async fn a_flood_of_output_reaches_the_model_as_head_tail_and_true_size() {
    let world = World::new();
    let command = "echo first; head -c 100000000 /dev/zero | tr '\\0' 'x'; echo; echo last";
    let outcome = world.call("shell_exec", json!({ "command": command })).await;
    assert!(!outcome.is_error, "{}", &outcome.text[outcome.text.len() - 300..]);
    assert!(outcome.text.len() < 40_000);
    assert!(outcome.text.starts_with("first\n") && outcome.text.contains("last\n[exit code 0"));
    assert_eq!(data(&outcome)["stdoutBytes"], 100_000_012);
    let whole = data(&outcome)["stdoutFile"].as_str().unwrap().to_owned();
    assert_eq!(std::fs::metadata(whole).unwrap().len(), 100_000_012);
}

#[tokio::test]
async fn a_command_that_prints_without_end_is_stopped_before_it_fills_the_disk() {
    let world = World::new().with_settings(|settings| settings.limits.output = 1_000_000);
    let intent = world
        .plan("shell_exec", json!({ "command": "while :; do seq 1000; sleep 0.01; done" }))
        .await
        .unwrap();
    let outcome = world.apply(&intent).await;
    assert!(outcome.text.contains("printed too much"), "{}", &outcome.text[outcome.text.len() - 300..]);
    assert_eq!(processes_of(&world.job(&intent)), Vec::<i32>::new());
}

#[tokio::test]
async fn a_command_that_multiplies_is_stopped_at_its_process_limit() {
    let world = World::new().with_settings(|settings| settings.limits.processes = 10);
    let command = "for i in $(seq 30); do sleep 1000 & done; wait";
    let intent = world.plan("shell_exec", json!({ "command": command })).await.unwrap();
    let outcome = world.apply(&intent).await;
    assert!(outcome.text.contains("too many processes"), "{}", outcome.text);
    assert_eq!(processes_of(&world.job(&intent)), Vec::<i32>::new());
}

#[tokio::test]
async fn memory_and_file_size_are_limited_for_each_command() {
    let world = World::new().with_settings(|settings| {
        settings.limits.memory = 64 * 1024 * 1024;
        settings.limits.file_size = 1_000_000;
    });
    let greedy = world.call("shell_exec", json!({ "command": "head -c 200000000 /dev/zero | tail" })).await;
    assert!(greedy.is_error && greedy.text.contains("memory exhausted"), "{}", greedy.text);
    let long = world.call("shell_exec", json!({ "command": "head -c 2000000 /dev/zero > big" })).await;
    assert!(long.is_error);
    assert_eq!(std::fs::metadata(world.path("big")).unwrap().len(), 1_000_000);
}

#[tokio::test]
async fn the_environment_is_an_allow_list_with_what_the_context_gives() {
    let mut world = World::new();
    world.context.job_env = std::sync::Arc::new([("GIVEN".to_owned(), "yes".to_owned())].into());
    let text = world.text("shell_exec", json!({ "command": "env" })).await;
    assert!(text.contains("GIVEN=yes\n") && text.contains("PATH="), "{text}");
    let own = world.context.workspace.join(".gadget/tmp");
    assert!(text.contains(&format!("TMPDIR={}\n", own.display())), "{text}");
    assert!(!text.contains("CARGO_PKG_NAME") && !text.contains("CARGO_MANIFEST_DIR"), "{text}");
}

#[tokio::test]
async fn output_is_shown_while_the_command_runs() {
    let mut world = World::new();
    let gate = world.path("gate");
    let command = "echo before; while [ ! -e gate ]; do sleep 0.01; done; echo after";
    let intent = world.plan("shell_exec", json!({ "command": command })).await.unwrap();
    let context = world.context.clone();
    let called = tokio::spawn(async move { crate::world::tool("shell_exec").apply(&intent, &context).await });
    assert_eq!(world.progress.recv().await.unwrap(), "before\n");
    std::fs::write(gate, "").unwrap();
    assert!(called.await.unwrap().text.starts_with("before\nafter\n"));
    assert_eq!(world.progress.recv().await.unwrap(), "after\n");
}

#[tokio::test]
async fn a_screen_that_does_not_look_holds_nothing_up() {
    let world = World::new();
    let text = world.text("shell_exec", json!({ "command": "for i in $(seq 2000); do echo $i; done" })).await;
    assert!(text.contains("2000\n[exit code 0"));
}

#[tokio::test]
async fn bad_arguments_are_refused_before_anything_runs() {
    let world = World::new();
    for (arguments, code) in [
        (json!({}), "MISSING_PARAMETER"),
        (json!({ "command": "  " }), "INVALID_PARAMETER"),
        (json!({ "command": "true", "timeout": 0 }), "INVALID_PARAMETER"),
        (json!({ "command": "true", "timeout": 999_999_999_u64 }), "INVALID_PARAMETER"),
        (json!({ "command": "true", "cwd": "nowhere" }), "NOT_FOUND"),
        (json!({ "command": "true", "cwd": ".." }), "PATH_ESCAPE"),
    ] {
        assert_eq!(world.refusal("shell_exec", arguments.clone()).await.code, code, "{arguments}");
    }
}

#[tokio::test]
async fn a_runner_that_cannot_start_is_reported() {
    let world = World::new().with_settings(|settings| settings.program = "/nonexistent/gadget".into());
    let error = world.refusal("shell_exec", json!({ "command": "true" })).await;
    assert_eq!(error.code, "NOT_STARTED");
    assert!(error.message.contains("/nonexistent/gadget"), "{}", error.message);
    let world = World::new().with_settings(|settings| {
        settings.program = "/bin/sh".into();
        settings.prefix = ["-c", "echo broken >&2"].map(Into::into).into();
    });
    let error = world.refusal("shell_exec", json!({ "command": "true" })).await;
    assert!(error.message.contains("broken"), "{}", error.message);
}

#[tokio::test]
async fn a_call_that_was_stopped_before_it_began_never_runs() {
    let world = World::new();
    let intent = world.plan("shell_exec", json!({ "command": "touch ran" })).await.unwrap();
    world.context.cancel.cancel();
    let outcome = world.apply(&intent).await;
    assert!(outcome.is_error && outcome.text.contains("CANCELLED"), "{}", outcome.text);
    assert_eq!(world.job(&intent).state().unwrap(), State::Unclaimed);
    assert!(!world.path("ran").exists());
}

#[tokio::test]
async fn stopping_at_any_moment_leaves_no_process() {
    for delay in [0, 1, 2, 4, 8, 16, 32, 64] {
        let world = World::new();
        let intent = world.plan("shell_exec", json!({ "command": "sleep 1000 & sleep 1000" })).await.unwrap();
        let job = world.job(&intent);
        let stopper = world.context.cancel.clone();
        let (outcome, ()) = tokio::join!(world.apply(&intent), async {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            stopper.cancel();
        });
        assert!(outcome.is_error, "{}", outcome.text);
        until("the last process is gone", || processes_of(&job).is_empty()).await;
    }
}

/// How often the processes of a command have shown a sign of life.
fn signs(world: &World) -> u64 {
    std::fs::metadata(world.path("signs")).map_or(0, |signs| signs.len())
}

/// Nothing of the command may be left: no mark of it, and no sign of life.
async fn assert_gone(world: &World, job: &drone::job::directory::JobDirectory) {
    assert_eq!(processes_of(job), Vec::<i32>::new());
    let before = signs(world);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(signs(world), before, "something of the command still runs");
}

#[tokio::test]
async fn a_command_that_forks_without_end_is_stopped_and_nothing_survives() {
    let world = World::new().with_settings(|settings| settings.limits.processes = 20);
    // Doubles itself five times and then goes on as it is, also when its shell has ended.
    let bomb = "f() { sleep 0.01; printf . >> signs; if [ $1 -gt 0 ]; then f $(($1 - 1)) & f $(($1 - 1)) & wait; \
                else while [ -e go ]; do sleep 0.05; done; fi; }; touch go; f 5 & f 5 &";
    for end in ["", " wait"] {
        let command = format!("{bomb}{end}");
        let intent = world.plan("shell_exec", json!({ "command": command })).await.unwrap();
        let outcome = world.apply(&intent).await;
        assert!(outcome.is_error && outcome.text.contains("too many processes"), "{}", outcome.text);
        assert_eq!(data(&outcome)["reason"]["why"], "tooManyProcesses");
        assert_gone(&world, &world.job(&intent)).await;
    }
}

#[tokio::test]
async fn processes_that_run_away_from_being_stopped_are_caught() {
    let world = World::new();
    // Each one starts the next, in a session of its own, and is gone.
    let hop = "#!/bin/sh\nprintf . >> signs\n[ -e go ] && setsid sh hop.sh &\n";
    world.put("hop.sh", hop);
    let command = "touch go; for i in 1 2 3 4; do sh hop.sh & done; sleep 0.3; echo stopping";
    let intent = world.plan("shell_exec", json!({ "command": command })).await.unwrap();
    let outcome = world.apply(&intent).await;
    assert!(outcome.text.starts_with("stopping\n"), "{}", outcome.text);
    assert!(!outcome.text.contains("could not be ended"), "{}", outcome.text);
    assert_gone(&world, &world.job(&intent)).await;
}

#[tokio::test]
async fn a_command_may_add_so_many_tasks_to_those_of_its_user() {
    let world = World::new().with_settings(|settings| settings.limits.more_tasks = Some(5000));
    let text = world.text("shell_exec", json!({ "command": "ulimit -u" })).await;
    let limit: u64 = text.lines().next().unwrap().parse().unwrap();
    assert!((5000..100_000).contains(&limit), "{text}");
}

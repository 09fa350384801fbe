//! Turns from prompt to end: tools, sub-agents, retries, stops.

use drone::job::directory::{JobDirectory, State};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::event::TurnEvent;
use protocol::value::{ChatSessionMode, ChatTurnStatus};
use scripted_model::ScriptedModel;
use scripted_model::script::{Answer, Expect, Script, Step};
use scripted_model::settings::Settings;
use serde_json::json;

use crate::world::{World, order};

fn model(answers: impl IntoIterator<Item = Answer>) -> ScriptedModel {
    ScriptedModel::of(Script::new(answers))
}

fn contains(text: &str) -> Expect {
    Expect { last_contains: vec![text.to_owned()], ..Expect::default() }
}

#[tokio::test]
async fn a_turn_runs_tools_and_everything_is_stored_in_order() {
    let model = model([
        Answer::new([
            Step::think("A file is missing. "),
            Step::say("I write it."),
            Step::call("write", json!({ "path": "hello.txt", "content": "hello\n" })),
            Step::call("shell_exec", json!({ "command": "echo from the shell" })),
        ]),
        Answer::new([Step::call("read", json!({ "path": "hello.txt" }))])
            .expecting(contains("from the shell")),
        Answer::new([Step::say("Done.")]).expecting(contains("hello")),
    ]);
    let world = World::locked(model.clone()).await;
    assert_eq!(world.hub.dispatch(order("make a file")).await, [true]);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(
        world.story(),
        [
            "thinks: A file is missing. ",
            "says: I write it.",
            "calls: write",
            "calls: shell_exec",
            "calls: read",
            "says: Done."
        ]
    );
    assert_eq!(std::fs::read_to_string(world.project().join("hello.txt")).unwrap(), "hello\n");
    assert_eq!(model.violations(), [""; 0]);
    assert!(world.hub.transcript().stats.input_tokens > 0);
    assert_eq!(world.hub.look(|store| store.modes.last().cloned()).as_deref(), Some("agent"));
    world.forgotten().await;
}

#[tokio::test]
async fn a_second_work_order_meanwhile_is_refused_as_busy() {
    let world = World::locked(model([Answer::new([Step::say("Wait"), Step::Stall])])).await;
    assert_eq!(world.hub.dispatch(order("one")).await, [true]);
    let mut second = order("two");
    second.work_order.attempt = 1;
    let answer = world.hub.ask("processWorkOrder", &(json!(null), second)).await;
    assert_eq!((&answer[0], &answer[1]["code"]), (&json!(false), &json!("busy")));
}

#[tokio::test]
async fn an_abort_keeps_what_was_said_and_leaves_no_process() {
    let model = model([
        Answer::new([
            Step::say("It takes a while."),
            Step::call("shell_exec", json!({ "command": "touch started; sleep 1000" })),
        ]),
        Answer::new([Step::say("never")]),
    ]);
    let world = World::locked(model).await;
    world.hub.dispatch(order("sleep")).await;
    world.made("started").await;
    assert_eq!(world.hub.ask("abortWorkOrder", &()).await[0], true);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Aborted);
    assert_eq!(world.story(), ["says: It takes a while.", "calls: shell_exec"]);
    let call = world.hub.transcript().tool_calls.remove(0);
    assert!(call.is_error && !call.response.is_empty(), "{call:?}");
    world.forgotten().await;
    // The next turn knows of it and works.
    world.hub.dispatch(order("again")).await;
}

#[tokio::test]
async fn an_abort_in_the_middle_of_an_answer_keeps_the_words_that_were_shown() {
    let world = World::locked(model([Answer::new([Step::say("Half a sen"), Step::Stall])])).await;
    world.hub.dispatch(order("talk")).await;
    world.hub.until("text", |store| (!store.events.is_empty()).then_some(())).await;
    world.hub.ask("abortWorkOrder", &()).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Aborted);
    assert_eq!(world.story(), ["says: Half a sen"]);
}

#[tokio::test]
async fn a_broken_off_answer_is_withdrawn_and_made_again() {
    let answer = Answer::new([Step::say("First half, "), Step::Cut])
        .then([Step::rate_limit("0")])
        .then([Step::say("First half, second half.")]);
    let model = model([answer]);
    let world = World::locked(model).await;
    world.hub.dispatch(order("talk")).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(world.story(), ["says: First half, second half."]);
    let events = world.hub.events();
    assert!(events.iter().any(|event| matches!(event, TurnEvent::Superseded(_))), "{events:?}");
    let lines = world.hub.look(|store| store.status.join("\n"));
    assert!(lines.contains("trying again"), "{lines}");
}

#[tokio::test]
async fn a_refused_key_ends_the_turn_with_the_reason() {
    let world = World::locked(model([Answer::new([Step::status(401)])])).await;
    world.hub.dispatch(order("talk")).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Error);
    let last = world.hub.events().pop();
    let Some(TurnEvent::WorkOrderComplete { message: Some(message), .. }) = last else { panic!("{last:?}") };
    assert!(message.contains("401"), "{message}");
}

#[tokio::test]
async fn an_agent_that_goes_round_in_circles_is_stopped() {
    let again = || Answer::new([Step::call("list", json!({ "path": "." }))]);
    let world = World::locked(model((0..20).map(|_| again()))).await;
    world.hub.dispatch(order("look")).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Error);
    assert_eq!(world.hub.transcript().tool_calls.len(), 4);
}

#[tokio::test]
async fn wrong_calls_are_answered_so_that_the_model_can_do_better() {
    let model = model([
        Answer::new([
            Step::call("fly", json!({})),
            Step::call("read", json!({})),
            Step::call("subagent", json!({ "prompt": "look" })),
        ]),
        Answer::new([Step::say("I see.")]).expecting(Expect {
            contains: ["NOT_FOUND", "MISSING_PARAMETER", "MISSING_AGENT_TYPE"].map(str::to_owned).to_vec(),
            ..Expect::default()
        }),
    ]);
    let world = World::locked(model.clone()).await;
    world.hub.dispatch(order("try")).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(model.violations(), [""; 0]);
    assert!(world.hub.transcript().tool_calls.iter().all(|call| call.is_error));
}

#[tokio::test]
async fn sub_agents_work_side_by_side_and_only_their_last_words_come_back() {
    let ask = |name: &str| {
        let prompt = format!("[[script:{name}]] look");
        Step::call("subagent", json!({ "agent_type": "explore", "prompt": prompt }))
    };
    let main = Script::new([
        Answer::new([Step::say("I ask two."), ask("one"), ask("two")]),
        Answer::new([Step::say("Both are back.")]).expecting(Expect {
            contains: vec!["one is small".to_owned(), "two is large".to_owned()],
            lacks: vec!["I look around".to_owned()],
            ..Expect::default()
        }),
    ]);
    let explorer = |words: &str| {
        Script::new([
            Answer::new([Step::say("I look around. "), Step::call("list", json!({ "path": "." }))])
                .expecting(Expect {
                    offers: vec!["read".to_owned()],
                    withholds: ["write", "subagent", "shell_exec"].map(str::to_owned).to_vec(),
                    ..Expect::default()
                }),
            Answer::new([Step::say(words)]),
        ])
    };
    let scripts = [
        ("default".to_owned(), main),
        ("one".to_owned(), explorer("one is small")),
        ("two".to_owned(), explorer("two is large")),
    ];
    let model = ScriptedModel::new(Settings { scripts: scripts.into(), ..Settings::default() });
    let world = World::locked(model.clone()).await;
    world.hub.dispatch(order("ask around")).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(model.violations(), [""; 0]);
    assert_eq!(
        world.story(),
        ["says: I ask two.", "calls: subagent", "calls: subagent", "says: Both are back."]
    );
    let calls = world.hub.transcript().tool_calls;
    let of = |place: usize| calls[place].subagent.clone().unwrap();
    for (place, words) in [(0, "one is small"), (1, "two is large")] {
        assert_eq!(of(place).response, words);
        assert!(calls[place].response.contains(words));
        assert_eq!(of(place).stats.tool_call_count, 1);
    }
}

#[tokio::test]
async fn the_next_turn_sees_this_one_byte_for_byte_as_the_model_had_it() {
    // The scripted model checks that the prompt's prefix keeps its bytes.
    let model = model([
        Answer::new([Step::say("I look. "), Step::call("list", json!({ "path": "." }))]),
        Answer::new([Step::say("Nothing there.")]),
    ]);
    let world = World::locked(model.clone()).await;
    let first = order("look around");
    let turn_id = first.id.clone();
    world.hub.dispatch(first).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    world.forgotten().await;
    let mut second = order("and again");
    let context = json!({
        "turns": [{ "turnId": turn_id, "status": "finished", "prompt": "look around", "blocks": [] }], "omitted": 0,
    });
    second.work_order.context = serde_json::from_value(context).unwrap();
    world.hub.dispatch(second).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(model.violations(), [""; 0]);
    let last = model.requests().pop().unwrap();
    assert!(last.texts().any(|text| text.contains("Nothing there.")), "{last:?}");
}

#[tokio::test]
async fn a_plan_has_no_writing_tools_and_says_so() {
    let expect = Expect {
        contains: vec!["# Mode: plan".to_owned()],
        withholds: vec!["write".to_owned(), "edit".to_owned()],
        ..Expect::default()
    };
    let model = model([Answer::new([Step::say("A plan.")]).expecting(expect)]);
    let world = World::locked(model.clone()).await;
    let mut plan = order("plan it");
    plan.mode = ChatSessionMode::Plan;
    world.hub.dispatch(plan).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(model.violations(), [""; 0]);
}

#[tokio::test]
async fn a_conversation_too_long_for_the_model_is_shortened_and_goes_on() {
    let script =
        Script::new([Answer::new([Step::say("It fits now.")])
            .expecting(Expect { rewritten: true, ..Expect::default() })]);
    let model = ScriptedModel::new(Settings {
        scripts: [("default".to_owned(), script)].into(),
        context_window: Some(10_000),
        ..Settings::default()
    });
    let world = World::locked(model.clone()).await;
    let mut turn = order("go on");
    let earlier =
        |prompt: &str| json!({ "turnId": "elsewhere", "status": "finished", "prompt": prompt, "blocks": [] });
    let turns = [earlier(&"long ago ".repeat(5000)), earlier("yesterday")];
    turn.work_order.context = serde_json::from_value(json!({ "turns": turns, "omitted": 0 })).unwrap();
    world.hub.dispatch(turn).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished, "{:?}", world.hub.events());
    assert_eq!(model.violations(), [""; 0]);
    let last = model.requests().pop().unwrap();
    assert!(last.texts().any(|text| text.starts_with("[1 earlier turns")), "{last:?}");
    let lines = world.hub.look(|store| store.status.join("\n"));
    assert!(lines.contains("left out"), "{lines}");
}

#[tokio::test]
async fn an_abort_reaches_sub_agents_and_their_commands() {
    let task = json!({ "agent_type": "general", "prompt": "[[script:helper]] wait" });
    let helper = Script::new([Answer::new([
        Step::say("I wait. "),
        Step::call("shell_exec", json!({ "command": "touch started; sleep 1000" })),
    ])]);
    let scripts = [
        ("default".to_owned(), Script::new([Answer::new([Step::call("subagent", task)])])),
        ("helper".to_owned(), helper),
    ];
    let model = ScriptedModel::new(Settings { scripts: scripts.into(), ..Settings::default() });
    let world = World::locked(model).await;
    world.hub.dispatch(order("wait")).await;
    world.made("started").await;
    world.hub.ask("abortWorkOrder", &()).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Aborted);
    let call = world.hub.transcript().tool_calls.remove(0);
    assert!(call.is_error, "{call:?}");
    assert_eq!(call.subagent.unwrap().tool_calls.len(), 1);
    world.forgotten().await;
}

#[tokio::test]
async fn a_session_token_that_the_hub_does_not_take_any_more_is_renewed_at_once() {
    let world = World::locked(model([Answer::new([Step::say("Awake again.")])])).await;
    let hellos = world.hub.look(|store| {
        store.exchanged_token = Some("another-token".to_owned());
        store.hellos.len()
    });
    world.hub.dispatch(order("wake up")).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(world.story(), ["says: Awake again."]);
    assert_eq!(world.hub.look(|store| store.hellos.len()), hellos + 1);
}

/// The runner of the only command that runs.
fn runner(world: &World) -> Pid {
    let jobs = JobDirectory::all(&world.workspace()).unwrap();
    let running = jobs.iter().find_map(|job| match job.state().unwrap() {
        State::Running(owner) => Some(owner.pid),
        _ => None,
    });
    Pid::from_raw(running.expect("no command runs"))
}

#[tokio::test]
async fn a_prompt_right_after_an_abort_waits_until_the_stopped_command_is_gone() {
    let sleep = Step::call("shell_exec", json!({ "command": "touch started; sleep 1000" }));
    let scripts = [
        ("default".to_owned(), Script::new([Answer::new([sleep])])),
        ("next".to_owned(), Script::new([Answer::new([Step::say("On it.")])])),
    ];
    let model = ScriptedModel::new(Settings { scripts: scripts.into(), ..Settings::default() });
    let world = World::locked(model).await;
    world.hub.dispatch(order("sleep")).await;
    world.made("started").await;
    // Nobody stops the command as long as its runner cannot.
    let runner = runner(&world);
    kill(runner, Signal::SIGSTOP).unwrap();
    world.hub.ask("abortWorkOrder", &()).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Aborted);
    let next = order("go on [[script:next]]");
    let id = next.id.clone();
    assert_eq!(world.hub.dispatch(next).await, [true]);
    assert_eq!(world.document("work-order.json").unwrap()["turnId"], id.as_str());
    let third = world.hub.ask("processWorkOrder", &(json!(null), order("too much"))).await;
    assert_eq!((&third[0], &third[1]["code"]), (&json!(false), &json!("busy")));
    assert!(kill(runner, None).is_ok(), "the runner is gone before the next turn waits for it");
    kill(runner, Signal::SIGCONT).unwrap();
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(world.story(), ["calls: shell_exec", "says: On it."]);
    assert!(kill(runner, None).is_err(), "the runner of the stopped command is still there");
    world.forgotten().await;
}

#[tokio::test]
async fn a_turn_that_waits_for_a_stopped_command_can_be_stopped_itself() {
    let model =
        model([Answer::new([Step::call("shell_exec", json!({ "command": "touch started; sleep 1000" }))])]);
    let world = World::locked(model).await;
    world.hub.dispatch(order("sleep")).await;
    world.made("started").await;
    let runner = runner(&world);
    kill(runner, Signal::SIGSTOP).unwrap();
    world.hub.ask("abortWorkOrder", &()).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Aborted);
    assert_eq!(world.hub.dispatch(order("go on")).await, [true]);
    assert_eq!(world.hub.ask("abortWorkOrder", &()).await[0], true);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Aborted);
    kill(runner, Signal::SIGCONT).unwrap();
    world.forgotten().await;
}

#[tokio::test]
async fn how_a_turn_failed_is_written_down_until_the_hub_has_stored_it() {
    let world = World::locked(model([Answer::new([Step::status(401)])])).await;
    world.hub.look(|store| store.events_at_most = Some(0));
    world.hub.dispatch(order("talk")).await;
    world.noted("the reason in the work order", |order| order["status"] == "error").await;
    let order = world.document("work-order.json").unwrap();
    assert!(order["error"].as_str().unwrap().contains("401"), "{order}");
}

#[tokio::test]
async fn an_agents_file_that_cannot_be_read_is_left_out_and_the_user_is_told() {
    let world = World::locked(model([Answer::new([Step::say("Without it, then.")])])).await;
    std::os::unix::fs::symlink("AGENTS.md", world.project().join("AGENTS.md")).unwrap();
    assert_eq!(world.hub.dispatch(order("talk")).await, [true]);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    world
        .hub
        .until("the reason", |store| {
            store.status.iter().any(|line| line.starts_with("AGENTS.md cannot be read")).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_tool_name_without_end_is_a_fault_of_the_model_and_the_drone_lives_on() {
    let name = "fly".repeat(1024 * 1024);
    let answer = Answer::new([Step::call(name, json!({}))]).then([Step::say("I have no such tool.")]);
    let world = World::locked(model([answer])).await;
    let pid = world.drone.pid();
    world.hub.dispatch(order("fly")).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(world.story(), ["says: I have no such tool."]);
    assert_eq!(world.drone.pid(), pid);
    assert!(kill(Pid::from_raw(pid), None).is_ok());
}

#[tokio::test]
async fn a_model_that_stalls_is_asked_again_after_the_time_that_the_drone_is_told() {
    let answer = Answer::new([Step::say("Half a"), Step::Stall]).then([Step::say("A whole sentence.")]);
    let mut world = World::locked(model([answer])).await;
    world.drone.kill().await;
    let hellos = world.hub.look(|store| store.hellos.len());
    world.start_drone(&["--model-next-delta", "200ms"]);
    world.hub.hellos(hellos + 1).await;
    world.hub.dispatch(order("talk")).await;
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(world.story(), ["says: A whole sentence."]);
    let lines = world.hub.look(|store| store.status.join("\n"));
    assert!(lines.contains("no further piece of its answer within 0.2 s"), "{lines}");
}

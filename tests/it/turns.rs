//! From a prompt to work done, stored and shown.

use protocol::event::EventName;
use protocol::ide::name;
use protocol::value::ChatTurnStatus;
use scripted_model::script::{Answer, Script, Step};
use serde_json::{Value, json};
use tests::deadline::eventually;
use tests::repository::{Repository, checkout_in, git};

use tests::stage::Stage;
use tests::transcript::{all_ended_well, said, same, scripted};

fn greeting() -> Vec<Answer> {
    vec![
        Answer::new([
            Step::think("The person wants a greeting. "),
            Step::think("I look at the README first."),
            Step::call("read", json!({ "path": "README.md" })),
        ]),
        Answer::new([
            Step::say("I write the file. "),
            Step::call("write", json!({ "path": "src/greeting.txt", "content": "Hello, world!\n" })),
        ]),
        Answer::new([Step::say("Done: "), Step::say("`src/greeting.txt` greets the world.")]),
    ]
}

#[tokio::test]
async fn a_prompt_makes_the_agent_write_a_real_file_in_a_real_clone_and_the_turn_is_stored() {
    let answers = greeting();
    let stage = Stage::with_script(Script::new(answers.clone())).await.unwrap();
    let remote = Repository::with(&[("README.md", "# Greetings\n")]).await.unwrap();
    let (ide, session) = stage.open("greetings", Some(&remote.url())).await.unwrap();

    let turn = ide.prompt("Write a greeting").await.unwrap();
    assert_eq!(ide.finished(&turn).await.unwrap(), ChatTurnStatus::Finished);

    let checkout = checkout_in(&stage.gadget.workspace(&session.id)).unwrap();
    assert_eq!(std::fs::read_to_string(checkout.join("src/greeting.txt")).unwrap(), "Hello, world!\n");
    let origin = git(&checkout, &["remote", "get-url", "origin"]).await.unwrap();
    assert_eq!(origin, remote.url());

    let screen = ide.turn(&turn);
    assert_eq!(said(&screen.blocks).unwrap(), scripted(&answers));
    let stored = stage.api.finished_turn(&session.id, &turn).await.unwrap();
    assert_eq!(stored.status, ChatTurnStatus::Finished);
    assert_eq!(stored.prompts.user, "Write a greeting");
    same(&screen, &stored.blocks).unwrap();
    all_ended_well(&stored.tool_calls).unwrap();
    assert_eq!(stored.stats.tool_call_count, 2);
    assert!(stored.stats.input_tokens > 0 && stored.stats.duration_ms > 0, "{:?}", stored.stats);
    stage.well_asked().unwrap();
    ide.close().await.unwrap();
}

#[tokio::test]
async fn events_of_a_turn_come_in_the_order_of_their_numbers_and_end_with_the_completion() {
    let stage = Stage::with_script(Script::new(greeting())).await.unwrap();
    let (ide, _) = stage.open("order", None).await.unwrap();
    let turn = ide.prompt("Write a greeting").await.unwrap();
    ide.finished(&turn).await.unwrap();
    let names = ide.names(&turn);
    let place = |name: EventName| names.iter().position(|other| *other == name).unwrap();
    assert!(place(EventName::Thinking) < place(EventName::ToolCallStarted), "{names:?}");
    assert!(place(EventName::ToolCallStarted) < place(EventName::ToolCall), "{names:?}");
    assert!(place(EventName::ToolCall) < place(EventName::Response), "{names:?}");
    assert_eq!(names.last(), Some(&EventName::WorkOrderComplete));
    assert_eq!(ide.order(), tests::screen::Order::default());
    ide.close().await.unwrap();
}

#[tokio::test]
async fn a_second_turn_knows_the_first_one() {
    let scripts = [
        ("one", Script::new([Answer::new([Step::say("The number is 7342.")])])),
        (
            "two",
            Script::new([Answer::new([Step::say("As I said: 7342.")]).expecting(
                scripted_model::script::Expect {
                    contains: vec!["The number is 7342.".to_owned()],
                    ..Default::default()
                },
            )]),
        ),
    ];
    let stage = Stage::with_scripts(scripts, 0).await.unwrap();
    let (ide, session) = stage.open("memory", None).await.unwrap();
    for prompt in ["Choose a number [[script:one]]", "Which one was it? [[script:two]]"] {
        let turn = ide.prompt(prompt).await.unwrap();
        assert_eq!(ide.finished(&turn).await.unwrap(), ChatTurnStatus::Finished);
    }
    assert_eq!(stage.api.turns(&session.id).await.unwrap().len(), 2);
    stage.well_asked().unwrap();
    ide.close().await.unwrap();
}

#[tokio::test]
async fn a_second_prompt_meanwhile_is_refused_as_busy() {
    let slow = Script::new([Answer::new([Step::say("Wait. "), Step::Stall])]);
    let stage = Stage::with_script(slow).await.unwrap();
    let (ide, _) = stage.open("busy", None).await.unwrap();
    let turn = ide.prompt("First").await.unwrap();
    ide.shown(&turn, 1).await.unwrap();
    let (success, detail): (bool, Value) = ide.ask(name::SUBMIT_PROMPT, &("Second",)).await.unwrap();
    assert!(!success);
    assert_eq!(detail["code"], "busy", "{detail}");
    let (aborted,): (bool,) = ide.ask(name::ABORT_WORK_ORDER, &()).await.unwrap();
    assert!(aborted);
    assert_eq!(ide.finished(&turn).await.unwrap(), ChatTurnStatus::Aborted);
    ide.close().await.unwrap();
}

#[tokio::test]
async fn an_abort_keeps_what_was_said_and_leaves_no_process() {
    let script = Script::new([Answer::new([
        Step::say("I start something long."),
        Step::call("shell_exec", json!({ "command": "sleep 600 & sleep 600" })),
    ])]);
    let stage = Stage::with_script(script).await.unwrap();
    let (ide, session) = stage.open("abort", None).await.unwrap();
    let turn = ide.prompt("Go").await.unwrap();
    let job = || async { Ok(stage.gadget.processes(tests::processes::Role::Job)?.first().cloned()) };
    eventually("the shell job", job).await.unwrap();

    let (aborted,): (bool,) = ide.ask(name::ABORT_WORK_ORDER, &()).await.unwrap();
    assert!(aborted);
    assert_eq!(ide.finished(&turn).await.unwrap(), ChatTurnStatus::Aborted);
    let stored = stage.api.finished_turn(&session.id, &turn).await.unwrap();
    assert_eq!(stored.status, ChatTurnStatus::Aborted);
    same(&ide.turn(&turn), &stored.blocks).unwrap();
    assert_eq!(stored.tool_calls.len(), 1);
    eventually("the end of the job", || async {
        let jobs = stage.gadget.processes(tests::processes::Role::Job)?;
        Ok(jobs.is_empty().then_some(()))
    })
    .await
    .unwrap();
    ide.close().await.unwrap();
}

#[tokio::test]
async fn a_new_session_gets_its_name_from_the_first_prompt() {
    let stage = Stage::with_script(Script::new([Answer::new([Step::say("Yes.")])])).await.unwrap();
    let (ide, session) = stage.open("names", None).await.unwrap();
    let turn = ide.prompt("Repair the parser of dates").await.unwrap();
    ide.finished(&turn).await.unwrap();
    let told = ide.hears("the session's new name", |heard| {
        heard.name == name::SESSION_UPDATED
            && heard.args.first().is_some_and(|arg| arg.get().contains("\"name\""))
    });
    told.await.unwrap();
    let named = stage.api.session(&session.id).await.unwrap();
    assert_ne!(named.name, protocol::document::NEW_SESSION_NAME);
    ide.close().await.unwrap();
}

//! Model endpoints of each kind, and what they do to a turn when they fail.

use std::path::Path;

use protocol::ide::name;
use protocol::value::ChatTurnStatus;
use reqwest::Method;
use scripted_model::script::{Answer, Expect, Script, Step};
use scripted_model::settings::Settings;
use scripted_model::{Pace, ScriptedModel};
use serde_json::{Value, json};
use tests::api::Api;
use tests::deadline::eventually;
use tests::gadget::{Gadget, Options};
use tests::ide::Ide;
use tests::processes::Role;
use tests::repository::checkout_in;
use tests::stage::{KEY, Stage};
use tests::transcript::{all_ended_well, said, same, scripted};

/// A stage with a model of its own.
async fn stage(model: ScriptedModel, options: impl Fn(&str) -> Options) -> Stage {
    let server = model.serve_here().await.unwrap();
    let gadget = Gadget::start(options(&server.url())).await.unwrap();
    let api = Api::new(&gadget).unwrap();
    Stage { model, server, gadget, api }
}

fn openai(url: &str) -> Options {
    Options::openai(&format!("{url}/v1"), KEY)
}

#[tokio::test]
async fn a_turn_with_tools_works_through_ollama_also_when_the_stream_is_cut() {
    let answers = vec![
        Answer::new([
            Step::think("A file is wanted. "),
            Step::say("I write it. "),
            Step::call("write", json!({ "path": "boat.txt", "content": "afloat\n" })),
            Step::call("shell_exec", json!({ "command": "cat boat.txt" })),
        ]),
        Answer::new([Step::say("It is "), Step::say("afloat.")]).expecting(Expect {
            contains: vec!["afloat".to_owned()],
            offers: ["read", "write", "shell_exec", "subagent"].map(str::to_owned).to_vec(),
            ..Expect::default()
        }),
    ];
    let mut cut = answers.clone();
    cut[1].tries.insert(0, vec![Step::say("It is sin"), Step::Cut]);
    let scripts = [("whole", answers.clone()), ("cut", cut)];
    let scripts = scripts.into_iter().map(|(name, answers)| (name.to_owned(), Script::new(answers)));
    let settings = Settings { scripts: scripts.collect(), ..Settings::default() };
    let stage = stage(ScriptedModel::new(settings), Options::ollama).await;
    for name in ["whole", "cut"] {
        let (ide, session) = stage.open(name, None).await.unwrap();
        // It has a name, so that the model is asked by the agent alone.
        let path = format!("/chat-sessions/{}", session.id);
        let named: Value =
            stage.api.call(Method::PATCH, &path, Some(&json!({ "name": name }))).await.unwrap();
        assert_eq!(named["name"], name);
        let turn = ide.prompt(&format!("Write it [[script:{name}]]")).await.unwrap();
        let status = ide.finished(&turn).await.unwrap();
        let stored = stage.api.finished_turn(&session.id, &turn).await.unwrap();
        assert_eq!(status, ChatTurnStatus::Finished, "{name}: {:?}", stored.error_message);
        assert_eq!(said(&stored.blocks).unwrap(), scripted(&answers), "{name}");
        same(&ide.turn(&turn), &stored.blocks).unwrap();
        all_ended_well(&stored.tool_calls).unwrap();
        assert!(stored.stats.input_tokens > 0 && stored.stats.response_tokens > 0, "{:?}", stored.stats);
        let checkout = checkout_in(&stage.gadget.workspace(&session.id)).unwrap();
        assert_eq!(std::fs::read_to_string(checkout.join("boat.txt")).unwrap(), "afloat\n");
        ide.close().await.unwrap();
    }
    stage.well_asked().unwrap();
}

async fn hears_status(ide: &Ide, words: &str) {
    let said = ide.hears(words, |heard| {
        heard.name == name::STATUS && heard.args.first().is_some_and(|arg| arg.get().contains(words))
    });
    said.await.unwrap();
}

#[tokio::test]
async fn a_model_server_that_is_stopped_in_mid_answer_and_comes_back_is_asked_again() {
    let answers = vec![Answer::new([Step::say("One boat, two boats, three boats, four boats, five boats.")])];
    let settings = Settings {
        scripts: [("default".to_owned(), Script::new(answers.clone()))].into(),
        pace: Pace { piece: 50, seed: 1 },
        ..Settings::default()
    };
    let stage = stage(ScriptedModel::new(settings), openai).await;
    let (ide, session) = stage.open("server", None).await.unwrap();
    let Stage { model, server, gadget: _gadget, api } = stage;
    let address = server.address();
    let turn = ide.prompt("Count").await.unwrap();
    ide.shown(&turn, 2).await.unwrap();
    server.stop().await;
    hears_status(&ide, "trying again").await;
    let _server = model.serve(address).await.unwrap();
    assert_eq!(ide.finished(&turn).await.unwrap(), ChatTurnStatus::Finished);
    let stored = api.finished_turn(&session.id, &turn).await.unwrap();
    assert_eq!(said(&stored.blocks).unwrap(), scripted(&answers));
    same(&ide.turn(&turn), &stored.blocks).unwrap();
    ide.close().await.unwrap();
}

#[tokio::test]
async fn a_broken_frame_is_a_fault_of_the_call_and_not_of_the_turn() {
    let good = [Step::say("Whole "), Step::call("list", json!({ "path": "." }))];
    let broken = Answer::new([Step::say("Half "), Step::BadFrame]).then(good.clone());
    let script = Script::new([broken, Answer::new([Step::BadFrame]).then([Step::say("and well.")])]);
    let stage = Stage::with_script(script).await.unwrap();
    let (ide, session) = stage.open("frames", None).await.unwrap();
    let turn = ide.prompt("Go").await.unwrap();
    assert_eq!(ide.finished(&turn).await.unwrap(), ChatTurnStatus::Finished);
    let stored = stage.api.finished_turn(&session.id, &turn).await.unwrap();
    let wanted = [Answer::new(good), Answer::new([Step::say("and well.")])];
    assert_eq!(said(&stored.blocks).unwrap(), scripted(&wanted));
    stage.well_asked().unwrap();
    ide.close().await.unwrap();
}

#[tokio::test]
async fn a_conversation_that_overflows_is_shortened_and_one_that_cannot_be_ends_with_advice() {
    // Two prompts of this size are more than the model holds, with what an agent is told beside them.
    let prompt = |script: &str| format!("{} [[script:{script}]]", "word ".repeat(4_000));
    let expect = Expect { rewritten: true, ..Expect::default() };
    let scripts = [
        ("never", Answer::new([Step::Overflow])),
        ("first", Answer::new([Step::say("Said before.")])),
        ("fits", Answer::new([Step::say("Now it fits.")]).expecting(expect)),
    ];
    let scripts = scripts.map(|(name, answer)| (name.to_owned(), Script::new([answer])));
    let settings = Settings { scripts: scripts.into(), context_window: Some(10_000), ..Settings::default() };
    let stage = stage(ScriptedModel::new(settings), openai).await;
    let (ide, session) = stage.open("never", None).await.unwrap();
    let never = ide.prompt("Go [[script:never]]").await.unwrap();
    assert_eq!(ide.finished(&never).await.unwrap(), ChatTurnStatus::Error);
    let stored = stage.api.finished_turn(&session.id, &never).await.unwrap();
    let reason = stored.error_message.unwrap();
    assert!(reason.contains("too long") && reason.contains("start a new session"), "{reason}");

    let (ide, session) = stage.open("long", None).await.unwrap();
    for (script, says) in [("first", "Said before."), ("fits", "Now it fits.")] {
        let turn = ide.prompt(&prompt(script)).await.unwrap();
        let status = ide.finished(&turn).await.unwrap();
        let stored = stage.api.finished_turn(&session.id, &turn).await.unwrap();
        assert_eq!(status, ChatTurnStatus::Finished, "{script}: {:?}", stored.error_message);
        assert_eq!(said(&stored.blocks).unwrap(), scripted(&[Answer::new([Step::say(says)])]));
    }
    hears_status(&ide, "are left out").await;
    stage.well_asked().unwrap();
    ide.close().await.unwrap();
}

#[tokio::test]
async fn a_session_is_called_what_the_model_says() {
    let script = Script::new([Answer::new([Step::say("Mend the parser of dates")])]);
    let stage = Stage::with_script(script).await.unwrap();
    let (ide, session) = stage.open("title", None).await.unwrap();
    let turn = ide.prompt("Something is wrong in here and I do not know what").await.unwrap();
    ide.finished(&turn).await.unwrap();
    let told = ide.hears("the session's new name", |heard| {
        heard.name == name::SESSION_UPDATED
            && heard.args.first().is_some_and(|arg| arg.get().contains("Mend the parser of dates"))
    });
    told.await.unwrap();
    assert_eq!(stage.api.session(&session.id).await.unwrap().name, "Mend the parser of dates");
    let asked = stage.model.requests();
    assert!(asked.iter().any(|request| request.texts().any(|text| text.contains("at most six words"))));
    ide.close().await.unwrap();
}

/// Processes that work in a directory or below it.
fn at_work_in(directory: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let works_there = |process: &std::path::PathBuf| {
        std::fs::read_link(process.join("cwd")).is_ok_and(|place| place.starts_with(directory))
    };
    processes.filter(works_there).map(|process| process.display().to_string()).collect()
}

#[tokio::test]
async fn a_command_that_does_not_want_to_be_stopped_is_gone_after_the_stop() {
    let command = "trap '' TERM INT HUP; touch started; \
                   setsid sh -c 'trap \"\" TERM; while :; do sleep 0.05; done' & \
                   (while :; do sleep 0.05; done) & while :; do sleep 0.05; done";
    let script = Script::new([Answer::new([
        Step::say("I hold on. "),
        Step::call("shell_exec", json!({ "command": command })),
    ])]);
    let stage = Stage::with_script(script).await.unwrap();
    let (ide, session) = stage.open("stubborn", None).await.unwrap();
    let turn = ide.prompt("Go").await.unwrap();
    let checkout = || checkout_in(&stage.gadget.workspace(&session.id));
    eventually("the command", || async { Ok(checkout()?.join("started").exists().then_some(())) })
        .await
        .unwrap();
    let (aborted,): (bool,) = ide.ask(name::ABORT_WORK_ORDER, &()).await.unwrap();
    assert!(aborted);
    assert_eq!(ide.finished(&turn).await.unwrap(), ChatTurnStatus::Aborted);
    // The next prompt is taken at once, and by the time it is answered nothing of the command is left.
    let next = ide.prompt("Go on").await.unwrap();
    ide.shown(&next, 1).await.unwrap();
    let (aborted,): (bool,) = ide.ask(name::ABORT_WORK_ORDER, &()).await.unwrap();
    assert!(aborted);
    assert_eq!(ide.finished(&next).await.unwrap(), ChatTurnStatus::Aborted);
    let checkout = checkout().unwrap();
    eventually("the end of everything", || async {
        let jobs = stage.gadget.processes(Role::Job)?;
        Ok((jobs.is_empty() && at_work_in(&checkout).is_empty()).then_some(()))
    })
    .await
    .unwrap();
    ide.close().await.unwrap();
}

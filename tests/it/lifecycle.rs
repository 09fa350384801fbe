//! Starting and stopping `gadget local`, and one prompt in the terminal.

use nix::sys::signal::Signal;
use scripted_model::script::{Answer, Script, Step};
use serde_json::{Value, json};
use tests::gadget::{self, Gadget, Options};

use tests::stage::{KEY, Stage};

#[tokio::test]
async fn each_signal_stops_everything_and_leaves_no_process() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let stage =
            Stage::with_script(Script::new([Answer::new([Step::say("Wait. "), Step::Stall])])).await.unwrap();
        let Stage { model: _, server: _server, mut gadget, api: _ } = {
            let (ide, _) = stage.open("stop", None).await.unwrap();
            let turn = ide.prompt("Go").await.unwrap();
            ide.shown(&turn, 1).await.unwrap();
            ide.close().await.unwrap();
            stage
        };
        let stopped = gadget.stop(signal).await.unwrap();
        assert_eq!(stopped.status.code(), Some(0), "{signal}: {}", gadget.complaints());
        assert_eq!(stopped.left, [], "{signal}");
    }
}

#[tokio::test]
async fn the_ready_line_says_where_everything_is() {
    let gadget = Gadget::start(Options::default()).await.unwrap();
    let ready = gadget.ready();
    assert_eq!(ready.url.host_str(), Some("127.0.0.1"));
    assert_eq!(ready.data_dir, gadget.data());
    assert!(ready.workspace.starts_with(gadget.data()), "{ready:?}");
    assert!(!ready.token.is_empty());
    let health = tests::api::Api::new(&gadget).unwrap();
    assert!(!health.models().await.unwrap().is_empty(), "the demo tour at least");
}

#[tokio::test]
async fn a_second_start_on_the_same_data_names_the_process_that_holds_it() {
    let gadget = Gadget::start(Options::default()).await.unwrap();
    let second = gadget::run(&Options::default(), Some(&gadget.data())).await.unwrap();
    assert!(!second.status.success());
    let words = String::from_utf8_lossy(&second.stderr);
    assert!(words.contains(&gadget.ready().pid.to_string()), "{words}");
}

#[tokio::test]
async fn a_prompt_in_the_terminal_streams_json_and_exits_by_how_the_turn_ended() {
    let scripts = [
        ("good", Script::new([Answer::new([Step::say("Hello "), Step::say("there.")])])),
        ("bad", Script::new([Answer::new([Step::status(401)])])),
    ];
    let stage = Stage::with_scripts(scripts, 0).await.unwrap();
    for (script, code) in [("good", 0), ("bad", 1)] {
        let data = tempfile::tempdir().unwrap();
        let options = Options::openai(&format!("{}/v1", stage.server.url()), KEY)
            .argument("--json")
            .argument("--prompt")
            .argument(format!("Say hello [[script:{script}]]"));
        let output = gadget::run(&options, Some(data.path())).await.unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines[0].get("url").is_some(), "{stdout}");
        assert!(stdout.contains("workOrderComplete"), "{stdout}");
        assert_eq!(stdout.contains("Hello"), script == "good", "{stdout}");
    }
}

#[tokio::test]
async fn work_goes_on_in_the_same_data_directory_after_a_stop() {
    let stage = Stage::with_script(Script::new([Answer::new([Step::say("Written.")])])).await.unwrap();
    let (ide, session) = stage.open("again", None).await.unwrap();
    let first = ide.prompt("One").await.unwrap();
    ide.finished(&first).await.unwrap();
    ide.close().await.unwrap();
    let Stage { model: _, server: _server, mut gadget, api } = stage;
    assert_eq!(gadget.stop(Signal::SIGTERM).await.unwrap().status.code(), Some(0));
    gadget.start_hub().await.unwrap();

    let ide = tests::ide::Ide::connect(&gadget, "again").await.unwrap();
    let project =
        api.call(reqwest::Method::GET, &format!("/projects/{}", session.project), None).await.unwrap();
    ide.open(&project, &session).await.unwrap();
    let second = ide.prompt("Two").await.unwrap();
    ide.finished(&second).await.unwrap();
    assert_eq!(api.turns(&session.id).await.unwrap().len(), 2);
    ide.close().await.unwrap();
}

#[tokio::test]
async fn the_key_of_a_provider_is_not_in_the_environment_of_what_the_agent_runs() {
    let script = Script::new([
        Answer::new([Step::call(
            "shell_exec",
            json!({ "command": "env; cat /proc/$PPID/environ | tr '\\0' '\\n'" }),
        )]),
        Answer::new([Step::say("Looked.")]),
    ]);
    // The model itself refuses a request that has the key in it: the tool's result would.
    let stage = Stage::with_script(script).await.unwrap();
    let (ide, session) = stage.open("secret", None).await.unwrap();
    let turn = ide.prompt("Look").await.unwrap();
    ide.finished(&turn).await.unwrap();
    let stored = stage.api.finished_turn(&session.id, &turn).await.unwrap();
    assert_eq!(stored.tool_calls.len(), 1);
    assert!(stored.tool_calls[0].response.contains("PATH="), "{:?}", stored.tool_calls);
    assert!(!stored.tool_calls[0].response.contains(KEY));
    stage.well_asked().unwrap();
    ide.close().await.unwrap();
}

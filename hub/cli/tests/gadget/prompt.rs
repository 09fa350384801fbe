//! `--prompt`: one turn in the terminal, over the real connection.

use std::collections::BTreeMap;
use std::process::Stdio;

use nix::sys::signal::Signal;
use scripted_model::ScriptedModel;
use scripted_model::script::{Answer, Script, Status, Step};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::bench::{Home, drone_processes, text, until};

fn repository(home: &Home) -> String {
    let path = home.dir.path().join("origin.git");
    scripted_model::tour::write_toy_repository(&path).unwrap();
    path.into_os_string().into_string().unwrap()
}

#[tokio::test]
async fn a_demo_turn_streams_its_work_and_finishes() {
    let home = Home::new();
    let output = home.run(&["local", "--listen", "127.0.0.1:0", "--prompt", "list files"]).await;
    let (said, noted) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}\n{noted}");
    assert!(said.contains("✓ list"), "{said}");
    assert!(said.contains("The files here:"), "{said}");
    assert!(noted.contains("scripted, no AI"), "{noted}");
    assert!(drone_processes(&home.data()).is_empty());
}

#[tokio::test]
async fn for_a_machine_each_event_is_a_line_as_on_the_wire() {
    let home = Home::new();
    let mut local = home.local(&["--prompt", "list files"]).await;
    let mut names = Vec::new();
    let mut last_seq = 0;
    while let Some(line) = local.next_json().await {
        let (name, args) = (line["event"].as_str().unwrap().to_owned(), line["args"].as_array().unwrap());
        if let Some(seq) = args.last().and_then(|meta| meta["seq"].as_u64()) {
            assert_eq!(seq, last_seq + 1, "{line}");
            last_seq = seq;
        }
        if name == "workOrderComplete" {
            assert_eq!(args[1], true);
            assert_eq!(args[3]["status"], "finished");
        }
        names.push(name);
    }
    assert_eq!(local.ended().await.code(), Some(0));
    for name in ["toolCallStarted", "toolCall", "response", "workOrderComplete"] {
        assert!(names.iter().any(|n| n == name), "{name} is not in {names:?}");
    }
}

#[tokio::test]
async fn a_model_that_is_refused_ends_the_turn_with_an_error_that_says_why() {
    let home = Home::new();
    let refusal =
        Step::Status(Status { code: 401, message: Some("wrong key".into()), headers: BTreeMap::new() });
    let model = ScriptedModel::of(Script::new([Answer::new([refusal])]));
    let server = model.serve_here().await.unwrap();
    let url = format!("{}/v1", server.url());
    let output = home
        .run(&[
            "local",
            "--listen",
            "127.0.0.1:0",
            "--openai",
            &url,
            "--model",
            "scripted",
            "--prompt",
            "hello",
        ])
        .await;
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error:") && said.contains("wrong key"), "{said}");
}

#[tokio::test]
async fn an_interrupt_aborts_the_turn_and_stops_everything() {
    let home = Home::new();
    let model = ScriptedModel::of(Script::new([Answer::new([Step::say("I begin, "), Step::Stall])]));
    let server = model.serve_here().await.unwrap();
    let url = format!("{}/v1", server.url());
    let mut local =
        home.local(&["--openai", &url, "--model", "scripted", "--prompt", "go on for ever"]).await;
    local.event("response").await;
    local.signal(Signal::SIGINT);
    let end = local.event("workOrderComplete").await;
    assert_eq!(end[3]["status"], "aborted", "{end:?}");
    assert_eq!(local.ended().await.code(), Some(130));
    assert!(drone_processes(&home.data()).is_empty());
}

#[tokio::test]
async fn an_agent_writes_a_real_file_into_a_real_clone() {
    let home = Home::new();
    let origin = repository(&home);
    let write = Step::call("write", json!({ "path": "HELLO.md", "content": "# Hello\n" }));
    let script = Script::new([Answer::new([write]), Answer::new([Step::say("Written.")])]);
    let model = ScriptedModel::of(script);
    let server = model.serve_here().await.unwrap();
    let workspace = home.dir.path().join("work");
    let output = home
        .run(&[
            "local",
            "--listen",
            "127.0.0.1:0",
            "--openai",
            &format!("{}/v1", server.url()),
            "--model",
            "scripted",
            "--project",
            &origin,
            "--workspace",
            workspace.to_str().unwrap(),
            "--prompt",
            "write a greeting",
        ])
        .await;
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", text(&output.stderr));
    assert!(said.contains("✓ write  HELLO.md") && said.ends_with("Written.\n"), "{said}");
    let clone = workspace.join("origin");
    assert_eq!(std::fs::read_to_string(clone.join("HELLO.md")).unwrap(), "# Hello\n");
    assert!(clone.join(".git").is_dir());
    assert_eq!(model.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn the_key_reaches_the_model_server_and_never_the_drone() {
    let home = Home::new();
    let model = ScriptedModel::of(Script::new([
        Answer::new([Step::call("shell_exec", json!({ "command": "env" }))]),
        Answer::new([Step::say("Done.")]),
    ]));
    let server = model.serve_here().await.unwrap();
    let mut command = home.gadget([
        "local",
        "--listen",
        "127.0.0.1:0",
        "--openai",
        &format!("{}/v1", server.url()),
        "--key-env",
        "MY_KEY",
        "--model",
        "scripted",
        "--prompt",
        "look around",
    ]);
    let mut child = command.env("MY_KEY", "sk-secret").stdout(Stdio::piped()).spawn().unwrap();
    let environment = |pid: i32| std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let data = home.data();
    let drones = until("a drone", || Some(drone_processes(&data)).filter(|pids| !pids.is_empty())).await;
    for pid in drones {
        assert!(!String::from_utf8_lossy(&environment(pid)).contains("sk-secret"));
    }
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0), "{said}");
    let requests = model.requests();
    assert!(!requests.is_empty());
    assert!(requests.iter().all(|request| !format!("{:?}", request.messages).contains("sk-secret")));
}

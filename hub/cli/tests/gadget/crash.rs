//! The hub is killed in the middle of a turn and started again on the same data.

use std::time::Duration;

use nix::sys::signal::Signal;
use scripted_model::ScriptedModel;
use scripted_model::script::{Answer, Script, Step};
use serde_json::json;

use crate::bench::{Home, drone_processes};

#[tokio::test]
async fn a_drone_that_worked_on_is_adopted_and_the_turn_goes_on_by_itself() {
    let home = Home::new();
    // A command that outlasts the hub, and an answer that can only be given after it.
    let gate = home.dir.path().join("gate");
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done; echo through", gate.display());
    let model = ScriptedModel::of(Script::new([
        Answer::new([Step::say("One moment. "), Step::call("shell_exec", json!({ "command": wait }))]),
        Answer::new([Step::say("That was it.")]),
    ]));
    let server = model.serve_here().await.unwrap();
    let url = format!("{}/v1", server.url());
    let flags = ["--openai", &url, "--model", "scripted"];

    let mut first = home.local(&[&flags[..], &["--prompt", "wait for the gate"]].concat()).await;
    first.event("toolCallStarted").await;
    first.signal(Signal::SIGKILL);
    first.ended().await;
    let drones = drone_processes(&home.data());
    assert!(!drones.is_empty(), "a drone outlives its hub");

    let second = home.local(&flags).await;
    assert_eq!(second.text("url"), first.text("url"), "the drone knows no other address");
    std::fs::write(&gate, "").unwrap();
    let turns = format!("/chat-sessions/{}/turns", second.session());
    let turn = loop {
        let page = second.get(&turns).await;
        let turn = page["items"][0].clone();
        assert_ne!(turn["status"], "error", "{turn}");
        if turn["status"] == "finished" {
            break turn;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let said: String = turn["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|block| block["mode"] == "responding")
        .map(|block| block["content"].as_str().unwrap())
        .collect();
    assert_eq!(said, "One moment. That was it.");
    assert_eq!(turn["toolCalls"].as_array().unwrap().len(), 1);
    let supervisors: Vec<i32> =
        drone_processes(&home.data()).into_iter().filter(|pid| drones.contains(pid)).collect();
    assert!(!supervisors.is_empty(), "the drone was adopted and not started anew");
    second.stop().await;
    assert!(drone_processes(&home.data()).is_empty());
}

//! A model that misbehaves: the transcript ends with each sentence once, or with an error that says why.

use protocol::value::ChatTurnStatus;
use scripted_model::script::{Answer, Drip, Script, Step};
use serde_json::json;

use tests::stage::Stage;
use tests::transcript::{said, same, scripted};

/// Answers that go well in the end, whatever their first tries do.
fn trouble() -> Vec<(&'static str, Vec<Step>)> {
    vec![
        ("cut", vec![Step::think("Hm. "), Step::say("Half a sent"), Step::Cut]),
        ("end", vec![Step::say("The body ends "), Step::End]),
        ("rate", vec![Step::rate_limit("0")]),
        ("down", vec![Step::status(500)]),
        ("overloaded", vec![Step::status(529)]),
        ("refused", vec![Step::Cut]),
        ("error", vec![Step::say("Then it "), Step::error("overloaded")]),
        ("half-call", vec![Step::call("write", json!({ "path": "never.txt", "content": "no" })), Step::Cut]),
    ]
}

#[tokio::test]
async fn a_broken_answer_is_made_again_and_each_sentence_is_there_once() {
    let good = [Step::think("I see. "), Step::say("All is well. "), Step::say("Really.")];
    let scripts = trouble()
        .into_iter()
        .map(|(name, steps)| (name, Script::new([Answer::new(steps).then(good.clone())])))
        .collect::<Vec<_>>();
    let stage = Stage::with_scripts(scripts, 0).await.unwrap();
    let (ide, session) = stage.open("trouble", None).await.unwrap();
    for (name, _) in trouble() {
        let turn = ide.prompt(&format!("Say it [[script:{name}]]")).await.unwrap();
        assert_eq!(ide.finished(&turn).await.unwrap(), ChatTurnStatus::Finished, "{name}");
        let screen = ide.turn(&turn);
        assert_eq!(said(&screen.blocks).unwrap(), scripted(&[Answer::new(good.clone())]), "{name}");
        let stored = stage.api.finished_turn(&session.id, &turn).await.unwrap();
        same(&screen, &stored.blocks).unwrap();
        assert!(stored.tool_calls.is_empty(), "{name}: {:?}", stored.tool_calls);
        assert!(stored.stats.retries <= 1, "{name}: {:?}", stored.stats);
    }
    stage.well_asked().unwrap();
    ide.close().await.unwrap();
}

#[tokio::test]
async fn a_stream_that_drips_byte_by_byte_is_read_as_it_is() {
    let answers = vec![Answer::new([
        Step::Drip(Drip { bytes: 1, pause: 0 }),
        Step::think("Ünïcödé in pieces. "),
        Step::say("日本語 and 🙂."),
    ])];
    let stage = Stage::with_script(Script::new(answers.clone())).await.unwrap();
    let (ide, _) = stage.open("drip", None).await.unwrap();
    let turn = ide.prompt("Go").await.unwrap();
    assert_eq!(ide.finished(&turn).await.unwrap(), ChatTurnStatus::Finished);
    assert_eq!(said(&ide.turn(&turn).blocks).unwrap(), scripted(&answers));
    ide.close().await.unwrap();
}

#[tokio::test]
async fn a_wrong_key_ends_the_turn_with_the_reason() {
    let stage = Stage::with_script(Script::new([Answer::new([Step::status(401)])])).await.unwrap();
    let (ide, session) = stage.open("key", None).await.unwrap();
    let turn = ide.prompt("Go").await.unwrap();
    assert_eq!(ide.finished(&turn).await.unwrap(), ChatTurnStatus::Error);
    let stored = stage.api.finished_turn(&session.id, &turn).await.unwrap();
    let reason = stored.error_message.unwrap();
    assert!(reason.contains("401") || reason.to_lowercase().contains("key"), "{reason}");
    // The session goes on: the next prompt is taken.
    ide.prompt("Again").await.unwrap();
    ide.close().await.unwrap();
}

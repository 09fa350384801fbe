//! Two tabs on one session, and two sessions side by side.

use protocol::ide::name;
use protocol::value::ChatTurnStatus;
use scripted_model::script::{Answer, Script, Step};
use serde_json::{Value, json};
use tests::ide::Ide;

use tests::stage::Stage;
use tests::transcript::{said, scripted};

#[tokio::test]
async fn a_second_tab_is_refused_follows_and_takes_over() {
    let answers = vec![Answer::new([Step::say("One. "), Step::say("Two.")])];
    let stage = Stage::with_script(Script::new(answers.clone())).await.unwrap();
    let (first, session) = stage.open("first", None).await.unwrap();
    let second = Ide::connect(&stage.gadget, "second").await.unwrap();

    let lock = |take_over: bool| {
        (
            Value::Null,
            json!({ "_id": session.project }),
            json!({ "_id": session.id }),
            json!({ "takeOver": take_over }),
        )
    };
    let (success, _, detail): (bool, Value, Value) =
        second.ask(name::REQUEST_SESSION_LOCK, &lock(false)).await.unwrap();
    assert!(!success);
    assert_eq!(detail["code"], "tab_locked", "{detail}");

    // It may watch.
    let (success, _): (bool, Value) =
        second.ask(name::FOLLOW_SESSION, &(json!({ "chatSessionId": session.id }),)).await.unwrap();
    assert!(success);
    let turn = first.prompt("Go").await.unwrap();
    for tab in [&first, &second] {
        assert_eq!(tab.finished(&turn).await.unwrap(), ChatTurnStatus::Finished);
        assert_eq!(said(&tab.turn(&turn).blocks).unwrap(), scripted(&answers));
    }
    let (success, detail): (bool, Value) = second.ask(name::SUBMIT_PROMPT, &("Mine?",)).await.unwrap();
    assert!(!success);
    assert_eq!(detail["code"], "no_session", "{detail}");

    // It may take over; the first one is told and keeps watching.
    let (success, _): (bool, Value) = second.ask(name::REQUEST_SESSION_LOCK, &lock(true)).await.unwrap();
    assert!(success);
    first.hears("that the tab is lost", |heard| heard.name == name::TAB_LOCK_DENIED).await.unwrap();
    let turn = second.prompt("Go again").await.unwrap();
    for tab in [&first, &second] {
        assert_eq!(tab.finished(&turn).await.unwrap(), ChatTurnStatus::Finished);
    }
    first.close().await.unwrap();
    second.close().await.unwrap();
}

#[tokio::test]
async fn two_sessions_work_side_by_side_and_hear_nothing_of_each_other() {
    let script = |text: &str| Script::new([Answer::new([Step::say(format!("I am {text}."))])]);
    let stage = Stage::with_scripts([("a", script("Anna")), ("b", script("Berta"))], 1).await.unwrap();
    let (anna, _) = stage.open("anna", None).await.unwrap();
    let (berta, _) = stage.open("berta", None).await.unwrap();
    let (turn_a, turn_b) = tokio::join!(anna.prompt("[[script:a]]"), berta.prompt("[[script:b]]"));
    let (turn_a, turn_b) = (turn_a.unwrap(), turn_b.unwrap());
    anna.finished(&turn_a).await.unwrap();
    berta.finished(&turn_b).await.unwrap();
    assert!(anna.names(&turn_b).is_empty() && berta.names(&turn_a).is_empty());
    anna.close().await.unwrap();
    berta.close().await.unwrap();
}

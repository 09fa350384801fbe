//! A disk that takes no more: the turn ends with the reason, nothing is doubled, and the drone works on.

use protocol::event::TurnEvent;
use protocol::value::ChatTurnStatus;
use scripted_model::ScriptedModel;
use scripted_model::script::{Answer, Script, Step};
use scripted_model::settings::Settings;
use serde_json::json;

use crate::world::{World, order};

/// What one file may hold.
const LIMIT: usize = 256 * 1024;

#[tokio::test]
async fn a_journal_that_cannot_be_written_ends_the_turn_with_the_reason_and_the_next_turn_works() {
    let long = "All hands on deck. ".repeat(2 * LIMIT / 19);
    let scripts = [
        (
            "default".to_owned(),
            Script::new([
                Answer::new([Step::call("shell_exec", json!({ "command": "echo once >> ran" }))]),
                Answer::new([
                    Step::say(long.clone()),
                    Step::call("shell_exec", json!({ "command": "echo never >> ran" })),
                ]),
            ]),
        ),
        ("short".to_owned(), Script::new([Answer::new([Step::say("Short and well.")])])),
    ];
    let model = ScriptedModel::new(Settings { scripts: scripts.into(), ..Settings::default() });
    let mut world = World::locked(model).await;
    world.drone.kill().await;
    let hellos = world.hub.look(|store| store.hellos.len());
    world.start_drone_on_full_disk(LIMIT);
    world.hub.hellos(hellos + 1).await;
    let pid = world.drone.pid();

    assert_eq!(world.hub.dispatch(order("talk")).await, [true]);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Error);
    let Some(TurnEvent::WorkOrderComplete { message: Some(message), .. }) = world.hub.events().pop() else {
        panic!("the turn does not end with its end")
    };
    assert!(message.contains("journal") && message.contains("File too large"), "{message}");
    let story = world.story();
    assert!(story == ["calls: shell_exec".to_owned(), format!("says: {long}")], "{} blocks", story.len());
    assert_eq!(std::fs::read_to_string(world.project().join("ran")).unwrap(), "once\n");
    assert_eq!(world.hub.look(|store| (store.doubled, store.refused.len())), (0, 0));
    world.forgotten().await;

    assert_eq!(world.hub.dispatch(order("again [[script:short]]")).await, [true]);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    // The test's transcript joins the texts of both turns.
    assert!(world.story().last().unwrap().ends_with("deck. Short and well."));
    assert_eq!(world.drone.pid(), pid);
}

#[tokio::test]
async fn a_turn_whose_beginning_cannot_be_journaled_is_refused_and_tells_and_does_nothing() {
    let command = json!({ "command": "echo never >> ran" });
    let model = ScriptedModel::of(Script::new([
        Answer::new([Step::say("Too early. "), Step::call("shell_exec", command)]),
        Answer::new([Step::say("Done.")]),
    ]));
    let world = World::locked(model).await;
    let journals = world.workspace().join(".gadget/journal");
    std::fs::remove_dir_all(&journals).unwrap();
    let answer = world.hub.dispatch(order("talk")).await;
    assert_eq!(answer[0], false, "{answer:?}");
    assert!(answer[1].to_string().contains("journal"), "{answer:?}");
    assert!(world.document("work-order.json").is_none());
    assert_eq!(world.hub.events(), []);

    std::fs::create_dir(&journals).unwrap();
    assert_eq!(world.hub.dispatch(order("again")).await, [true]);
    assert_eq!(world.hub.over().await, ChatTurnStatus::Finished);
    assert_eq!(world.story(), ["says: Too early. ", "calls: shell_exec", "says: Done."]);
    assert_eq!(std::fs::read_to_string(world.project().join("ran")).unwrap(), "never\n");
}

//! A hub that goes away and comes back, in the middle of things.

use std::time::Duration;

use protocol::value::ChatTurnStatus;
use serde_json::json;

use crate::world::hub::{Hub, lock_args};
use crate::world::ide::Ide;

#[tokio::test]
async fn a_turn_goes_on_through_a_restart_of_the_hub_without_anybody_asking() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let auth = json!({ "token": ann.token, "tabId": "t" });
    let ide = Ide::connect(&hub.url, auth).await;
    let args = lock_args(&ann);
    let (locked, drone) = tokio::join!(ide.request("requestSessionLock", &args), hub.drone(&ann.session));
    assert_eq!(locked[0], true);
    ide.submit("work").await;
    let run = drone.work().await;
    drone.say("one");
    ide.wait_seq(1).await;
    let hub = hub.restart().await;
    drone.say("two");
    drone.complete(ChatTurnStatus::Finished);
    drone.done().await;
    let stored = hub.app.store.full_turn(&run.turn).await.unwrap().unwrap();
    assert_eq!((stored.status, stored.last_seq, stored.attempts), (ChatTurnStatus::Finished, 3, 1));
    ide.connected(2).await;
    assert!(!ide.named("goingAway").is_empty());
}

#[tokio::test]
async fn a_drone_that_died_with_the_hub_is_asked_for_again() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("work").await;
    drone.work().await;
    drone.say("one");
    drone.stored().await;
    drone.die().await;
    let hub = hub.restart().await;
    assert!(hub.fleet.is_running(&drone.id));
    drone.come_back(&hub.url);
    let run = drone.attempt(2).await;
    assert_eq!(run.first_seq, 2);
    ide.connected(2).await;
    ide.wait_for("status", |args| args[0].as_str().unwrap().contains("Re-attached")).await;
    drone.say("two");
    ide.wait_seq(2).await;
}

#[tokio::test]
async fn a_prompt_that_was_held_is_sent_by_the_next_hub() {
    let hub = Hub::start_with(|config| config.sessions.lock_wait = Duration::from_millis(50)).await;
    let ann = hub.person("ann").await;
    let ide = hub.ide(&ann).await;
    ide.request("requestSessionLock", &lock_args(&ann)).await;
    assert_eq!(ide.submit("held").await[0], true);
    let hub = hub.restart().await;
    let drone = hub.drone(&ann.session).await;
    assert_eq!(drone.work().await.prompt, "held");
}

#[tokio::test]
async fn an_abort_survives_the_hub() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("work").await;
    let run = drone.work().await;
    drone.die().await;
    ide.wait_for("status", |args| args[0].as_str().unwrap().contains("connection is lost")).await;
    assert_eq!(ide.request("abortWorkOrder", &json!([])).await[0], true);
    let hub = hub.restart().await;
    drone.come_back(&hub.url);
    let over = async || {
        let turn = hub.app.store.full_turn(&run.turn).await.unwrap().unwrap();
        (turn.status == ChatTurnStatus::Aborted).then_some(())
    };
    crate::world::eventually("the turn is aborted", over).await;
    assert!(drone.commands("processWorkOrder").len() == 1, "it is not sent again");
}

#[tokio::test]
async fn a_hub_stops_in_bounded_time_whatever_its_clients_do() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (_ide, drone) = hub.opened(&ann).await;
    drone.be_silent();
    let took = hub.stop().await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

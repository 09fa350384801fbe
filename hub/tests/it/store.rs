//! A store that fails for a while.

use protocol::value::ChatTurnStatus;

use crate::world::eventually;
use crate::world::hub::Hub;

async fn readiness(hub: &Hub) -> u16 {
    reqwest::get(format!("{}/readyz", hub.url)).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_store_that_another_process_has_locked_pauses_the_turn_and_loses_nothing() {
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("go").await;
    let run = drone.work().await;
    drone.say("before ");
    drone.stored().await;

    let other = rusqlite::Connection::open(hub.app.config.data_dir.join("gadget.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    drone.say("meanwhile ");
    ide.wait_seq(2).await;
    eventually("the hub is not ready", async || (readiness(&hub).await == 503).then_some(())).await;

    other.execute_batch("ROLLBACK").unwrap();
    eventually("the hub is ready again", async || (readiness(&hub).await == 200).then_some(())).await;
    drone.complete(ChatTurnStatus::Finished);
    drone.done().await;
    let stored = hub.app.store.full_turn(&run.turn).await.unwrap().unwrap();
    assert_eq!(stored.status, ChatTurnStatus::Finished);
    assert_eq!(serde_json::to_value(&stored.blocks).unwrap()[0]["content"], "before meanwhile ");
    assert_eq!(ide.seqs(), [1, 2, 3]);
}

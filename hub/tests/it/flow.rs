//! Much at once: order, stalled readers, floods.

use std::time::Duration;

use protocol::value::ChatTurnStatus;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::eventually;
use crate::world::hub::{Hub, Person};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_events_arrive_in_order_and_once() {
    const EVENTS: u64 = 10_000;
    let hub = Hub::start().await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    let follower = hub.ide(&ann).await;
    follower.request("followSession", &json!([{ "chatSessionId": ann.session }])).await;
    ide.submit("work").await;
    drone.work().await;
    for number in 1..EVENTS {
        drone.say(&number.to_string());
    }
    drone.complete(ChatTurnStatus::Finished);
    for watcher in [&ide, &follower] {
        watcher.wait_seq(EVENTS).await;
        assert_eq!(watcher.seqs(), (1..=EVENTS).collect::<Vec<_>>());
        assert_eq!(watcher.connects(), 1);
    }
    drone.done().await;
}

#[tokio::test]
async fn a_reader_that_stalls_is_ended_and_nobody_waits_for_it() {
    let hub = Hub::start_with(|config| {
        config.listener.write_stall = Duration::from_millis(300);
        config.sockets.outbox.messages = 64;
    })
    .await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    let stalled = follow_and_stop_reading(&hub, &ann).await;
    ide.submit("work").await;
    drone.work().await;
    let connected = || gauge(&hub, "gadget_ide_connections ");
    assert_eq!(connected(), 2);
    for _ in 0..400 {
        drone.say(&"x".repeat(32 * 1024));
        tokio::task::yield_now().await;
    }
    eventually("the stalled reader is gone", async || (connected() == 1).then_some(())).await;
    ide.wait_seq(400).await;
    drop(stalled);
}

#[tokio::test]
async fn a_flooding_drone_is_read_as_fast_as_the_store_takes_and_nothing_is_lost() {
    let hub = Hub::start_with(|config| {
        config.sessions.log.unstored_events = 64;
        config.sessions.log.unstored_bytes = 64 * 1024;
    })
    .await;
    let ann = hub.person("ann").await;
    let (ide, drone) = hub.opened(&ann).await;
    ide.submit("work").await;
    drone.work().await;
    for number in 1..=3000 {
        drone.say(&format!("{number} {}", "y".repeat(500)));
    }
    drone.stored().await;
    ide.wait_seq(3000).await;
    assert_eq!(ide.seqs(), (1..=3000).collect::<Vec<_>>());
    assert_eq!(hub.app.store.last_seq(&ann.session).await.unwrap(), 3000);
}

fn gauge(hub: &Hub, name: &str) -> i64 {
    let text = hub.app.metrics.encode().unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).expect("the metric is there");
    line[name.len()..].parse().unwrap()
}

/// A WebSocket by hand, which reads what it must and then nothing more.
async fn follow_and_stop_reading(hub: &Hub, person: &Person) -> TcpStream {
    let address = hub.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let connect = format!("40{}", json!({ "token": person.token }));
    let follow = format!("420{}", json!(["followSession", { "chatSessionId": person.session }]));
    let mut seen = String::new();
    for (wait, send) in [("\"sid\"", connect), ("40{\"sid\"", follow)] {
        read_until(&mut stream, &mut seen, wait).await;
        stream.write_all(&frame(&send)).await.unwrap();
    }
    read_until(&mut stream, &mut seen, "430[true").await;
    stream
}

async fn read_until(stream: &mut TcpStream, seen: &mut String, wanted: &str) {
    let mut bytes = [0; 1024];
    while !seen.contains(wanted) {
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "the hub ended the connection: {seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}

/// A masked text frame, with a mask of zeros.
fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let mut frame = vec![0x81, 0xFE];
    frame.extend(length.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

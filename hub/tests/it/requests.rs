//! Connections that hold the hub's attention and ask for nothing.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::world::DEADLINE;
use crate::world::hub::Hub;

const SOON: Duration = Duration::from_millis(300);

async fn impatient() -> Hub {
    Hub::start_with(|config| {
        config.listener.request = SOON;
        config.listener.idle = SOON;
    })
    .await
}

async fn connect(hub: &Hub) -> TcpStream {
    TcpStream::connect(hub.url.trim_start_matches("http://")).await.unwrap()
}

/// Reads until the hub ends the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    // However it ends.
    let _end =
        timeout(DEADLINE, stream.read_to_string(&mut text)).await.expect("the hub ends the connection");
    text
}

#[tokio::test]
async fn a_request_that_is_never_sent_whole_does_not_hold_its_connection() {
    let hub = impatient().await;
    let body = "POST /api/v1/auth/sign-in HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"email\":";
    for sent in ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nhost: x\r\n", body] {
        let mut stream = connect(&hub).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        assert!(!rest(stream).await.contains("200 OK"), "{sent}");
    }
}

#[tokio::test]
async fn one_that_is_sent_byte_by_byte_has_no_more_time() {
    let hub = impatient().await;
    let mut stream = connect(&hub).await;
    let dripping = async {
        for byte in "GET /healthz HTTP/1.1\r\nx: ".bytes().chain(std::iter::repeat(b'x')) {
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, dripping).await.expect("the hub ends the connection");
}

#[tokio::test]
async fn the_next_request_of_a_connection_has_to_come_too() {
    let hub = impatient().await;
    let mut stream = connect(&hub).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let text = rest(stream).await;
    assert!(text.contains("200 OK") && text.ends_with("ok"), "{text}");
}

#[tokio::test]
async fn what_is_no_request_any_more_has_all_the_time() {
    let hub = impatient().await;
    let ann = hub.person("ann").await;
    let ide = hub.ide(&ann).await;
    let http = reqwest::Client::new();
    let url = format!("{}/socket.io/?EIO=4&transport=polling", hub.url);
    let handshake = http.get(&url).send().await.unwrap().text().await.unwrap();
    let sid = handshake.split('"').nth(3).unwrap().to_owned();
    let url = format!("{url}&sid={sid}");
    let connect = format!("40{}", json!({ "token": ann.token }));
    assert_eq!(http.post(&url).body(connect).send().await.unwrap().text().await.unwrap(), "ok");
    while !http.get(&url).send().await.unwrap().text().await.unwrap().contains("40{") {}
    let poll = tokio::spawn(http.get(&url).send());
    tokio::time::sleep(SOON * 4).await;
    assert!(!poll.is_finished(), "a poll waits for as long as nothing happens");
    assert_eq!(ide.request("sessionHeartbeat", &json!([])).await[0], false);
    assert_eq!(ide.connects(), 1);
    poll.abort();
}

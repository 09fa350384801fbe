//! Events and acks in both directions over one connection.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{DEADLINE, Server, connect, next, on_connect, on_connect_then};
use client::{EmitError, Event, Incoming};
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use tokio::sync::mpsc;

const MANY: u64 = 10_000;

async fn event(incoming: &mut mpsc::Receiver<Incoming>) -> Event {
    match next(incoming).await {
        Incoming::Event(event) => event,
        other => panic!("expected an event, got {other:?}"),
    }
}

/// Answers `echo` with its own arguments, at once and in order.
fn echo(io: &SocketIo) {
    on_connect(io, "/", |socket| {
        socket.on("echo", |Data::<Value>(data), ack: AckSender| {
            ack.send(&data).unwrap();
            std::future::ready(())
        });
    });
}

#[tokio::test]
async fn ten_thousand_events_each_way_stay_in_order() {
    let (seen, mut arrived) = mpsc::channel(10_000);
    let server = Server::any_port(|io| {
        on_connect(io, "/", move |socket| {
            socket.on("up", move |socket: SocketRef, Data::<u64>(number)| {
                seen.try_send(number).unwrap();
                socket.emit("down", &number).unwrap();
                std::future::ready(())
            });
        });
    })
    .await;
    let (client, mut incoming, connection) = connect(server.config()).await;

    // As many on their way as the server's buffer holds: it drops what does not fit.
    let window = Arc::new(tokio::sync::Semaphore::new(100));
    let sending = {
        let window = Arc::clone(&window);
        tokio::spawn(async move {
            for number in 0..MANY {
                window.acquire().await.unwrap().forget();
                connection.emit("up", &(number,)).await.unwrap();
            }
        })
    };
    for expected in 0..MANY {
        let (number,): (u64,) = event(&mut incoming).await.args.parse().unwrap();
        assert_eq!(number, expected);
        assert_eq!(arrived.recv().await, Some(expected));
        window.add_permits(1);
    }
    sending.await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn each_of_256_acks_in_flight_gets_its_own_answer() {
    let server = Server::any_port(echo).await;
    let (client, _incoming, connection) = connect(server.config()).await;
    crate::support::join_all((0..256_u64).map(|lane| {
        let connection = connection.clone();
        async move {
            for round in 0..20_u64 {
                let (answer,): ((u64, u64),) =
                    connection.request("echo", &((lane, round),), DEADLINE).await.unwrap().parse().unwrap();
                assert_eq!(answer, (lane, round));
            }
        }
    }))
    .await;
    client.close().await;
}

#[tokio::test]
async fn pending_acks_are_sent_in_the_order_in_which_they_were_asked_for() {
    let (seen, mut arrived) = mpsc::channel(64);
    let server = Server::any_port(|io| {
        on_connect(io, "/", move |socket| {
            socket.on("step", move |Data::<u64>(number), ack: AckSender| {
                seen.try_send(number).unwrap();
                ack.send(&number).unwrap();
                std::future::ready(())
            });
        });
    })
    .await;
    let (client, _incoming, connection) = connect(server.config()).await;
    let mut pending = Vec::new();
    for number in 0..50_u64 {
        pending.push(connection.emit_with_ack("step", &(number,), DEADLINE).await.unwrap());
    }
    for (number, ack) in (0..50_u64).zip(pending) {
        let (answer,): (u64,) = ack.answer().await.unwrap().parse().unwrap();
        assert_eq!((answer, arrived.recv().await), (number, Some(number)));
    }
    client.close().await;
}

#[tokio::test]
async fn the_server_gets_its_acks_with_several_arguments() {
    let (answers, mut answered) = mpsc::channel(1);
    let server = Server::any_port(|io| {
        let ask = move |socket: SocketRef| {
            tokio::spawn(async move {
                let answer: (bool, String, Value) =
                    socket.emit_with_ack("ask", &("lock", 7)).unwrap().await.unwrap();
                answers.send(answer).await.unwrap();
            });
        };
        on_connect_then(io, "/", |_| (), ask);
    })
    .await;
    let (client, mut incoming, _connection) = connect(server.config()).await;
    let Event { name, args, responder } = event(&mut incoming).await;
    assert_eq!((name.as_str(), args.parse::<(String, u64)>().unwrap()), ("ask", ("lock".to_owned(), 7)));
    responder.expect("an answer is wanted").respond(&(true, "session", json!({ "a": [1] }))).await.unwrap();
    assert_eq!(answered.recv().await.unwrap(), (true, "session".to_owned(), json!({ "a": [1] })));
    client.close().await;
}

#[tokio::test]
async fn an_ack_that_never_comes_times_out_and_the_connection_lives() {
    let server = Server::any_port(|io| {
        on_connect(io, "/", |socket| {
            socket.on("silence", || std::future::ready(()));
            socket.on("echo", |Data::<Value>(data), ack: AckSender| {
                ack.send(&data).unwrap();
                std::future::ready(())
            });
        });
    })
    .await;
    let (client, _incoming, connection) = connect(server.config()).await;
    let late = connection.request("silence", &(), Duration::from_millis(20)).await;
    assert!(matches!(late, Err(EmitError::TimedOut(_))), "{late:?}");
    connection.request("echo", &(1,), DEADLINE).await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn a_namespace_of_its_own_works_like_the_default_one() {
    let server = Server::any_port(|io| {
        let echo = |socket: SocketRef| {
            socket.on("echo", |Data::<Value>(data), ack: AckSender| {
                ack.send(&data).unwrap();
                std::future::ready(())
            });
        };
        let hello = |socket: SocketRef| socket.emit("hello", &("a,b", 2)).unwrap();
        on_connect_then(io, "/chat", echo, hello);
    })
    .await;
    let (client, mut incoming, connection) = connect(server.config().namespace("/chat")).await;
    let (answer,): (Value,) =
        connection.request("echo", &(json!({ "x": "/y," }),), DEADLINE).await.unwrap().parse().unwrap();
    assert_eq!(answer, json!({ "x": "/y," }));
    let hello = event(&mut incoming).await;
    assert_eq!(hello.args.parse::<(String, u64)>().unwrap(), ("a,b".to_owned(), 2));
    client.close().await;
}

#[tokio::test]
async fn a_slow_consumer_holds_the_sender_back_and_loses_nothing() {
    /// More than the sockets' buffers hold.
    const EVENTS: u64 = 10_000;
    const EVENT_BYTES: usize = 4096;
    /// So often in a row finds the server no room while nobody reads.
    const REFUSALS: u32 = 10_000;

    let (news, mut told) = mpsc::channel(2);
    let server = Server::any_port(|io| {
        let flood = move |socket: SocketRef| {
            tokio::spawn(async move {
                let text = "x".repeat(EVENT_BYTES);
                let (mut number, mut refusals) = (0, 0);
                while number < EVENTS {
                    if socket.emit("flood", &(number, &text)).is_ok() {
                        (number, refusals) = (number + 1, 0);
                        continue;
                    }
                    refusals += 1;
                    if refusals == REFUSALS {
                        let _told_before = news.try_send("held back");
                    }
                    tokio::task::yield_now().await;
                }
                let _told_before = news.try_send("all sent");
            });
        };
        on_connect_then(io, "/", |_| (), flood);
    })
    .await;
    let mut config = server.config();
    config.incoming_capacity = 8;
    let (client, mut incoming, connection) = connect(config).await;
    let first_news =
        tokio::time::timeout(DEADLINE, told.recv()).await.expect("the server is neither held nor done");
    assert_eq!(first_news, Some("held back"));
    // What we send still goes out.
    connection.emit("still", &("here",)).await.unwrap();
    for expected in 0..EVENTS {
        let (number, _): (u64, String) = event(&mut incoming).await.args.parse().unwrap();
        assert_eq!(number, expected);
    }
    client.close().await;
}

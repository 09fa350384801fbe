//! Losing a connection, refused connections, coming back, and leaving.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{DEADLINE, RawServer, Server, connect, connected, next, no_auth, on_connect};
use client::{
    AuthError, AuthRequest, Config, ConnectError, EmitError, Fatal, Incoming, Loss, OnServerDisconnect,
    Refusal,
};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

/// An hour: an ack that fails sooner did not fail by its time-out.
const LONG: Duration = Duration::from_hours(1);

fn echo_and_silence(io: &SocketIo) {
    on_connect(io, "/", |socket| {
        socket.on("silence", || std::future::ready(()));
        echo(&socket);
    });
}

fn echo(socket: &SocketRef) {
    socket.on("echo", |Data::<Value>(data), ack: AckSender| {
        ack.send(&data).unwrap();
        std::future::ready(())
    });
}

#[tokio::test]
async fn a_killed_server_fails_pending_acks_at_once_and_is_found_again_on_the_same_port() {
    let server = Server::any_port(echo_and_silence).await;
    let asked = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let auth = move |_: AuthRequest| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Ok::<_, AuthError>(json!({ "token": number })) }
    };
    let (client, mut incoming) = client::connect(server.config(), auth).unwrap();
    let first = connected(&mut incoming).await;
    let mut pending = Vec::new();
    for _ in 0..256 {
        pending.push(first.emit_with_ack("silence", &(), LONG).await.unwrap());
    }

    let address = server.kill();
    for ack in pending {
        let failed = tokio::time::timeout(DEADLINE, ack.answer()).await.expect("the ack hangs");
        assert!(matches!(failed, Err(EmitError::ConnectionLost)), "{failed:?}");
    }
    let lost = next(&mut incoming).await;
    assert!(matches!(lost, Incoming::Disconnected { epoch: 1, .. }), "{lost:?}");

    // The server comes back; it is told the newest token, and only by the new connection.
    let (tokens, mut told) = mpsc::channel(64);
    let _server = Server::start(address, |io| {
        let read_token = move |socket: SocketRef, TryData::<Value>(auth)| {
            tokens.try_send(auth.unwrap()).unwrap();
            echo(&socket);
            std::future::ready(Ok::<(), Infallible>(()))
        };
        io.ns("/", (async |_: SocketRef| {}).with(read_token));
    })
    .await;
    let second = connected(&mut incoming).await;
    assert_eq!(second.epoch(), 2);
    assert_eq!(told.recv().await.unwrap(), json!({ "token": asked.load(Ordering::SeqCst) }));
    assert!(asked.load(Ordering::SeqCst) >= 2);
    assert!(matches!(first.emit("echo", &(1,)).await, Err(EmitError::ConnectionLost)));
    second.request("echo", &(1,), DEADLINE).await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let (client, mut incoming) =
        client::connect(Config::new(&format!("http://{address}")).unwrap(), no_auth).unwrap();
    let failed = next(&mut incoming).await;
    assert!(
        matches!(&failed, Incoming::ConnectFailed { error: ConnectError::Dial(_), retry_in } if *retry_in <= Duration::from_millis(100)),
        "{failed:?}"
    );
    let _server = Server::start(address, echo_and_silence).await;
    connected(&mut incoming).await.request("echo", &(1,), DEADLINE).await.unwrap();
    client.close().await;
}

#[tokio::test]
async fn a_request_is_never_answered_on_a_later_connection() {
    let server = RawServer::start().await;
    let (client, mut incoming) = client::connect(server.config(), no_auth).unwrap();
    let mut first = granted(&server).await;
    first.send(Message::text(r#"421["ask"]"#)).await.unwrap();
    connected(&mut incoming).await;
    let Incoming::Event(event) = next(&mut incoming).await else { panic!("expected an event") };
    drop(first);
    assert!(matches!(next(&mut incoming).await, Incoming::Disconnected { .. }));

    let mut second = granted(&server).await;
    let connection = connected(&mut incoming).await;
    let late = event.responder.unwrap().respond(&(true,)).await;
    assert!(matches!(late, Err(EmitError::ConnectionLost)), "{late:?}");
    connection.emit("after", &()).await.unwrap();
    assert_eq!(second.next().await.unwrap().unwrap(), Message::text(r#"42["after"]"#));
    client.close().await;
}

/// Accepts one client up to the namespace's answer, with a ping before it, as servers do.
async fn granted(server: &RawServer) -> tokio_tungstenite::WebSocketStream<tokio::net::TcpStream> {
    let mut socket = server.accept().await;
    let open = json!({ "sid": "any-length", "upgrades": [], "pingInterval": 300, "pingTimeout": 200, "maxPayload": 1 });
    socket.send(Message::text(format!("0{open}"))).await.unwrap();
    socket.send(Message::text("2")).await.unwrap();
    let mut said = vec![];
    while said.len() < 2 {
        said.push(socket.next().await.unwrap().unwrap().into_text().unwrap().to_string());
    }
    assert_eq!(said, ["40{}", "3"], "the ping is answered before the namespace is");
    socket.send(Message::text(r#"40{"sid":"s"}"#)).await.unwrap();
    socket
}

#[tokio::test]
async fn a_silent_server_is_lost_after_its_ping_time_out() {
    let server = RawServer::start().await;
    let (client, mut incoming) = client::connect(server.config(), no_auth).unwrap();
    let _silent = granted(&server).await;
    let connection = connected(&mut incoming).await;
    let pending = connection.emit_with_ack("anything", &(), LONG).await.unwrap();
    let lost = next(&mut incoming).await;
    let Incoming::Disconnected { reason: Loss::Silent(limit), .. } = lost else { panic!("{lost:?}") };
    assert_eq!(limit, Duration::from_millis(500));
    assert!(matches!(pending.answer().await, Err(EmitError::ConnectionLost)));
    client.close().await;
}

#[tokio::test]
async fn garbage_from_the_server_ends_the_connection_and_not_the_client() {
    let server = RawServer::start().await;
    let (client, mut incoming) = client::connect(server.config(), no_auth).unwrap();
    for garbage in ["42[", "4é", "43[1]", r#"40{"sid":"again"}"#] {
        let mut socket = granted(&server).await;
        connected(&mut incoming).await;
        socket.send(Message::text(garbage)).await.unwrap();
        let lost = next(&mut incoming).await;
        assert!(
            matches!(lost, Incoming::Disconnected { reason: Loss::Protocol(_), .. }),
            "{garbage}: {lost:?}"
        );
    }
    client.close().await;
}

/// A server whose connect middleware refuses with `code` as long as the token is not `good`.
async fn refusing(code: &'static str) -> Server {
    Server::any_port(|io| {
        let check = move |_: SocketRef, TryData::<Value>(auth)| async move {
            if auth.unwrap()["token"] == "good" {
                Ok(())
            } else {
                Err(json!({ "code": code, "message": "no entry" }))
            }
        };
        io.ns("/", (async |_: SocketRef| {}).with(check));
    })
    .await
}

#[tokio::test]
async fn an_expired_token_is_renewed_and_the_connect_made_again() {
    let server = refusing("token_expired").await;
    let auth = |request: AuthRequest| async move {
        let token = match request.refused {
            Some(refusal) if refusal.code == "token_expired" => "good",
            _ => "old",
        };
        Ok::<_, AuthError>(json!({ "token": token }))
    };
    let (client, mut incoming) = client::connect(server.config(), auth).unwrap();
    let failed = next(&mut incoming).await;
    assert!(matches!(failed, Incoming::ConnectFailed { error: ConnectError::Refused(_), .. }), "{failed:?}");
    connected(&mut incoming).await;
    client.close().await;
}

#[tokio::test]
async fn a_refusal_that_no_attempt_can_mend_stops_the_client() {
    for code in ["unauthorized", "forbidden", "superseded", "protocol"] {
        let server = refusing(code).await;
        let (_client, mut incoming) = client::connect(server.config(), no_auth).unwrap();
        let fatal = next(&mut incoming).await;
        let Incoming::Fatal(Fatal::Refused(refusal)) = fatal else { panic!("{fatal:?}") };
        assert_eq!(refusal, Refusal { code: code.into(), message: "no entry".into() });
        assert!(tokio::time::timeout(DEADLINE, incoming.recv()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_namespace_that_is_not_there_stops_the_client() {
    let server = Server::any_port(echo_and_silence).await;
    let (_client, mut incoming) = client::connect(server.config().namespace("/nowhere"), no_auth).unwrap();
    let fatal = next(&mut incoming).await;
    assert!(
        matches!(&fatal, Incoming::Fatal(Fatal::Refused(refusal)) if refusal.code == "protocol"),
        "{fatal:?}"
    );
}

#[tokio::test]
async fn a_token_that_cannot_be_had_now_is_asked_for_again_and_one_that_never_can_stops() {
    let server = Server::any_port(echo_and_silence).await;
    let mut failures = vec![AuthError::Stop("revoked".into()), AuthError::Retry("busy".into())];
    let auth = move |_: AuthRequest| {
        let failure = failures.pop().unwrap();
        async move { Err::<Value, _>(failure) }
    };
    let (_client, mut incoming) = client::connect(server.config(), auth).unwrap();
    let failed = next(&mut incoming).await;
    assert!(matches!(failed, Incoming::ConnectFailed { error: ConnectError::Auth(_), .. }), "{failed:?}");
    let fatal = next(&mut incoming).await;
    assert!(matches!(fatal, Incoming::Fatal(Fatal::Auth(_))), "{fatal:?}");
}

#[tokio::test]
async fn a_disconnect_by_the_server_reconnects_unless_told_to_stop() {
    let server = Server::any_port(|io| {
        on_connect(io, "/", |socket| {
            socket.on("leave", |socket: SocketRef| {
                socket.disconnect().unwrap();
                std::future::ready(())
            });
        });
    })
    .await;
    let (client, mut incoming, connection) = connect(server.config()).await;
    connection.emit("leave", &()).await.unwrap();
    let lost = next(&mut incoming).await;
    assert!(matches!(lost, Incoming::Disconnected { reason: Loss::ServerDisconnect, .. }), "{lost:?}");
    assert_eq!(connected(&mut incoming).await.epoch(), 2);
    client.close().await;

    let mut config = server.config();
    config.on_server_disconnect = OnServerDisconnect::Stop;
    let (_client, mut incoming, connection) = connect(config).await;
    connection.emit("leave", &()).await.unwrap();
    assert!(matches!(next(&mut incoming).await, Incoming::Disconnected { .. }));
    let fatal = next(&mut incoming).await;
    assert!(matches!(fatal, Incoming::Fatal(Fatal::ServerDisconnect)), "{fatal:?}");
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_tells_the_server() {
    let (seen, mut arrived) = mpsc::channel(1024);
    let server = Server::any_port(|io| {
        on_connect(io, "/", move |socket| {
            let left = seen.clone();
            socket.on("last words", move |Data::<u64>(number)| {
                seen.try_send(number.to_string()).unwrap();
                std::future::ready(())
            });
            socket.on_disconnect(
                async move |_: SocketRef, reason: socketioxide::socket::DisconnectReason| {
                    left.send(reason.to_string()).await.unwrap();
                },
            );
        });
    })
    .await;
    let (client, _incoming, connection) = connect(server.config()).await;
    for number in 0..200_u64 {
        connection.emit("last words", &(number,)).await.unwrap();
    }
    let pending = connection.emit_with_ack("nobody answers", &(), LONG).await.unwrap();
    client.close().await;
    assert!(matches!(pending.answer().await, Err(EmitError::ConnectionLost)));
    for number in 0..200_u64 {
        assert_eq!(arrived.recv().await.unwrap(), number.to_string());
    }
    assert_eq!(
        arrived.recv().await.unwrap(),
        "client has manually disconnected the socket from the namespace"
    );
}

#[tokio::test]
async fn a_client_that_is_dropped_leaves_the_server() {
    let (left, mut told) = mpsc::channel(1);
    let server = Server::any_port(|io| {
        on_connect(io, "/", move |socket| {
            socket.on_disconnect(async move |_: SocketRef| left.send(()).await.unwrap());
        });
    })
    .await;
    let (client, _incoming, _connection) = connect(server.config()).await;
    drop(client);
    tokio::time::timeout(DEADLINE, told.recv()).await.expect("the server still has it").unwrap();
}

#[tokio::test]
async fn an_https_address_needs_no_provider_of_the_process() {
    let server = RawServer::start().await;
    let config = Config::new(&format!("https://{}", server.address)).unwrap();
    let (client, mut incoming) = client::connect(config, no_auth).unwrap();
    let refuse_tls = tokio::spawn(async move { server.accept().await });
    let failed = next(&mut incoming).await;
    assert!(matches!(failed, Incoming::ConnectFailed { error: ConnectError::Dial(_), .. }), "{failed:?}");
    refuse_tls.abort();
    client.close().await;
}

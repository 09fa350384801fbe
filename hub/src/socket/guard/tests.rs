use axum::serve::Listener as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::socket::listener::{GuardedListener, ListenerLimits};

async fn pair(write_stall: Duration) -> (GuardedIo, Guard, TcpStream) {
    let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = inner.local_addr().unwrap();
    let mut listener =
        GuardedListener::new(inner, ListenerLimits { write_stall, ..ListenerLimits::default() });
    let (client, (io, guard)) = tokio::join!(TcpStream::connect(address), listener.accept());
    (io, guard, client.unwrap())
}

#[tokio::test]
async fn a_killed_connection_fails_a_reader_that_waits() {
    let (mut io, guard, _client) = pair(Duration::from_secs(10)).await;
    let reader = tokio::spawn(async move { io.read_u8().await });
    tokio::task::yield_now().await;
    guard.kill();
    assert_eq!(reader.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn a_killed_connection_fails_a_writer_that_is_stuck() {
    let (mut io, guard, _client) = pair(Duration::from_mins(10)).await;
    let writer = tokio::spawn(async move { io.write_all(&vec![0; 64 << 20]).await });
    tokio::task::yield_now().await;
    guard.kill();
    assert_eq!(writer.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_given_up() {
    let (mut io, _guard, _client) = pair(Duration::from_millis(50)).await;
    let error = io.write_all(&vec![0; 64 << 20]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_peer_that_reads_slowly_is_kept() {
    let (mut io, _guard, mut client) = pair(Duration::from_secs(5)).await;
    let sent = vec![7; 8 << 20];
    let expected = sent.len();
    let writer = tokio::spawn(async move { io.write_all(&sent).await });
    let mut received = 0;
    let mut piece = vec![0; 64 << 10];
    while received < expected {
        received += client.read(&mut piece).await.unwrap();
    }
    writer.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_paused_connection_reads_nothing_and_loses_nothing() {
    let (mut io, guard, mut client) = pair(Duration::from_secs(10)).await;
    guard.pause(true);
    client.write_all(b"kept").await.unwrap();
    let mut text = [0; 4];
    let early = tokio::time::timeout(Duration::from_millis(50), io.read_exact(&mut text)).await;
    assert!(early.is_err(), "a paused connection was read");
    guard.pause(false);
    io.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"kept");
}

#[tokio::test]
async fn a_probe_leaves_a_living_peer_alone() {
    let (mut io, guard, mut client) = pair(Duration::from_secs(10)).await;
    guard.probe(Some(Duration::from_secs(2)));
    client.write_all(b"x").await.unwrap();
    assert_eq!(io.read_u8().await.unwrap(), b'x');
    guard.probe(None);
    io.write_all(b"y").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'y');
}

#[tokio::test]
async fn a_connection_that_ends_with_something_unread_is_closed_and_not_reset() {
    for is_killed in [false, true] {
        let (mut io, guard, mut client) = pair(Duration::from_secs(10)).await;
        client.write_all(b"goodbye").await.unwrap();
        assert_eq!(io.read_u8().await.unwrap(), b'g');
        if is_killed {
            guard.kill();
        }
        drop(io);
        // What comes after the end does no harm either.
        client.write_all(b" and thanks").await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        client.write_all(b" for all").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}

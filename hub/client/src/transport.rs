//! One WebSocket: its handshake, and the life of a connection on it.
//!
//! Reading and writing never wait for each other: a consumer that is slow to take events does not keep answers from
//! going out, and a server that is slow to read does not keep us from hearing it.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::connection::{Connection, Responder};
use crate::dial::dial;
use crate::event::{ConnectError, Event, Incoming, Loss};
use crate::packet::{self, Namespace, OpenPacket, Packet};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Of the buffers of each connection; larger messages are read and written in several steps.
const BUFFER_BYTES: usize = 16 * 1024;
/// How many queued packets go out between two flushes.
const WRITE_BATCH: usize = 64;
/// How long a close by us may take to be seen by the server.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A socket whose namespace has been granted.
pub(crate) struct Granted {
    socket: Socket,
    pub sid: String,
    /// No packet for this long: the server is gone.
    liveness: Duration,
}

/// How the life of a connection ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Lost(Loss),
    /// By our own wish.
    Closed,
}

/// Dials and shakes hands up to the namespace's answer.
pub(crate) async fn open(
    config: &Config,
    namespace: &Namespace,
    connector: Connector,
    auth: &serde_json::Value,
) -> Result<Granted, ConnectError> {
    let stream = dial(&config.url).await.map_err(|error| dial_failed(error.into()))?;
    let limits = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(config.max_incoming_bytes))
        .max_frame_size(Some(config.max_incoming_bytes));
    let upgrade = tokio_tungstenite::client_async_tls_with_config(
        config.url.as_str(),
        stream,
        Some(limits),
        Some(connector),
    );
    let (mut socket, _response) = upgrade.await.map_err(dial_failed)?;
    let mut opened: Option<OpenPacket> = None;
    loop {
        let message = socket.next().await.ok_or(ConnectError::Closed)?.map_err(dial_failed)?;
        let Message::Text(text) = message else { continue };
        let packet = packet::decode(&text).map_err(|error| ConnectError::Protocol(error.to_string()))?;
        match packet {
            Packet::Open(open) => {
                opened = Some(open);
                let connect = packet::connect(namespace, auth);
                socket.send(Message::text(connect)).await.map_err(dial_failed)?;
            }
            // The first ping comes right after the open packet, before the namespace's answer.
            Packet::Ping => socket.send(Message::text(packet::PONG)).await.map_err(dial_failed)?,
            Packet::Connect { sid } => {
                let Some(OpenPacket { ping_interval, ping_timeout }) = opened else {
                    return Err(ConnectError::Protocol("the open packet is missing".to_owned()));
                };
                let liveness = Duration::from_millis(ping_interval.saturating_add(ping_timeout));
                return Ok(Granted { socket, sid, liveness });
            }
            Packet::ConnectError(refusal) => return Err(ConnectError::Refused(refusal)),
            Packet::Close | Packet::Disconnect => return Err(ConnectError::Closed),
            Packet::Nothing | Packet::Event { .. } | Packet::Ack { .. } | Packet::Binary => {}
        }
    }
}

fn dial_failed(error: tungstenite::Error) -> ConnectError {
    ConnectError::Dial(Box::new(error))
}

/// Runs a granted connection until it is lost or `closing` fires; then what is queued is still written.
pub(crate) async fn run(
    granted: Granted,
    connection: &Connection,
    namespace: &Namespace,
    outgoing: mpsc::Receiver<String>,
    incoming: &mpsc::Sender<Incoming>,
    closing: &CancellationToken,
) -> Ended {
    let Granted { socket, sid: _, liveness } = granted;
    let (sink, mut stream) = socket.split();
    let pong_wanted = Notify::new();
    let writer = Writer { sink, outgoing, pong_wanted: &pong_wanted, stall_limit: liveness };
    let ended = tokio::select! {
        ended = read(&mut stream, connection, incoming, &pong_wanted, liveness) => ended,
        ended = writer.run(namespace, closing) => ended,
    };
    if matches!(ended, Ended::Closed) {
        // Leaving unread data behind would reset the connection, and the server would miss our last packets.
        let drain = async { while stream.next().await.is_some_and(|message| message.is_ok()) {} };
        let _late = tokio::time::timeout(CLOSE_TIMEOUT, drain).await;
    }
    ended
}

async fn read(
    stream: &mut SplitStream<Socket>,
    connection: &Connection,
    incoming: &mpsc::Sender<Incoming>,
    pong_wanted: &Notify,
    liveness: Duration,
) -> Ended {
    if incoming.send(Incoming::Connected(connection.clone())).await.is_err() {
        return Ended::Closed;
    }
    loop {
        // The clock runs only while we listen: waiting for our own consumer is not the server's silence.
        let message = match tokio::time::timeout(liveness, stream.next()).await {
            Err(_) => return Ended::Lost(Loss::Silent(liveness)),
            Ok(None | Some(Ok(Message::Close(_)))) => return Ended::Lost(Loss::Closed),
            Ok(Some(Err(error))) => return Ended::Lost(transport_loss(error)),
            Ok(Some(Ok(message))) => message,
        };
        let Message::Text(text) = message else { continue };
        match packet::decode(&text) {
            Ok(Packet::Ping) => pong_wanted.notify_one(),
            Ok(Packet::Event { name, args, ack }) => {
                let responder = ack.map(|id| Responder::new(connection.clone(), id));
                let event = Incoming::Event(Event { name, args, responder });
                if incoming.send(event).await.is_err() {
                    return Ended::Closed;
                }
            }
            Ok(Packet::Ack { id, args }) => connection.answer(id, args),
            Ok(Packet::Disconnect) => return Ended::Lost(Loss::ServerDisconnect),
            Ok(Packet::Close) => return Ended::Lost(Loss::Closed),
            Ok(Packet::Binary) => {
                tracing::warn!("dropped an event with binary attachments, which this client does not take");
            }
            Ok(Packet::Nothing) => {}
            Ok(Packet::Open(_) | Packet::Connect { .. } | Packet::ConnectError(_)) => {
                return Ended::Lost(Loss::Protocol("a handshake packet after the handshake".to_owned()));
            }
            Err(error) => return Ended::Lost(Loss::Protocol(error.to_string())),
        }
    }
}

struct Writer<'a> {
    sink: SplitSink<Socket, Message>,
    outgoing: mpsc::Receiver<String>,
    pong_wanted: &'a Notify,
    /// The server takes nothing for this long: it is gone.
    stall_limit: Duration,
}

impl Writer<'_> {
    async fn run(mut self, namespace: &Namespace, closing: &CancellationToken) -> Ended {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                () = self.pong_wanted.notified() => batch.push(packet::PONG.to_owned()),
                received = self.outgoing.recv_many(&mut batch, WRITE_BATCH) => {
                    if received == 0 {
                        break;
                    }
                }
            }
            if let Err(loss) = self.write(&mut batch).await {
                return Ended::Lost(loss);
            }
        }
        self.outgoing.close();
        while let Ok(text) = self.outgoing.try_recv() {
            batch.push(text);
        }
        batch.push(packet::disconnect(namespace));
        batch.push(packet::ENGINE_CLOSE.to_owned());
        let goodbye = async {
            let _lost = self.write(&mut batch).await;
            let _lost = self.sink.close().await;
        };
        let _late = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
        Ended::Closed
    }

    /// Writes all of the batch and flushes once.
    async fn write(&mut self, batch: &mut Vec<String>) -> Result<(), Loss> {
        for text in batch.drain(..) {
            self.within_limit_feed(text).await?;
        }
        match tokio::time::timeout(self.stall_limit, self.sink.flush()).await {
            Ok(flushed) => flushed.map_err(transport_loss),
            Err(_) => Err(Loss::WriteStalled(self.stall_limit)),
        }
    }

    async fn within_limit_feed(&mut self, text: String) -> Result<(), Loss> {
        match tokio::time::timeout(self.stall_limit, self.sink.feed(Message::text(text))).await {
            Ok(fed) => fed.map_err(transport_loss),
            Err(_) => Err(Loss::WriteStalled(self.stall_limit)),
        }
    }
}

fn transport_loss(error: tungstenite::Error) -> Loss {
    use tungstenite::error::ProtocolError;
    match error {
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Loss::Closed,
        error => Loss::Transport(Box::new(error)),
    }
}

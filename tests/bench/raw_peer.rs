//! A Socket.IO peer reduced to what a load generator needs: text frames in, text frames out, no task of its own.
//!
//! The project's own client keeps promises (reconnects, time-outs, back-pressure) that would be measured with the server.

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// One connection.
pub(crate) struct RawPeer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_ack: u64,
}

/// A packet that came in, as far as a load generator looks at it.
pub(crate) enum Packet {
    /// `42<id?>[…]`
    Event { ack: Option<u64>, json: String },
    /// `43<id>[…]`
    Ack { id: u64, json: String },
}

impl RawPeer {
    /// Connects to `base` (`http://host:port`) and passes the connect middleware with `auth`.
    pub(crate) async fn connect(base: &str, auth: &Value) -> Result<Self> {
        let url = format!("{}/socket.io/?EIO=4&transport=websocket", base.replacen("http", "ws", 1));
        let (socket, _) = tokio_tungstenite::connect_async(&url).await.context("failed to connect")?;
        let mut peer = Self { socket, next_ack: 0 };
        peer.socket.send(Message::text(format!("40{auth}"))).await?;
        loop {
            let text = peer.text().await?;
            match text.as_bytes() {
                [b'0', ..] => {}
                // The first ping may come before the answer to CONNECT.
                [b'2'] => peer.socket.send(Message::text("3")).await?,
                [b'4', b'0', ..] => return Ok(peer),
                _ => bail!("refused: {text}"),
            }
        }
    }

    /// Queues an event that wants an ack; goes out with the next [`RawPeer::flush`]. `arguments` is the inside of a JSON array.
    pub(crate) async fn feed(&mut self, arguments: &str) -> Result<u64> {
        let id = self.next_ack;
        self.next_ack += 1;
        self.socket.feed(Message::text(format!("42{id}[{arguments}]"))).await?;
        Ok(id)
    }

    pub(crate) async fn flush(&mut self) -> Result<()> {
        Ok(self.socket.flush().await?)
    }

    /// Emits an event and waits for its ack; events that want an ack meanwhile are answered by `answer`.
    pub(crate) async fn call(
        &mut self,
        arguments: &str,
        mut answer: impl FnMut(&Value) -> Option<Value>,
    ) -> Result<Value> {
        let wanted = self.feed(arguments).await?;
        self.flush().await?;
        loop {
            match self.packet().await? {
                Packet::Ack { id, json } if id == wanted => return Ok(serde_json::from_str(&json)?),
                Packet::Ack { .. } => {}
                Packet::Event { ack, json } => self.answer(ack, &json, &mut answer).await?,
            }
        }
    }

    /// Waits for the event `name`; others that want an ack are answered by `answer`.
    pub(crate) async fn wait_for(
        &mut self,
        name: &str,
        mut answer: impl FnMut(&Value) -> Option<Value>,
    ) -> Result<Value> {
        loop {
            if let Packet::Event { ack, json } = self.packet().await? {
                self.answer(ack, &json, &mut answer).await?;
                let event: Value = serde_json::from_str(&json)?;
                if event[0] == name {
                    return Ok(event);
                }
            }
        }
    }

    /// Answers an event that wants an ack.
    pub(crate) async fn answer(
        &mut self,
        ack: Option<u64>,
        json: &str,
        answer: &mut impl FnMut(&Value) -> Option<Value>,
    ) -> Result<()> {
        let Some(id) = ack else { return Ok(()) };
        let event: Value = serde_json::from_str(json)?;
        let reply = answer(&event).unwrap_or_else(|| json!([true]));
        self.socket.send(Message::text(format!("43{id}{reply}"))).await?;
        Ok(())
    }

    /// The next event or ack. Answers pings.
    pub(crate) async fn packet(&mut self) -> Result<Packet> {
        loop {
            let text = self.text().await?;
            let Some(body) = text.strip_prefix('4') else {
                if text == "2" {
                    self.socket.send(Message::text("3")).await?;
                }
                continue;
            };
            let (kind, rest) = body.split_at(1);
            let start = rest.find('[').unwrap_or(rest.len());
            let (id, json) = rest.split_at(start);
            match kind {
                "2" => return Ok(Packet::Event { ack: id.parse().ok(), json: json.to_owned() }),
                "3" => {
                    return Ok(Packet::Ack {
                        id: id.parse().context("malformed ack")?,
                        json: json.to_owned(),
                    });
                }
                "1" => bail!("the server closed the namespace"),
                _ => {}
            }
        }
    }

    async fn text(&mut self) -> Result<String> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => bail!("the server closed the connection"),
            }
        }
    }
}

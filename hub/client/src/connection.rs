//! One accepted connection, as a handle to speak through; it outlives the connection but never speaks on another.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::acks::Acks;
use crate::args::Args;
use crate::packet::{self, EncodeError, Namespace};

/// A handle to one connection. Cheap to clone. Fails with [`EmitError::ConnectionLost`] once that connection is gone.
#[derive(Clone, Debug)]
pub struct Connection {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    epoch: u64,
    sid: String,
    namespace: Namespace,
    max_bytes: usize,
    outgoing: mpsc::Sender<String>,
    acks: Acks,
}

/// Why something could not be sent, or was not answered.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    #[error("the connection is lost")]
    ConnectionLost,
    #[error("the peer did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("the message has {bytes} bytes, {most} are allowed")]
    TooLarge { bytes: usize, most: usize },
    #[error("failed to write {name:?} as JSON")]
    Encode {
        name: String,
        #[source]
        source: EncodeError,
    },
}

impl Connection {
    pub(crate) fn new(
        epoch: u64,
        sid: String,
        namespace: Namespace,
        max_bytes: usize,
        outgoing: mpsc::Sender<String>,
    ) -> Self {
        Self { inner: Arc::new(Inner { epoch, sid, namespace, max_bytes, outgoing, acks: Acks::default() }) }
    }

    /// Counts the accepted connections of this client, from 1.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch
    }

    /// The server's name for this connection.
    pub fn sid(&self) -> &str {
        &self.inner.sid
    }

    pub fn is_lost(&self) -> bool {
        self.inner.outgoing.is_closed()
    }

    /// Sends an event without asking for an ack, waiting for room in the queue. `args` must serialise to a list, such
    /// as a tuple: `emit("thinking", &("text", meta))`; `&()` is no arguments.
    pub async fn emit<T: Serialize + ?Sized>(&self, name: &str, args: &T) -> Result<(), EmitError> {
        let text = packet::event(&self.inner.namespace, None, name, args).map_err(encode(name))?;
        self.send(text).await
    }

    /// Sends an event and gives back the wait for its ack, so that many may be on their way in order. The time-out
    /// counts from this call and covers the wait for room in the queue.
    pub async fn emit_with_ack<T: Serialize + ?Sized>(
        &self,
        name: &str,
        args: &T,
        timeout: Duration,
    ) -> Result<PendingAck, EmitError> {
        let deadline = Instant::now() + timeout;
        let (id, answer) = self.inner.acks.open().ok_or(EmitError::ConnectionLost)?;
        let pending = PendingAck { connection: self.clone(), id, answer, timeout, deadline };
        let text = packet::event(&self.inner.namespace, Some(id), name, args).map_err(encode(name))?;
        match tokio::time::timeout_at(deadline, self.send(text)).await {
            Ok(sent) => sent.map(|()| pending),
            Err(_) => Err(EmitError::TimedOut(timeout)),
        }
    }

    /// Sends an event and waits for its ack.
    pub async fn request<T: Serialize + ?Sized>(
        &self,
        name: &str,
        args: &T,
        timeout: Duration,
    ) -> Result<Args, EmitError> {
        self.emit_with_ack(name, args, timeout).await?.answer().await
    }

    pub(crate) fn answer(&self, id: u64, args: Args) {
        self.inner.acks.answer(id, args);
    }

    /// Fails all that waits for an ack here.
    pub(crate) fn fail_pending(&self) {
        self.inner.acks.close();
    }

    async fn send(&self, text: String) -> Result<(), EmitError> {
        let (bytes, most) = (text.len(), self.inner.max_bytes);
        if bytes > most {
            return Err(EmitError::TooLarge { bytes, most });
        }
        self.inner.outgoing.send(text).await.map_err(|_| EmitError::ConnectionLost)
    }
}

/// An ack that is on its way. Dropping it forgets the ack; the event was sent all the same.
#[derive(Debug)]
#[must_use = "the answer is lost unless it is waited for"]
pub struct PendingAck {
    connection: Connection,
    id: u64,
    answer: oneshot::Receiver<Args>,
    timeout: Duration,
    deadline: Instant,
}

impl PendingAck {
    /// Waits for the answer, until the time-out or the loss of the connection.
    pub async fn answer(mut self) -> Result<Args, EmitError> {
        match tokio::time::timeout_at(self.deadline, &mut self.answer).await {
            Ok(Ok(args)) => Ok(args),
            Ok(Err(_)) => Err(EmitError::ConnectionLost),
            Err(_) => Err(EmitError::TimedOut(self.timeout)),
        }
    }
}

impl Drop for PendingAck {
    fn drop(&mut self) {
        self.connection.inner.acks.forget(self.id);
    }
}

/// Answers one event of the server, on the connection that brought it and on no other.
#[derive(Debug)]
pub struct Responder {
    connection: Connection,
    id: u64,
}

impl Responder {
    pub(crate) fn new(connection: Connection, id: u64) -> Self {
        Self { connection, id }
    }

    /// The epoch of the connection on which the event came.
    pub fn epoch(&self) -> u64 {
        self.connection.epoch()
    }

    /// Sends the answer, waiting for room in the queue. `args` must serialise to a list, such as a tuple.
    pub async fn respond<T: Serialize + ?Sized>(self, args: &T) -> Result<(), EmitError> {
        let Self { connection, id } = self;
        let text = packet::ack(&connection.inner.namespace, id, args).map_err(encode("ack"))?;
        connection.send(text).await
    }
}

fn encode(name: &str) -> impl FnOnce(EncodeError) -> EmitError {
    let name = name.to_owned();
    move |source| EmitError::Encode { name, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(capacity: usize) -> (Connection, mpsc::Receiver<String>) {
        let (outgoing, sent) = mpsc::channel(capacity);
        (Connection::new(1, "sid".into(), Namespace::new("/"), 100, outgoing), sent)
    }

    const LONG: Duration = Duration::from_hours(1);

    #[tokio::test(start_paused = true)]
    async fn an_ack_that_nobody_waits_for_leaves_nothing_behind() {
        let (connection, _sent) = connection(8);
        let cancelled = connection.emit_with_ack("a", &(), LONG).await.unwrap();
        assert_eq!(connection.inner.acks.waiting(), 1);
        drop(cancelled);
        assert_eq!(connection.inner.acks.waiting(), 0);
        let late = connection.request("b", &(), Duration::from_secs(1)).await;
        assert!(matches!(late, Err(EmitError::TimedOut(_))));
        assert_eq!(connection.inner.acks.waiting(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_out_covers_the_wait_for_room() {
        let (connection, _sent) = connection(1);
        connection.emit("fills the queue", &()).await.unwrap();
        let refused = connection.emit_with_ack("b", &(), Duration::from_secs(1)).await;
        assert!(matches!(refused, Err(EmitError::TimedOut(_))));
        assert_eq!(connection.inner.acks.waiting(), 0);
    }

    #[tokio::test]
    async fn a_message_over_the_limit_is_refused_here_instead_of_killing_the_connection() {
        let (connection, mut sent) = connection(1);
        let refused = connection.emit("a", &("x".repeat(200),)).await;
        assert!(matches!(refused, Err(EmitError::TooLarge { most: 100, .. })));
        assert!(sent.try_recv().is_err());
    }

    #[tokio::test]
    async fn acks_fail_at_once_when_the_connection_is_lost() {
        let (connection, sent) = connection(8);
        let pending = connection.emit_with_ack("a", &(), LONG).await.unwrap();
        drop(sent);
        connection.fail_pending();
        assert!(matches!(pending.answer().await, Err(EmitError::ConnectionLost)));
        assert!(matches!(connection.request("b", &(), LONG).await, Err(EmitError::ConnectionLost)));
        assert!(connection.is_lost());
    }
}

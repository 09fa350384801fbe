//! The right to answer one ack, once.
//!
//! It is moved from the handler that read the event through the session's state to the effect that answers, so an ack
//! cannot be answered twice; one that is dropped unanswered (the session's task has ended) answers a refusal by
//! itself, so that nobody waits for ever.

use std::sync::Arc;

use protocol::error::{Code, Refusal};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::socket::outbox::Outbox;

pub struct Responder {
    to: Option<ReplyTo>,
}

enum ReplyTo {
    /// An ack on a connection.
    Ack { outbox: Arc<Outbox>, id: i64 },
    /// Somebody inside the hub.
    Channel(oneshot::Sender<Vec<Value>>),
}

impl Responder {
    /// `id` absent: no ack was asked for, and the answer goes nowhere.
    pub fn ack(outbox: Arc<Outbox>, id: Option<i64>) -> Self {
        Self { to: id.map(|id| ReplyTo::Ack { outbox, id }) }
    }

    pub fn nobody() -> Self {
        Self { to: None }
    }

    pub fn channel() -> (Self, oneshot::Receiver<Vec<Value>>) {
        let (sender, receiver) = oneshot::channel();
        (Self { to: Some(ReplyTo::Channel(sender)) }, receiver)
    }

    pub fn answer(mut self, args: Vec<Value>) {
        self.send(args);
    }

    /// Whether anybody hears the answer.
    pub fn is_heard(&self) -> bool {
        self.to.is_some()
    }

    fn send(&mut self, args: Vec<Value>) {
        match self.to.take() {
            None => {}
            Some(ReplyTo::Ack { outbox, id }) => outbox.ack(id, args),
            // Who asked has stopped waiting: there is nobody left to tell.
            Some(ReplyTo::Channel(sender)) => drop(sender.send(args)),
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.to.is_some() {
            let refusal = Refusal::new(Code::Draining, "the hub is going away; try again in a moment");
            self.send(vec![false.into(), json!(refusal)]);
        }
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let to = match &self.to {
            None => "nobody".to_owned(),
            Some(ReplyTo::Ack { outbox: _, id }) => format!("ack {id}"),
            Some(ReplyTo::Channel(_)) => "channel".to_owned(),
        };
        f.debug_tuple("Responder").field(&to).finish()
    }
}

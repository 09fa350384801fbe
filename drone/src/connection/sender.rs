//! Sends a turn's events over one connection, many on their way at once, and takes the acks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::{Args, Connection, EmitError};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use protocol::error::{Code, Refusal};
use protocol::event::DroneMeta;
use serde_json::value::RawValue;

use crate::metrics::Metrics;
use crate::outbox::{Numbered, Outbox};

/// How many events may wait for their ack, so that the way to the hub and its disk does not limit how many get there.
const WINDOW: usize = 256;
/// The hub acks after its next commit; later than this it has a fault.
const ACK_TIMEOUT: Duration = Duration::from_secs(20);

/// Why no more is sent on this connection.
#[derive(Debug)]
pub(super) enum SendEnd {
    ConnectionLost,
    /// The hub does not take an event; say hello again to learn what is true.
    Refused(Refusal),
    /// An event cannot be sent, and none after it.
    Stuck,
}

pub(super) struct Sender {
    pub connection: Connection,
    pub outbox: Outbox,
    /// Of the newest hello.
    pub generation: Arc<AtomicU64>,
    pub metrics: Arc<Metrics>,
}

type Answer = BoxFuture<'static, (u64, Result<Args, EmitError>)>;

impl Sender {
    pub(super) async fn run(self) -> SendEnd {
        let mut waiting: FuturesOrdered<Answer> = FuturesOrdered::new();
        loop {
            let has_room = waiting.len() < WINDOW;
            let end = tokio::select! {
                biased;
                Some((seq, answer)) = waiting.next(), if !waiting.is_empty() => self.acked(seq, answer),
                next = self.outbox.next(), if has_room => match next {
                    Ok(numbered) => self.send(numbered, &mut waiting).await,
                    Err(error) => {
                        tracing::error!(%error, "the turn's events cannot be sent on");
                        Some(SendEnd::Stuck)
                    }
                },
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn send(&self, numbered: Numbered, waiting: &mut FuturesOrdered<Answer>) -> Option<SendEnd> {
        let Numbered { seq, event } = numbered;
        let meta = DroneMeta {
            turn_id: self.outbox.turn().clone(),
            attempt: self.outbox.attempt(),
            generation: self.generation.load(Ordering::Relaxed),
            seq,
            notes: event.notes,
        };
        let args = match with_meta(event.args.get(), &meta) {
            Ok(args) => args,
            Err(error) => {
                tracing::error!(%error, seq, "failed to write an event as JSON");
                return Some(SendEnd::Stuck);
            }
        };
        match self.connection.emit_with_ack(event.name.as_str(), &args, ACK_TIMEOUT).await {
            Ok(pending) => {
                waiting.push_back(Box::pin(async move { (seq, pending.answer().await) }));
                None
            }
            Err(error) => Some(end_of(error)),
        }
    }

    fn acked(&self, seq: u64, answer: Result<Args, EmitError>) -> Option<SendEnd> {
        let args = match answer {
            Ok(args) => args,
            Err(error) => return Some(end_of(error)),
        };
        match args.parse::<(bool, Option<Refusal>)>() {
            Ok((true, _)) => {
                self.outbox.stored(seq);
                self.metrics.outbox_events.set(i64::try_from(self.outbox.len()).unwrap_or(i64::MAX));
                None
            }
            Ok((false, refusal)) => Some(SendEnd::Refused(
                refusal.unwrap_or_else(|| Refusal::new(Code::Internal, "the hub gave no reason")),
            )),
            Err(error) => {
                Some(SendEnd::Refused(Refusal::new(Code::Protocol, format!("the hub's ack: {error}"))))
            }
        }
    }
}

fn end_of(error: EmitError) -> SendEnd {
    match error {
        EmitError::ConnectionLost => SendEnd::ConnectionLost,
        EmitError::TimedOut(_) => {
            SendEnd::Refused(Refusal::new(Code::Internal, "the hub did not ack an event in time"))
        }
        EmitError::TooLarge { .. } | EmitError::Encode { .. } => {
            tracing::error!(%error, "an event cannot be sent");
            SendEnd::Stuck
        }
    }
}

/// The arguments with the meta argument after them, as JSON text.
fn with_meta(args: &str, meta: &DroneMeta) -> Result<Box<RawValue>, serde_json::Error> {
    let meta = serde_json::to_string(meta)?;
    let rest = args.trim_end().strip_suffix(']').unwrap_or("[").trim_end();
    let comma = if rest == "[" { "" } else { "," };
    RawValue::from_string(format!("{rest}{comma}{meta}]"))
}

#[cfg(test)]
mod tests {
    use protocol::event::{RawEvent, TurnEvent};
    use protocol::ids::CallId;

    use super::*;

    #[test]
    fn the_meta_argument_comes_last_and_the_hub_can_split_it_off() {
        let event = TurnEvent::ToolCallProgress { call_id: CallId::from("c"), chunk: "]".to_owned() };
        let raw = event.to_raw().unwrap();
        let meta = DroneMeta { turn_id: "t".into(), attempt: 2, generation: 3, seq: 4, notes: event.notes() };
        let sent = with_meta(raw.args.get(), &meta).unwrap();
        let args: Vec<Box<RawValue>> = serde_json::from_str(sent.get()).unwrap();
        assert_eq!(RawEvent::from_drone("toolCallProgress", args).unwrap(), (raw, meta));
    }
}

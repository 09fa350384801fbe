//! The arguments of an event or an ack on their way out, encoded once for however many receive them.

use std::sync::Arc;

use protocol::event::{Meta, RawEvent};
use serde::ser::SerializeTuple as _;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::store::EventRecord;

/// Positional arguments. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Frame(Args);

#[derive(Clone, Debug)]
enum Args {
    Built(Arc<[Value]>),
    Raw(Arc<[Box<RawValue>]>),
}

impl Frame {
    pub fn built(args: Vec<Value>) -> Self {
        Self(Args::Built(args.into()))
    }

    pub fn raw(args: Arc<[Box<RawValue>]>) -> Self {
        Self(Args::Raw(args))
    }

    /// A turn event as IDEs get it: the arguments as the drone sent them, and the meta argument.
    pub fn event(record: &EventRecord, replay: bool) -> Result<Self, serde_json::Error> {
        let EventRecord { seq, turn, attempt: _, at, event } = record;
        let RawEvent { name: _, args, notes } = event;
        let mut args: Vec<Box<RawValue>> = serde_json::from_str(args.get())?;
        let meta = Meta { turn_id: turn.clone(), seq: *seq, at: *at, replay, notes: *notes };
        args.push(to_raw_value(&meta)?);
        Ok(Self(Args::Raw(args.into())))
    }

    /// Bytes that it takes, roughly.
    pub fn size(&self) -> usize {
        match &self.0 {
            // Made by the hub itself, and small but for file contents, which are bounded by the event limit.
            Args::Built(args) => args.iter().map(value_size).sum::<usize>() + 32,
            Args::Raw(args) => args.iter().map(|arg| arg.get().len()).sum::<usize>() + 32,
        }
    }
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(value_size).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + value_size(value)).sum(),
    }
}

/// A tuple, so that the library spreads it over the event's arguments.
impl Serialize for Frame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Args::Built(args) => tuple(serializer, args),
            Args::Raw(args) => tuple(serializer, args),
        }
    }
}

fn tuple<S: Serializer, T: Serialize>(serializer: S, items: &[T]) -> Result<S::Ok, S::Error> {
    let mut tuple = serializer.serialize_tuple(items.len())?;
    for item in items {
        tuple.serialize_element(item)?;
    }
    tuple.end()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use protocol::event::TurnEvent;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_keeps_the_drone_s_arguments_and_gets_the_hub_s_meta() {
        let event = TurnEvent::ToolCallProgress { call_id: "c".into(), chunk: "é\"\n".into() };
        let record = EventRecord {
            seq: 7,
            turn: "t".into(),
            attempt: 2,
            at: Timestamp::UNIX_EPOCH,
            event: event.to_raw().unwrap(),
        };
        let sent = |replay| serde_json::to_value(Frame::event(&record, replay).unwrap()).unwrap();
        let at = "1970-01-01T00:00:00Z";
        assert_eq!(sent(false), json!(["c", "é\"\n", { "turnId": "t", "seq": 7, "at": at }]));
        assert_eq!(sent(true), json!(["c", "é\"\n", { "turnId": "t", "seq": 7, "at": at, "replay": true }]));
    }
}

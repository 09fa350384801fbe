//! Engine.IO and Socket.IO packets as text: what a WebSocket message says, and how ours are written.
//!
//! By hand because it is a dozen lines each way, and because the server's parser knows neither the open packet nor
//! `CONNECT_ERROR`, which only a client receives.

use std::fmt;
use std::fmt::Write as _;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::args::Args;
use crate::policy::Refusal;

/// A packet from the server. Packets of namespaces that were not asked for do not occur on our connections.
#[derive(Debug)]
pub(crate) enum Packet {
    /// Engine.IO open: the first packet of a connection.
    Open(OpenPacket),
    /// Engine.IO ping, to be answered by [`PONG`].
    Ping,
    /// Engine.IO close.
    Close,
    /// Engine.IO noop or pong: means nothing but that the peer is alive.
    Nothing,
    /// The namespace is ours.
    Connect { sid: String },
    /// The namespace is refused.
    ConnectError(Refusal),
    /// "io server disconnect".
    Disconnect,
    /// `ack` is the id that the server wants its answer under.
    Event { name: String, args: Args, ack: Option<u64> },
    /// The answer to our event with this id.
    Ack { id: u64, args: Args },
    /// Has binary attachments, which this client does not take.
    Binary,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpenPacket {
    /// Milliseconds.
    pub ping_interval: u64,
    /// Milliseconds.
    pub ping_timeout: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PacketError {
    #[error("failed to read the packet's type")]
    Type,
    #[error("failed to read the ack id")]
    AckId,
    #[error("failed to read the packet's content")]
    Content(#[source] serde_json::Error),
}

/// Why an event of ours cannot be put on the wire.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("failed to serialise the arguments")]
    Serialise(#[source] serde_json::Error),
    #[error("arguments must serialise to a list, such as a tuple")]
    NotAList,
}

pub(crate) const PONG: &str = "3";
pub(crate) const ENGINE_CLOSE: &str = "1";

/// Reads one text message.
pub(crate) fn decode(text: &str) -> Result<Packet, PacketError> {
    let (kind, rest) = split_type(text)?;
    Ok(match kind {
        b'0' => Packet::Open(serde_json::from_str(rest).map_err(PacketError::Content)?),
        b'1' => Packet::Close,
        b'2' => Packet::Ping,
        b'3' | b'6' => Packet::Nothing,
        b'4' => return decode_message(rest),
        _ => return Err(PacketError::Type),
    })
}

fn decode_message(text: &str) -> Result<Packet, PacketError> {
    let (kind, rest) = split_type(text)?;
    let rest = match rest.split_once(',') {
        Some((namespace, rest)) if namespace.starts_with('/') => rest,
        None if rest.starts_with('/') => "",
        _ => rest,
    };
    Ok(match kind {
        b'0' => {
            #[derive(Deserialize)]
            struct Connected {
                sid: String,
            }
            let Connected { sid } = serde_json::from_str(rest).map_err(PacketError::Content)?;
            Packet::Connect { sid }
        }
        b'1' => Packet::Disconnect,
        b'2' => {
            let (ack, content) = split_ack_id(rest)?;
            let EventContent { name, args } = serde_json::from_str(content).map_err(PacketError::Content)?;
            Packet::Event { name, args: Args::new(args), ack }
        }
        b'3' => {
            let (id, content) = split_ack_id(rest)?;
            let args = serde_json::from_str(content).map_err(PacketError::Content)?;
            Packet::Ack { id: id.ok_or(PacketError::AckId)?, args: Args::new(args) }
        }
        b'4' => {
            #[derive(Deserialize)]
            struct ConnectError {
                message: String,
            }
            let ConnectError { message } = serde_json::from_str(rest).map_err(PacketError::Content)?;
            Packet::ConnectError(Refusal::from_message(message))
        }
        b'5' | b'6' => Packet::Binary,
        _ => return Err(PacketError::Type),
    })
}

fn split_type(text: &str) -> Result<(u8, &str), PacketError> {
    match (text.as_bytes().first(), text.get(1..)) {
        (Some(kind), Some(rest)) => Ok((*kind, rest)),
        _ => Err(PacketError::Type),
    }
}

fn split_ack_id(text: &str) -> Result<(Option<u64>, &str), PacketError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (id, content) = text.split_at(digits);
    if id.is_empty() {
        return Ok((None, content));
    }
    Ok((Some(id.parse().map_err(|_| PacketError::AckId)?), content))
}

/// `["name", argument, …]`
struct EventContent {
    name: String,
    args: Vec<Box<RawValue>>,
}

impl<'de> Deserialize<'de> for EventContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Content;

        impl<'de> Visitor<'de> for Content {
            type Value = EventContent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list that begins with the event's name")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<EventContent, A::Error> {
                let name =
                    list.next_element()?.ok_or_else(|| serde::de::Error::custom("the event has no name"))?;
                let mut args = Vec::new();
                while let Some(arg) = list.next_element()? {
                    args.push(arg);
                }
                Ok(EventContent { name, args })
            }
        }

        deserializer.deserialize_seq(Content)
    }
}

/// The CONNECT packet for a namespace, with the auth payload.
pub(crate) fn connect(namespace: &Namespace, auth: &serde_json::Value) -> String {
    format!("40{}{auth}", namespace.prefix)
}

pub(crate) fn disconnect(namespace: &Namespace) -> String {
    format!("41{}", namespace.prefix)
}

pub(crate) fn event<T: Serialize + ?Sized>(
    namespace: &Namespace,
    ack: Option<u64>,
    name: &str,
    args: &T,
) -> Result<String, EncodeError> {
    let args = encode_args(args)?;
    let name = serde_json::to_string(name).map_err(EncodeError::Serialise)?;
    let mut text = String::with_capacity(args.len() + name.len() + namespace.prefix.len() + 24);
    text.push_str("42");
    text.push_str(&namespace.prefix);
    if let Some(id) = ack {
        let _infallible = write!(text, "{id}");
    }
    text.push('[');
    text.push_str(&name);
    if args != "[]" {
        text.push(',');
        text.push_str(&args[1..args.len() - 1]);
    }
    text.push(']');
    Ok(text)
}

pub(crate) fn ack<T: Serialize + ?Sized>(
    namespace: &Namespace,
    id: u64,
    args: &T,
) -> Result<String, EncodeError> {
    Ok(format!("43{}{id}{}", namespace.prefix, encode_args(args)?))
}

/// A JSON list. `()` is the empty one.
fn encode_args<T: Serialize + ?Sized>(args: &T) -> Result<String, EncodeError> {
    let text = serde_json::to_string(args).map_err(EncodeError::Serialise)?;
    match text.as_bytes().first() {
        Some(b'[') => Ok(text),
        Some(b'n') => Ok("[]".to_owned()),
        _ => Err(EncodeError::NotAList),
    }
}

/// A namespace in the form that packets carry it: nothing for the default one.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    prefix: String,
}

impl Namespace {
    pub(crate) fn new(name: &str) -> Self {
        match name.trim_start_matches('/') {
            "" => Self { prefix: String::new() },
            name => Self { prefix: format!("/{name},") },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_read_with_and_without_ack_and_namespace() {
        let read = |text: &str| match decode(text).unwrap() {
            Packet::Event { name, args, ack } => {
                (name, args.iter().map(|arg| arg.get().to_owned()).collect::<Vec<_>>(), ack)
            }
            other => panic!("not an event: {other:?}"),
        };
        assert_eq!(
            read(r#"42["a",1,{"b":[2]}]"#),
            ("a".into(), vec!["1".into(), r#"{"b":[2]}"#.into()], None)
        );
        assert_eq!(read(r#"4217["a"]"#), ("a".into(), vec![], Some(17)));
        assert_eq!(read(r#"42/chat,3["a","x,y"]"#), ("a".into(), vec![r#""x,y""#.into()], Some(3)));
    }

    #[test]
    fn an_ack_and_a_refused_connect_are_read() {
        let Packet::Ack { id: 5, args } = decode(r#"435[true,"x"]"#).unwrap() else { panic!() };
        assert_eq!(args.len(), 2);
        let message = json!({ "code": "forbidden", "message": "not yours" }).to_string();
        let packet = decode(&format!("44{}", json!({ "message": message }))).unwrap();
        let Packet::ConnectError(refusal) = packet else { panic!() };
        assert_eq!(refusal, Refusal { code: "forbidden".into(), message: "not yours".into() });
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        for text in [
            "",
            "é",
            "9",
            "4",
            "4é",
            "42",
            "42[]",
            "42[1]",
            "43[1]",
            "4299999999999999999999[\"a\"]",
            "40{}",
            "0x",
        ] {
            assert!(decode(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let root = Namespace::new("/");
        assert_eq!(event(&root, None, "a", &()).unwrap(), r#"42["a"]"#);
        assert_eq!(event(&root, Some(3), "a", &(1, "b")).unwrap(), r#"423["a",1,"b"]"#);
        assert_eq!(event(&Namespace::new("chat"), None, "a", &[1]).unwrap(), r#"42/chat,["a",1]"#);
        assert_eq!(ack(&Namespace::new("/chat"), 9, &(true,)).unwrap(), "43/chat,9[true]");
        assert_eq!(connect(&root, &json!({"token": "t"})), r#"40{"token":"t"}"#);
        assert!(matches!(event(&root, None, "a", &"text"), Err(EncodeError::NotAList)));
    }
}

//! An event as it came over the wire: nothing of it parsed, and never a silent end.
//!
//! The library's own extractors drop an event that they cannot read, ack and all. This one takes whatever came; what is
//! wrong with it is for the handler to say.

use std::convert::Infallible;
use std::sync::Arc;

use protocol::error::{Code, Refusal};
use serde::de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use socketioxide::adapter::LocalAdapter;
use socketioxide::handler::FromMessage;
use socketioxide::socket::Socket;
use socketioxide_core::Value as PacketValue;

/// Characters of an event's name that are looked at.
const LONGEST_NAME: usize = 64;

pub(super) struct Incoming {
    packet: PacketValue,
    /// Present when the sender wants an answer.
    pub(super) ack: Option<i64>,
}

impl FromMessage<LocalAdapter> for Incoming {
    type Error = Infallible;

    fn from_message(_: Arc<Socket>, packet: PacketValue, ack: Option<i64>) -> Result<Self, Infallible> {
        Ok(Self { packet, ack })
    }
}

impl Incoming {
    /// The event's name, for who handles any, to be logged and sent back: no longer than a name can be.
    pub(super) fn name(&self) -> String {
        match &self.packet {
            PacketValue::Str(text, _) => serde_json::from_str(text.as_str())
                .map_or_else(|_| String::new(), |First(name)| name.chars().take(LONGEST_NAME).collect()),
            PacketValue::Bytes(_) => String::new(),
        }
    }

    /// The arguments as JSON values.
    pub(super) fn values(&self, limit: usize) -> Result<Vec<Value>, Refusal> {
        self.args(limit)
    }

    /// The arguments as JSON texts.
    pub(super) fn raw(&self, limit: usize) -> Result<Vec<Box<RawValue>>, Refusal> {
        self.args(limit)
    }

    fn args<T: DeserializeOwned>(&self, limit: usize) -> Result<Vec<T>, Refusal> {
        let PacketValue::Str(text, attachments) = &self.packet else { return Err(binary()) };
        if attachments.as_ref().is_some_and(|attachments| !attachments.is_empty()) {
            return Err(binary());
        }
        if text.as_str().len() > limit {
            return Err(Refusal::new(
                Code::TooLarge,
                format!("the event has {} bytes, {limit} are allowed", text.as_str().len()),
            ));
        }
        serde_json::from_str(text.as_str())
            .map(|AfterName(args)| args)
            .map_err(|error| Refusal::new(Code::Invalid, format!("the arguments cannot be read: {error}")))
    }
}

fn binary() -> Refusal {
    Refusal::new(Code::Invalid, "binary data is not taken")
}

/// The first item of a list.
struct First(String);

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = First;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list that begins with a name")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<First, A::Error> {
                let name = items.next_element()?.unwrap_or_default();
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(name))
            }
        }

        deserializer.deserialize_seq(Reader)
    }
}

/// All items of a list but the first.
struct AfterName<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for AfterName<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = AfterName<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of a name and arguments")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<AfterName<T>, A::Error> {
                items.next_element::<IgnoredAny>()?;
                let mut args = Vec::with_capacity(4);
                while let Some(arg) = items.next_element()? {
                    args.push(arg);
                }
                Ok(AfterName(args))
            }
        }

        deserializer.deserialize_seq(Reader(std::marker::PhantomData))
    }
}

/// The arguments of an answer, all of them.
#[derive(Debug)]
pub(super) struct AnswerArgs(pub(super) Vec<Value>);

impl<'de> Deserialize<'de> for AnswerArgs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = AnswerArgs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of arguments")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<AnswerArgs, A::Error> {
                let mut args = Vec::new();
                while let Some(arg) = items.next_element()? {
                    args.push(arg);
                }
                Ok(AnswerArgs(args))
            }
        }

        // A tuple, since the library hands all arguments to tuples alone. Its length is not looked at.
        deserializer.deserialize_tuple(1, Reader)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn incoming(text: &str) -> Incoming {
        Incoming { packet: PacketValue::Str(text.to_owned().into(), None), ack: Some(1) }
    }

    #[test]
    fn arguments_are_what_follows_the_name() {
        let event = incoming(r#"["e",{"a":1},null,"x"]"#);
        assert_eq!(event.name(), "e");
        assert_eq!(event.values(100).unwrap(), [json!({ "a": 1 }), json!(null), json!("x")]);
        assert_eq!(event.raw(100).unwrap()[0].get(), r#"{"a":1}"#);
        assert!(incoming(r#"["e"]"#).values(100).unwrap().is_empty());
    }

    #[test]
    fn a_name_that_is_none_is_cut_short() {
        let long = "ü".repeat(1000);
        assert_eq!(incoming(&format!("[\"{long}\"]")).name(), "ü".repeat(64));
    }

    #[test]
    fn what_is_too_large_binary_or_broken_is_refused_with_a_code() {
        assert_eq!(incoming(r#"["e","0123456789"]"#).values(10).unwrap_err().code, Code::TooLarge);
        assert_eq!(incoming(r#"["e",]"#).values(100).unwrap_err().code, Code::Invalid);
        let deep = format!("[\"e\",{}{}]", "[".repeat(200), "]".repeat(200));
        assert_eq!(incoming(&deep).values(1000).unwrap_err().code, Code::Invalid);
        let packet = PacketValue::Str(
            r#"["e",{"_placeholder":true,"num":0}]"#.into(),
            Some(vec![vec![1].into()].into()),
        );
        assert_eq!(Incoming { packet, ack: None }.raw(100).unwrap_err().code, Code::Invalid);
    }
}

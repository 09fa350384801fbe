//! Positional arguments of events and acks, as the JSON texts that came over the wire.

use std::ops::Deref;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

/// The arguments of an event or an ack, unparsed.
#[derive(Clone, Debug, Default)]
pub struct Args(Vec<Box<RawValue>>);

impl Args {
    pub fn new(values: Vec<Box<RawValue>>) -> Self {
        Self(values)
    }

    pub fn into_vec(self) -> Vec<Box<RawValue>> {
        self.0
    }

    /// Reads the arguments into a tuple, position by position: `let (success, detail): (bool, Option<String>)`.
    ///
    /// A missing argument reads as `null` and surplus ones are ignored, so that both sides may add trailing arguments.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(Positional { args: &self.0 })
    }
}

impl Deref for Args {
    type Target = [Box<RawValue>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<Args> for Vec<Box<RawValue>> {
    fn from(args: Args) -> Self {
        args.0
    }
}

/// Whatever is asked for, a list is offered; of the length that is asked for, when that is known.
struct Positional<'de> {
    args: &'de [Box<RawValue>],
}

impl<'de> Deserializer<'de> for Positional<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let length = self.args.len();
        visitor.visit_seq(Elements { args: self.args, left: length })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_seq(Elements { args: self.args, left: length })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit_struct
        newtype_struct seq map struct enum identifier ignored_any
    }
}

struct Elements<'de> {
    args: &'de [Box<RawValue>],
    /// How many more the reader will ask for.
    left: usize,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = serde_json::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        match self.args.split_first() {
            Some((first, rest)) => {
                self.args = rest;
                seed.deserialize((**first).into_deserializer()).map(Some)
            }
            None => seed.deserialize(serde_json::Value::Null).map(Some).map_err(Self::Error::custom),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn args(values: &[Value]) -> Args {
        Args::new(values.iter().map(|value| serde_json::value::to_raw_value(value).unwrap()).collect())
    }

    #[test]
    fn a_missing_argument_reads_as_null_and_a_surplus_one_is_ignored() {
        let (ok, detail): (bool, Option<String>) = args(&[json!(true)]).parse().unwrap();
        assert_eq!((ok, detail), (true, None));
        let (ok, detail): (bool, Option<String>) =
            args(&[json!(false), json!("no"), json!(3)]).parse().unwrap();
        assert_eq!((ok, detail), (false, Some("no".to_owned())));
    }

    #[test]
    fn a_missing_argument_that_may_not_be_null_is_an_error() {
        assert!(args(&[]).parse::<(String,)>().is_err());
    }

    #[test]
    fn a_list_takes_all_arguments_and_raw_values_stay_untouched() {
        let values: Vec<Value> = args(&[json!(1), json!({"a": 2})]).parse().unwrap();
        assert_eq!(values, [json!(1), json!({"a": 2})]);
        let (raw,): (Box<RawValue>,) = args(&[json!({"a": 2})]).parse().unwrap();
        assert_eq!(raw.get(), r#"{"a":2}"#);
    }

    #[test]
    fn no_arguments_read_as_unit() {
        args(&[]).parse::<()>().unwrap();
    }
}

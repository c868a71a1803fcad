//! Detection of optional types, by deserializing an absent value.

use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use super::data::Data;

/// Returns `true` if `T` is an `Option`, or a transparent wrapper of one: the `None` of these types is sent as an
/// absent value.
///
/// A `serde_json::Value` is not optional: its `Null` is sent as JSON `null`.
pub(super) fn is_optional<T: Data>() -> bool {
    T::deserialize(Absent).is_ok()
}

/// A deserializer that supports options only, and returns `None` for them.
struct Absent;

impl<'de> Deserializer<'de> for Absent {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("absent"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

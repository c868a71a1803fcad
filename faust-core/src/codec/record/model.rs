//! The description of a record type, as `#[record]` generates it.

use std::any::{Any, TypeId};
use std::fmt;

use crate::codec::data::Data;
use crate::codec::error::EncodeError;
use crate::time::Timestamp;

/// A message type of the user's, as `#[record]` makes it; not implemented by hand.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a record", note = "annotate it with `#[record]`")]
pub trait Record: Data {
    /// The record's name: that of the type, or the one the attribute gives.
    const NAME: &'static str;
    /// What the attribute said, for `models` and for the engine.
    const MODEL: ModelDef;
}

/// What is known of a record without a value of it.
#[derive(Clone, Copy)]
pub struct ModelDef {
    /// See [`Record::NAME`].
    pub name: &'static str,
    /// The doc comment's first paragraph; may be empty.
    pub help: &'static str,
    /// The fields of a struct in order; empty for an enum.
    pub fields: &'static [FieldDef],
    /// The variants of an enum in order; empty for a struct.
    pub variants: &'static [VariantDef],
    /// The codec of `serializer = ".."`.
    pub codec: Option<&'static str>,
    /// The types that are this record: itself, and `Option` of it.
    pub types: fn() -> [TypeId; 2],
    /// Reads the field of `timestamp = field` from a value of one of those types.
    pub timestamp: Option<TimestampFn>,
    /// Appends the bytes of the field of `key = field`.
    pub key: Option<KeyFn>,
    /// Where the record is declared, for the error about two of one name.
    pub file: &'static str,
    /// See `file`.
    pub line: u32,
}

inventory::collect!(ModelDef);

/// Reads an event's time from a record; `None` leaves it the time of its message.
pub type TimestampFn = fn(&dyn Any) -> Option<Timestamp>;

/// Appends the key of a record; false means the message has none.
pub type KeyFn = fn(&dyn Any, &mut Vec<u8>) -> Result<bool, EncodeError>;

/// One field of a record.
#[derive(Clone, Copy, Debug)]
pub struct FieldDef {
    /// Its name on the wire; for a tuple struct, its position.
    pub name: &'static str,
    /// Its type as it is written.
    pub type_name: &'static str,
    /// Whether a message without it is an error.
    pub required: bool,
    /// The expression of its default, as it is written.
    pub default: Option<&'static str>,
    /// Its doc comment's first paragraph; may be empty.
    pub help: &'static str,
    /// What its values must fulfil, like `0..=100` or `len 1..=20`.
    pub rule: Option<&'static str>,
}

/// One variant of an enum.
#[derive(Clone, Copy, Debug)]
pub struct VariantDef {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it carries.
    pub fields: &'static [FieldDef],
    /// Its doc comment's first paragraph; may be empty.
    pub help: &'static str,
}

impl ModelDef {
    /// A record with nothing but its name; `#[record]` fills in the rest.
    #[doc(hidden)]
    pub const fn new(name: &'static str, types: fn() -> [TypeId; 2], file: &'static str, line: u32) -> Self {
        Self { name, help: "", fields: &[], variants: &[], codec: None, types, timestamp: None, key: None, file, line }
    }
}

impl fmt::Debug for ModelDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelDef({} at {}:{})", self.name, self.file, self.line)
    }
}

/// All records that are linked, sorted by name.
pub fn models() -> Vec<&'static ModelDef> {
    let mut models: Vec<_> = inventory::iter::<ModelDef>.into_iter().collect();
    models.sort_by_key(|model| (model.name, model.file, model.line));
    models
}

/// What `#[record]` said about `T`, or about the `U` of `T = Option<U>`. A search: once per stream, not per event.
pub(crate) fn model_of<T: 'static>() -> Option<&'static ModelDef> {
    let wanted = TypeId::of::<T>();
    inventory::iter::<ModelDef>.into_iter().find(|model| (model.types)().contains(&wanted))
}

/// How to read an event's time from a `T`, if its record names a field; looked up once, called per event.
pub(crate) fn timestamp_of<T: 'static>() -> Option<TimestampFn> {
    model_of::<T>().and_then(|model| model.timestamp)
}

/// How to read a key from a `T`, if its record names a field; looked up once, called per event.
pub(crate) fn key_of<T: 'static>() -> Option<KeyFn> {
    model_of::<T>().and_then(|model| model.key)
}

#[cfg(test)]
mod tests;

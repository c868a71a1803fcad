//! The description of a record type, as `#[record]` generates it.

use std::any::{Any, TypeId};
use std::fmt;

use crate::codec::data::Data;
use crate::codec::error::{DecodeError, EncodeError};
use crate::time::Timestamp;

/// A message type annotated with `#[record]`. Do not implement it by hand.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a record", note = "annotate it with `#[record]`")]
pub trait Record: Data {
    /// Name of the record: the name of the type, or the one given to the attribute.
    const NAME: &'static str;
    /// Metadata from the attribute, for `models` and for the engine.
    const MODEL: ModelDef;
}

/// Metadata of a record type.
#[derive(Clone, Copy)]
pub struct ModelDef {
    /// See [`Record::NAME`].
    pub name: &'static str,
    /// First paragraph of the doc comment; may be empty.
    pub help: &'static str,
    /// Fields of a struct in order; empty for an enum.
    pub fields: &'static [FieldDef],
    /// Variants of an enum in order; empty for a struct.
    pub variants: &'static [VariantDef],
    /// Codec given with `serializer = ".."`.
    pub codec: Option<&'static str>,
    /// The types this metadata applies to: the record and `Option` of it.
    pub types: fn() -> [TypeId; 2],
    /// Reads the field named by `timestamp = field` from a value of one of those types.
    pub timestamp: Option<TimestampFn>,
    /// Appends the bytes of the field named by `key = field`.
    pub key: Option<KeyFn>,
    /// The record's parts, if serde alone reads and writes it.
    pub plain: Option<fn() -> PlainDef>,
    /// Source file of the declaration.
    pub file: &'static str,
    /// Line of the declaration.
    pub line: u32,
}

inventory::collect!(ModelDef);

/// Function that reads an event's timestamp from a record. If it returns `None`, the event has the timestamp of its
/// message; if it fails, the message is one that cannot be decoded.
pub type TimestampFn = fn(&dyn Any) -> Result<Option<Timestamp>, DecodeError>;

/// Function that appends the key of a record. It returns `false` if the message has no key.
pub type KeyFn = fn(&dyn Any, &mut Vec<u8>) -> Result<bool, EncodeError>;

/// One field of a record.
#[derive(Clone, Copy, Debug)]
pub struct FieldDef {
    /// Serialized name of the field; for a tuple struct, its position.
    pub name: &'static str,
    /// Type of the field, as written in the source.
    pub type_name: &'static str,
    /// If true, a message without the field is an error.
    pub required: bool,
    /// Default expression, as written in the source.
    pub default: Option<&'static str>,
    /// First paragraph of the doc comment; may be empty.
    pub help: &'static str,
    /// Validation rule, such as `in 0..=100` or `length in 1..=20`.
    pub rule: Option<&'static str>,
}

/// One variant of an enum.
#[derive(Clone, Copy, Debug)]
pub struct VariantDef {
    /// Serialized name of the variant.
    pub name: &'static str,
    /// Fields of the variant.
    pub fields: &'static [FieldDef],
    /// First paragraph of the doc comment; may be empty.
    pub help: &'static str,
}

/// The parts of a record that serde alone reads and writes: it has no rules, and no attributes of serde that replace
/// its format.
#[derive(Clone, Debug)]
pub struct PlainDef {
    /// Full name of the record's type.
    pub name: &'static str,
    /// Full names of the types of its fields.
    pub fields: Vec<&'static str>,
}

impl ModelDef {
    /// Creates the metadata of a record without options; `#[record]` sets the other fields.
    #[doc(hidden)]
    pub const fn new(name: &'static str, types: fn() -> [TypeId; 2], file: &'static str, line: u32) -> Self {
        Self {
            name,
            help: "",
            fields: &[],
            variants: &[],
            codec: None,
            types,
            timestamp: None,
            key: None,
            plain: None,
            file,
            line,
        }
    }
}

impl fmt::Debug for ModelDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelDef({} at {}:{})", self.name, self.file, self.line)
    }
}

/// Returns the metadata of all linked records, sorted by name.
pub fn models() -> Vec<&'static ModelDef> {
    let mut models: Vec<_> = inventory::iter::<ModelDef>.into_iter().collect();
    models.sort_by_key(|model| (model.name, model.file, model.line));
    models
}

/// Returns the metadata of `T`, or of `U` for `T = Option<U>`. It searches all records: call it once per stream, not
/// per event.
pub(crate) fn model_of<T: 'static>() -> Option<&'static ModelDef> {
    let wanted = TypeId::of::<T>();
    inventory::iter::<ModelDef>.into_iter().find(|model| (model.types)().contains(&wanted))
}

/// Returns the function that reads an event's timestamp from a `T`, if its record names a field. It is looked up once
/// and called per event.
pub(crate) fn timestamp_of<T: 'static>() -> Option<TimestampFn> {
    model_of::<T>().and_then(|model| model.timestamp)
}

/// Returns the function that reads the key from a `T`, if its record names a field. It is looked up once and called per
/// event.
pub(crate) fn key_of<T: 'static>() -> Option<KeyFn> {
    model_of::<T>().and_then(|model| model.key)
}

#[cfg(test)]
mod tests;

//! Items used by the code that `#[record]` and `#[codec]` generate. Not public API: they are reached through
//! `__private`.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Display;
use std::ops::RangeBounds;
use std::sync::OnceLock;

use bytes::Bytes;
use serde::de::Error;

use crate::codec::coder::Coder;
use crate::codec::data::{Data, Role};
use crate::codec::error::{DecodeError, EncodeError};
use crate::time::Timestamp;

pub use inventory;
pub use serde;

pub use super::model::{FieldDef, ModelDef, PlainDef, Record, VariantDef};
pub use super::timestamp::{IntoTimestamp, TimestampError};
pub use crate::codec::registry::CodecDef;

/// Returns the value of `any`, which is a `T` or an `Option<T>`.
pub fn record_in<T: 'static>(any: &dyn Any) -> Option<&T> {
    any.downcast_ref::<T>().or_else(|| any.downcast_ref::<Option<T>>().and_then(Option::as_ref))
}

/// The coder of a record's key field. It is a static, so it is resolved at its first use.
#[derive(Debug)]
pub struct KeyCoder<K>(OnceLock<Result<Coder<K>, String>>);

impl<K> KeyCoder<K> {
    /// Creates an unresolved coder.
    #[allow(clippy::new_without_default)] // A coder is only used as a static.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }
}

/// Appends a key. This is a function because rustc reports an unmet bound on a method less clearly.
///
/// # Errors
/// Fails as [`Coder::encode`] does, and if the key is itself a record whose `serializer` is not registered.
pub fn encode_key<K: Data>(coder: &KeyCoder<K>, key: &K, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
    let coder = coder.0.get_or_init(|| Coder::resolve(None, Role::Key).map_err(|error| error.to_string()));
    match coder {
        Ok(coder) => coder.encode(key, out),
        Err(text) => Err(EncodeError::new(text)),
    }
}

/// Completes the error of a field that holds no time with the field's name.
///
/// # Errors
/// Fails if the field holds no time: `at: expected a time like ..`.
pub fn timestamp_of_field(
    name: &str,
    time: Result<Option<Timestamp>, TimestampError>,
) -> Result<Option<Timestamp>, DecodeError> {
    time.map_err(|error| DecodeError::at(name.to_owned(), error.to_string()))
}

/// Checks a value against `#[field(range = ..)]`.
///
/// # Errors
/// Fails if the value is out of range: `must be in 0..=100, got 200`.
pub fn check_range<V, E>(value: &V, range: impl RangeBounds<V>, written: &str) -> Result<(), E>
where
    V: PartialOrd + Display,
    E: Error,
{
    if range.contains(value) { Ok(()) } else { Err(E::custom(format_args!("must be in {written}, got {value}"))) }
}

/// Checks a length against `#[field(len = ..)]`.
///
/// # Errors
/// Fails if the length is out of range: `must have a length in 1..=20, got 0`.
pub fn check_len<V, E>(value: &V, range: impl RangeBounds<usize>, written: &str) -> Result<(), E>
where
    V: Length + ?Sized,
    E: Error,
{
    let length = value.length();
    if range.contains(&length) {
        Ok(())
    } else {
        Err(E::custom(format_args!("must have a length in {written}, got {length}")))
    }
}

/// Checks that a type can be that of a field. It is called by code that never runs.
pub fn check_field<T: FieldType>() {}

/// A type that a field of a record can have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the type of a record's field",
    label = "not a type that serde can read and write",
    note = "annotate `{Self}` with `#[record]`, which derives `Clone`, `Debug`, `PartialEq` and serde's traits; for a type of \
            another crate, enable its feature `serde`, or use `#[serde(with = \"..\")]`"
)]
pub trait FieldType {}

#[diagnostic::do_not_recommend]
impl<T: serde::Serialize + serde::de::DeserializeOwned> FieldType for T {}

/// Checks the result of a function of `#[field(check = ..)]`.
///
/// # Errors
/// Fails if the function does not accept the value: with its own reason, or `must pass the check `even``.
pub fn check_with<R: Verdict, E: Error>(verdict: R, written: &str) -> Result<(), E> {
    verdict.into_result(written).map_err(E::custom)
}

/// A result of a function of `#[field(check = ..)]`.
#[diagnostic::on_unimplemented(
    message = "a function of `check` cannot return `{Self}`",
    label = "not a verdict",
    note = "return a `bool`, which is `true` for a valid value, or a `Result<(), E>`, where `E` is a text or an error"
)]
pub trait Verdict {
    /// Returns the reason for which a value is not valid. `written` is the name of the function.
    fn into_result(self, written: &str) -> Result<(), String>;
}

impl Verdict for bool {
    fn into_result(self, written: &str) -> Result<(), String> {
        if self { Ok(()) } else { Err(format!("must pass the check `{written}`")) }
    }
}

impl<E: Display> Verdict for Result<(), E> {
    fn into_result(self, _: &str) -> Result<(), String> {
        self.map_err(|why| why.to_string())
    }
}

/// A value that has a length: the number of characters of a string, or of elements of a collection.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no length",
    label = "no length to check",
    note = "`len` is for text and collections; for numbers use `range`, for anything else `check = path::to::function`"
)]
pub trait Length {
    /// Returns the number of characters or elements.
    fn length(&self) -> usize;
}

impl Length for str {
    fn length(&self) -> usize {
        self.chars().count()
    }
}

impl Length for String {
    fn length(&self) -> usize {
        self.as_str().length()
    }
}

macro_rules! length_by_len {
    ($([$($generics:tt)*] $type:ty),* $(,)?) => {$(
        impl<$($generics)*> Length for $type {
            fn length(&self) -> usize {
                self.len()
            }
        }
    )*};
}

length_by_len!(
    [] Bytes,
    [T] Vec<T>,
    [T] VecDeque<T>,
    [T] Box<[T]>,
    [T, const N: usize] [T; N],
    [T] BTreeSet<T>,
    [T, S] HashSet<T, S>,
    [K, V] BTreeMap<K, V>,
    [K, V, S] HashMap<K, V, S>,
    [] serde_json::Map<String, serde_json::Value>,
);

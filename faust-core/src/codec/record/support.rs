//! What the code that `#[record]` and `#[codec]` generate names; not public API, reached through `__private`.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::Display;
use std::ops::RangeBounds;
use std::sync::OnceLock;

use bytes::Bytes;
use serde::de::Error;

use crate::codec::coder::Coder;
use crate::codec::data::{Data, Role};
use crate::codec::error::EncodeError;

pub use inventory;
pub use serde;

pub use super::model::{FieldDef, ModelDef, Record, VariantDef};
pub use super::timestamp::IntoTimestamp;
pub use crate::codec::registry::CodecDef;

/// The value behind `any`, which is a `T` or an `Option<T>`.
pub fn record_in<T: 'static>(any: &dyn Any) -> Option<&T> {
    any.downcast_ref::<T>().or_else(|| any.downcast_ref::<Option<T>>().and_then(Option::as_ref))
}

/// The coder of a record's key field: resolved at its first use, as a static cannot be.
#[derive(Debug)]
pub struct KeyCoder<K>(OnceLock<Result<Coder<K>, String>>);

impl<K> KeyCoder<K> {
    /// Not resolved yet.
    #[allow(clippy::new_without_default)] // Only ever a static.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }
}

/// Appends a key. A function, as a bound on a method is reported less clearly.
///
/// # Errors
/// As [`Coder::encode`]; also when the key is itself a record whose `serializer` nobody registered.
pub fn encode_key<K: Data>(coder: &KeyCoder<K>, key: &K, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
    let coder = coder.0.get_or_init(|| Coder::resolve(None, Role::Key).map_err(|error| error.to_string()));
    match coder {
        Ok(coder) => coder.encode(key, out),
        Err(text) => Err(EncodeError::new(text)),
    }
}

/// For `#[field(range = ..)]`.
///
/// # Errors
/// `must be in 0..=100, got 200`.
pub fn check_range<V, E>(value: &V, range: impl RangeBounds<V>, written: &str) -> Result<(), E>
where
    V: PartialOrd + Display,
    E: Error,
{
    if range.contains(value) { Ok(()) } else { Err(E::custom(format_args!("must be in {written}, got {value}"))) }
}

/// For `#[field(len = ..)]`.
///
/// # Errors
/// `must have a length in 1..=20, got 0`.
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

/// A value that has a length: text counts its characters, collections their elements.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no length",
    label = "no length to check",
    note = "`len` is for text and collections; for numbers use `range`, for anything else `check = path::to::function`"
)]
pub trait Length {
    /// Characters or elements.
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

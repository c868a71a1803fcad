//! The serializer of one type, as plain functions.

use super::error::{DecodeError, EncodeError};

/// The serializer of a codec chain: the step that turns a value into bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serializer {
    Json,
    Raw,
}

/// The serializer of one type, as function pointers: a message costs one indirect call and no allocation by the coder.
pub(super) struct Form<T> {
    pub(super) decode: fn(&[u8]) -> Result<T, DecodeError>,
    /// Returns the value of an absent key or payload, or `None` if the type has no such value.
    pub(super) absent: fn() -> Option<T>,
    /// Appends the bytes. Returns `false` if the key or payload is absent.
    pub(super) encode: fn(&T, &mut Vec<u8>) -> Result<bool, EncodeError>,
}

impl<T> Clone for Form<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Form<T> {}

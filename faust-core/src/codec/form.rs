//! The serializer of one type, as plain functions.

use super::error::{DecodeError, EncodeError};

/// The serializer of one type as plain functions, so that a message costs an indirect call and no allocation of ours.
pub(super) struct Form<T> {
    pub(super) decode: fn(&[u8]) -> Result<T, DecodeError>,
    /// What an absent key or payload reads as; `None` where the type has no such value.
    pub(super) absent: fn() -> Option<T>,
    /// Appends the bytes; false means there is nothing to send.
    pub(super) encode: fn(&T, &mut Vec<u8>) -> Result<bool, EncodeError>,
}

impl<T> Clone for Form<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Form<T> {}

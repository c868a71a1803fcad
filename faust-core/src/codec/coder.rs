//! The coder of a type: resolved once per topic, then called once per message.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use super::data::{Data, KeyRef, Role};
use super::error::{DecodeError, EncodeError};
use super::form::{Form, Serializer};
use super::registry::Step;
use super::{json, plain};

/// The resolved codec of the values of `T`: resolved once per topic, then called once per message.
pub struct Coder<T> {
    pub(super) form: Form<T>,
    /// The serializer of `form`, for keys that are given in a borrowed form.
    pub(super) serializer: Serializer,
    /// Set if `None` is encoded as absent.
    pub(super) is_optional: bool,
    /// Transforms, applied in this order after encoding and undone in reverse order before decoding. Nearly every topic
    /// has none.
    pub(super) steps: Arc<[Step]>,
    pub(super) name: Arc<str>,
    pub(super) role: Role,
}

impl<T: Data> Coder<T> {
    /// Decodes a key or payload; `None` stands for an absent one.
    ///
    /// # Errors
    /// Fails if the bytes do not match the type. The error names the place in the value; the caller adds topic,
    /// partition and offset.
    pub fn decode(&self, bytes: Option<&[u8]>) -> Result<T, DecodeError> {
        match bytes {
            Some(bytes) if self.steps.is_empty() => (self.form.decode)(bytes),
            Some(bytes) => self.decode_chain(bytes),
            None => (self.form.absent)().ok_or_else(|| DecodeError::absent(self.role)),
        }
    }

    /// Appends the bytes of `value` to `out`. Returns `false`, with nothing appended, if there is no key or the value
    /// is a tombstone.
    ///
    /// # Errors
    /// Fails if serde or a codec of the chain fails; `out` is then unchanged.
    pub fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
        if !self.steps.is_empty() {
            return self.encode_chain(value, out);
        }
        let start = out.len();
        (self.form.encode)(value, out).inspect_err(|_| out.truncate(start))
    }

    /// Appends the bytes of a key that is given as itself or in a borrowed form; as [`encode`](Self::encode).
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_key<Q: KeyRef + ?Sized>(&self, key: &Q, out: &mut Vec<u8>) -> Result<bool, EncodeError>
    where
        T: Borrow<Q>,
    {
        if !self.steps.is_empty() {
            let mut bytes = Vec::new();
            return if self.serialize_key(key, &mut bytes)? { self.transform(bytes, out) } else { Ok(false) };
        }
        let start = out.len();
        self.serialize_key(key, out).inspect_err(|_| out.truncate(start))
    }

    fn serialize_key<Q: KeyRef + ?Sized>(&self, key: &Q, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
        match self.serializer {
            Serializer::Raw => plain::append(key, out).map_err(EncodeError::new),
            Serializer::Json => json::append(key, self.is_optional, out),
        }
    }

    /// Returns the resolved chain, such as `json` or `binary|json`.
    pub fn name(&self) -> &str {
        &self.name
    }

    #[inline(never)] // Keeps the inlined path without transforms small.
    fn decode_chain(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        (self.form.decode)(&self.untransformed(bytes)?)
    }

    /// Undoes the transforms of the chain.
    pub(super) fn untransformed<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, DecodeError> {
        let mut bytes = Cow::Borrowed(bytes);
        for step in self.steps.iter().rev() {
            let plain = step.codec.decode(&bytes).map_err(|error| DecodeError::codec(step.name, error.as_ref()))?;
            bytes = plain.into();
        }
        Ok(bytes)
    }

    #[inline(never)] // Keeps the inlined path without transforms small.
    fn encode_chain(&self, value: &T, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
        let mut bytes = Vec::new();
        if !(self.form.encode)(value, &mut bytes)? {
            return Ok(false);
        }
        self.transform(bytes, out)
    }

    /// Applies the transforms of the chain, and appends the result.
    pub(super) fn transform(&self, mut bytes: Vec<u8>, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
        for step in self.steps.iter() {
            bytes = step.codec.encode(bytes).map_err(|error| EncodeError::codec(step.name, error.as_ref()))?;
        }
        out.extend_from_slice(&bytes);
        Ok(true)
    }
}

// Not derived: a derive would require `T: Clone`, but a coder contains no value of `T`.
impl<T> Clone for Coder<T> {
    fn clone(&self) -> Self {
        Self {
            form: self.form,
            serializer: self.serializer,
            is_optional: self.is_optional,
            steps: Arc::clone(&self.steps),
            name: Arc::clone(&self.name),
            role: self.role,
        }
    }
}

impl<T> fmt::Debug for Coder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coder").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

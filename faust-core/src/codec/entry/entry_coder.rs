//! The coder of a table's keys or values.

use std::borrow::Borrow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use super::nulls::Nulls;
use super::trust::Trust;
use crate::codec::coder::Coder;
use crate::codec::data::{Data, KeyRef, Role};
use crate::codec::error::{DecodeError, EncodeError, UnknownCodec};
use crate::codec::form::Serializer;
use crate::codec::{json, plain};
use crate::error::panic_text;

/// The byte of `None` in the `raw` codec, which has no bytes of its own for it: text and integers never contain this
/// byte. Bytes may, so a `Some` that consists of this byte only is written with one more.
const NONE: u8 = 0xFF;

/// The coder of a table's keys or values. Unlike a message, an entry always has bytes, also for `None`: without bytes,
/// it would be a removal.
pub(crate) struct EntryCoder<T> {
    coder: Coder<T>,
    trust: Trust,
}

impl<T: Data> EntryCoder<T> {
    /// Resolves the codec, like [`Coder::resolve`].
    ///
    /// # Errors
    /// Fails in the same cases.
    pub(crate) fn resolve(codec: Option<&str>, role: Role) -> Result<Self, UnknownCodec> {
        let coder = Coder::resolve(codec, role)?;
        let is_invertible = coder.steps.iter().all(|step| step.is_built_in());
        let trust = match coder.serializer {
            _ if !is_invertible => Trust::Never,
            Serializer::Raw => Trust::Always,
            Serializer::Json => Trust::of::<T>(),
        };
        Ok(Self { coder, trust })
    }

    /// Returns the resolved chain, such as `json` or `binary|json`.
    pub(crate) fn name(&self) -> &str {
        self.coder.name()
    }

    /// Appends the bytes of a value.
    ///
    /// # Errors
    /// Fails if serde or a codec of the chain fails; `out` is then unchanged.
    pub(crate) fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.append(out, |out| match self.coder.serializer {
            Serializer::Json => json::append(value, false, out),
            Serializer::Raw => (self.coder.form.encode)(value, out),
        })
    }

    /// Appends the bytes of a key that is given as itself or in a borrowed form.
    ///
    /// # Errors
    /// Fails if serde or a codec of the chain fails, or if the key could not be told from another one.
    pub(crate) fn encode_key<Q: KeyRef + ?Sized>(&self, key: &Q, out: &mut Vec<u8>) -> Result<(), EncodeError>
    where
        T: Borrow<Q>,
    {
        self.append(out, |out| match self.coder.serializer {
            Serializer::Json
                if self.trust > Trust::Always && Nulls::of(key).is_ok_and(|nulls| nulls.are_ambiguous()) =>
            {
                Err(EncodeError::new(AMBIGUOUS))
            }
            Serializer::Json => json::append(key, false, out),
            Serializer::Raw => plain::append(key, out).map_err(EncodeError::new),
        })
    }

    /// Decodes a key or value.
    ///
    /// # Errors
    /// Fails if the bytes do not match the type.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        let decoded = if self.marks_none() { self.decode_marked(bytes) } else { self.coder.decode(Some(bytes)) };
        match decoded {
            // Earlier releases wrote `None` as no bytes.
            Err(error) if bytes.is_empty() => self.coder.decode(None).map_err(|_| error),
            decoded => decoded,
        }
    }

    /// Checks that a value can be read back once it is encoded.
    ///
    /// # Errors
    /// Fails if it cannot be encoded, if its bytes cannot be decoded, or are decoded as another value.
    pub(crate) fn check(&self, value: &T) -> Result<(), EncodeError> {
        match self.trust {
            Trust::Always => Ok(()),
            Trust::UnlessAmbiguous if !is_ambiguous(value) => Ok(()),
            Trust::UnlessAmbiguous | Trust::Never => self.try_value(value),
        }
    }

    /// Returns `true` if some keys of the type may be unreadable, so that [`check_key`](Self::check_key) is needed.
    pub(crate) fn is_checked(&self) -> bool {
        // Keys with an ambiguous `null` are not encoded in the first place.
        self.trust == Trust::Never
    }

    /// Checks the bytes of a key that is new in a table.
    ///
    /// # Errors
    /// Fails if they cannot be decoded.
    pub(crate) fn check_key(&self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.decode(bytes).map(drop).map_err(unreadable)
    }

    /// Returns the bytes of `None`, if the type is optional.
    pub(crate) fn none(&self) -> Option<Vec<u8>> {
        let none = (self.coder.form.absent)().filter(|_| self.coder.is_optional)?;
        let mut bytes = Vec::new();
        self.encode(&none, &mut bytes).ok().map(|()| bytes)
    }

    #[inline(never)] // Keeps the path of known types small.
    fn try_value(&self, value: &T) -> Result<(), EncodeError> {
        // The type's own code must not end the task of a table that it leaves with a value taken out.
        catch_unwind(AssertUnwindSafe(|| self.read_back(value)))
            .unwrap_or_else(|panic| Err(EncodeError::new(format_args!("its type panicked: {}", panic_text(&*panic)))))
    }

    fn read_back(&self, value: &T) -> Result<(), EncodeError> {
        let mut bytes = Vec::new();
        self.encode(value, &mut bytes)?;
        let written = Nulls::of(value).map_err(EncodeError::new)?;
        let explained = |why: DecodeError| match written.not_finite {
            0 => unreadable(why),
            _ => EncodeError::new(format_args!("{NOT_FINITE}: {why}")),
        };
        let read = Nulls::of(&self.decode(&bytes).map_err(explained)?).map_err(EncodeError::new)?;
        match written.not_finite {
            _ if read == written => Ok(()),
            0 => Err(EncodeError::new(AMBIGUOUS)),
            _ => Err(EncodeError::new(NOT_FINITE)),
        }
    }

    /// Returns `true` if `None` is written as [`NONE`].
    fn marks_none(&self) -> bool {
        self.coder.is_optional && self.coder.serializer == Serializer::Raw
    }

    fn append(
        &self,
        out: &mut Vec<u8>,
        serialize: impl FnOnce(&mut Vec<u8>) -> Result<bool, EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let serialized = serialize(out).and_then(|is_there| {
            if self.marks_none() {
                let bytes = out.get(start..).unwrap_or_default();
                if !is_there || (!bytes.is_empty() && bytes.iter().all(|byte| *byte == NONE)) {
                    out.push(NONE);
                }
            }
            if !self.coder.steps.is_empty() {
                let bytes = out.split_off(start);
                self.coder.transform(bytes, out)?;
            }
            Ok(())
        });
        serialized.inspect_err(|_| out.truncate(start))
    }

    fn decode_marked(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        let bytes = self.coder.untransformed(bytes)?;
        match bytes.split_first() {
            Some((&NONE, [])) => self.coder.decode(None),
            Some((&NONE, rest)) if rest.iter().all(|byte| *byte == NONE) => (self.coder.form.decode)(rest),
            _ => (self.coder.form.decode)(&bytes),
        }
    }
}

const AMBIGUOUS: &str =
    "it could not be read back, because JSON writes `None`, `Some(None)` and `Some(())` all as `null`";
const NOT_FINITE: &str = "it could not be read back, because JSON has no NaN and no infinity";

/// Returns `true` if JSON writes another value of the type as the same text.
fn is_ambiguous<T: Serialize + ?Sized>(value: &T) -> bool {
    // A value that fails to be serialized is reported when it is encoded.
    Nulls::of(value).is_ok_and(|nulls| nulls.are_ambiguous())
}

fn unreadable(why: DecodeError) -> EncodeError {
    EncodeError::new(format_args!("it could not be read back: {why}"))
}

// Not derived: a derive would require `T: Clone`, but a coder contains no value of `T`.
impl<T> Clone for EntryCoder<T> {
    fn clone(&self) -> Self {
        Self { coder: self.coder.clone(), trust: self.trust }
    }
}

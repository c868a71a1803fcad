//! The `raw` serializer: strings and bytes unchanged, integers as decimal text.

use std::any::{Any, TypeId};
use std::fmt::Display;
use std::io::Write;
use std::str::FromStr;

use bytes::Bytes;

use super::data::{Data, Role};
use super::error::{DecodeError, EncodeError};
use super::form::Form;
use crate::message::RawKey;

impl<T: Data> Form<T> {
    /// Returns the raw form of `T`, if it has one.
    pub(super) fn raw() -> Option<Self> {
        text_or_bytes().or_else(integer)
    }

    /// Returns the raw form of `T` if it is the default: always for strings and bytes, for integers only as keys.
    pub(super) fn raw_by_default(role: Role) -> Option<Self> {
        let integer = || if role == Role::Key { integer() } else { None };
        text_or_bytes().or_else(integer)
    }
}

/// Returns `true` if values of `T` bypass every codec and are sent unchanged.
pub(super) fn passes_through<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<RawKey>()
}

fn text_or_bytes<T: Data>() -> Option<Form<T>> {
    None.or_else(form_of::<String, T>)
        .or_else(form_of::<Vec<u8>, T>)
        .or_else(form_of::<Bytes, T>)
        .or_else(form_of::<RawKey, T>)
        .or_else(form_of::<Option<String>, T>)
        .or_else(form_of::<Option<Vec<u8>>, T>)
        .or_else(form_of::<Option<Bytes>, T>)
}

fn integer<T: Data>() -> Option<Form<T>> {
    macro_rules! first_of {
        ($($int:ty)*) => {
            None$(.or_else(form_of::<$int, T>).or_else(form_of::<Option<$int>, T>))*
        };
    }
    first_of!(i64 u64 i32 u32 i16 u16 i8 u8 i128 u128 isize usize)
}

/// A type with a raw form. Each type defines whether it has an absent value.
trait Plain: Sized + 'static {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError>;
    fn absent() -> Option<Self> {
        None
    }
    /// Appends the bytes. Returns `false` if the key or payload is absent.
    fn write(&self, out: &mut Vec<u8>) -> bool;
}

impl Plain for String {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        std::str::from_utf8(bytes).map(str::to_owned).map_err(DecodeError::utf8)
    }

    fn write(&self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.as_bytes());
        true
    }
}

impl Plain for Vec<u8> {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(bytes.to_vec())
    }

    fn write(&self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self);
        true
    }
}

impl Plain for Bytes {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn write(&self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self);
        true
    }
}

impl Plain for RawKey {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(RawKey(Some(bytes.to_vec())))
    }

    fn absent() -> Option<Self> {
        Some(RawKey::NONE)
    }

    fn write(&self, out: &mut Vec<u8>) -> bool {
        out.extend_from_slice(self.as_bytes().unwrap_or_default());
        self.0.is_some()
    }
}

impl<A: Plain> Plain for Option<A> {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        A::read(bytes).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn write(&self, out: &mut Vec<u8>) -> bool {
        self.as_ref().is_some_and(|value| value.write(out))
    }
}

macro_rules! plain_integers {
    ($($int:ty)*) => {$(
        impl Plain for $int {
            fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
                parse(bytes, stringify!($int))
            }

            fn write(&self, out: &mut Vec<u8>) -> bool {
                print(self, out);
                true
            }
        }
    )*};
}

plain_integers!(i64 u64 i32 u32 i16 u16 i8 u8 i128 u128 isize usize);

fn parse<A: FromStr>(bytes: &[u8], expected: &str) -> Result<A, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(DecodeError::utf8)?;
    text.parse().map_err(|_| DecodeError::new(format!("expected {expected}, found {text:?}")))
}

fn print(value: &impl Display, out: &mut Vec<u8>) {
    write!(out, "{value}").expect("writing to a vector cannot fail");
}

/// Returns the functions of `A` as those of `T`, if they are the same type.
fn form_of<A: Plain, T: Data>() -> Option<Form<T>> {
    (TypeId::of::<A>() == TypeId::of::<T>()).then_some(Form {
        decode: |bytes| A::read(bytes).map(|value| same(value).expect("both are one type")),
        absent: || A::absent().and_then(same),
        encode: |value, out| match (value as &dyn Any).downcast_ref::<A>() {
            Some(plain) => Ok(plain.write(out)),
            None => Err(EncodeError::new("the value does not have the type of its coder")),
        },
    })
}

/// Converts a value of `A` to `T`, or returns `None` if they are different types. It allocates nothing and copies no
/// heap data.
fn same<A: 'static, T: 'static>(value: A) -> Option<T> {
    let mut slot = Some(value);
    (&mut slot as &mut dyn Any).downcast_mut::<Option<T>>().and_then(Option::take)
}

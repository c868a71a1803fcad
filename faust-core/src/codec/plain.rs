//! A serde serializer for the `raw` codec: it writes text, bytes and integers as they are.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;
use serde::de::value::Error;
use serde::ser::{Error as _, Impossible, SerializeSeq, SerializeTuple, Serializer};

/// Appends the plain bytes of a borrowed key. Returns `false`, with nothing appended, for `None`.
pub(super) fn append<Q: Serialize + ?Sized>(key: &Q, out: &mut Vec<u8>) -> Result<bool, Error> {
    key.serialize(PlainSerializer { out })
}

/// Writes one value; the result is whether there is one.
struct PlainSerializer<'a> {
    out: &'a mut Vec<u8>,
}

impl PlainSerializer<'_> {
    fn print(self, value: impl Display) -> Result<bool, Error> {
        write!(self.out, "{value}").map_err(Error::custom)?;
        Ok(true)
    }
}

/// Writes the elements of a list of bytes.
struct ByteListSerializer<'a> {
    out: &'a mut Vec<u8>,
}

/// Writes one element of a list of bytes.
struct ByteSerializer<'a> {
    out: &'a mut Vec<u8>,
}

fn unsupported<T>() -> Result<T, Error> {
    Err(Error::custom("the `raw` codec supports text, bytes and integers only"))
}

macro_rules! unsupported {
    ($($method:ident($($arg:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self, $(_: $arg),*) -> Result<$ok, Error> { unsupported() })*
    };
}

macro_rules! integers {
    ($($method:ident: $int:ty;)*) => {
        $(fn $method(self, value: $int) -> Result<bool, Error> { self.print(value) })*
    };
}

impl<'a> Serializer for PlainSerializer<'a> {
    type Ok = bool;
    type Error = Error;
    type SerializeSeq = ByteListSerializer<'a>;
    type SerializeTuple = ByteListSerializer<'a>;
    type SerializeTupleStruct = Impossible<bool, Error>;
    type SerializeTupleVariant = Impossible<bool, Error>;
    type SerializeMap = Impossible<bool, Error>;
    type SerializeStruct = Impossible<bool, Error>;
    type SerializeStructVariant = Impossible<bool, Error>;

    integers! {
        serialize_i8: i8; serialize_i16: i16; serialize_i32: i32; serialize_i64: i64; serialize_i128: i128;
        serialize_u8: u8; serialize_u16: u16; serialize_u32: u32; serialize_u64: u64; serialize_u128: u128;
    }

    fn serialize_str(self, value: &str) -> Result<bool, Error> {
        self.serialize_bytes(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<bool, Error> {
        self.out.extend_from_slice(value);
        Ok(true)
    }

    fn serialize_none(self) -> Result<bool, Error> {
        Ok(false)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<bool, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<bool, Error> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<ByteListSerializer<'a>, Error> {
        Ok(ByteListSerializer { out: self.out })
    }

    fn serialize_tuple(self, _: usize) -> Result<ByteListSerializer<'a>, Error> {
        Ok(ByteListSerializer { out: self.out })
    }

    unsupported! {
        serialize_bool(bool) -> bool;
        serialize_f32(f32) -> bool;
        serialize_f64(f64) -> bool;
        serialize_char(char) -> bool;
        serialize_unit() -> bool;
        serialize_unit_struct(&'static str) -> bool;
        serialize_unit_variant(&'static str, u32, &'static str) -> bool;
        serialize_tuple_struct(&'static str, usize) -> Impossible<bool, Error>;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Impossible<bool, Error>;
        serialize_map(Option<usize>) -> Impossible<bool, Error>;
        serialize_struct(&'static str, usize) -> Impossible<bool, Error>;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Impossible<bool, Error>;
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<bool, Error> {
        unsupported()
    }
}

impl SerializeSeq for ByteListSerializer<'_> {
    type Ok = bool;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(ByteSerializer { out: self.out })
    }

    fn end(self) -> Result<bool, Error> {
        Ok(true)
    }
}

impl SerializeTuple for ByteListSerializer<'_> {
    type Ok = bool;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(ByteSerializer { out: self.out })
    }

    fn end(self) -> Result<bool, Error> {
        Ok(true)
    }
}

impl Serializer for ByteSerializer<'_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Impossible<(), Error>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeStruct = Impossible<(), Error>;
    type SerializeStructVariant = Impossible<(), Error>;

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.out.push(value);
        Ok(())
    }

    unsupported! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Impossible<(), Error>;
        serialize_tuple(usize) -> Impossible<(), Error>;
        serialize_tuple_struct(&'static str, usize) -> Impossible<(), Error>;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Impossible<(), Error>;
        serialize_map(Option<usize>) -> Impossible<(), Error>;
        serialize_struct(&'static str, usize) -> Impossible<(), Error>;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Impossible<(), Error>;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Error> {
        unsupported()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, _: &T) -> Result<(), Error> {
        unsupported()
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        unsupported()
    }
}

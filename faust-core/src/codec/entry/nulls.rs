//! A serde serializer that writes nothing, and counts the parts of a value that JSON may not preserve.
//!
//! JSON has one `null` for `None`, `Some(None)`, `Some(())` and floats that are not finite. The calls are compiled for
//! each type, so that a value without options and floats is not visited at all.

use std::fmt::Display;

use serde::Serialize;
use serde::de::value::Error;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant, Serializer,
};

/// The parts of a value that are `null` in JSON, or that contain such a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Nulls {
    some: u64,
    none: u64,
    unit: u64,
    pub(super) not_finite: u64,
    /// Number of `Some` whose content is `null`.
    hidden: u64,
}

impl Nulls {
    /// Counts the parts of a value.
    ///
    /// # Errors
    /// Returns the error of the value's `Serialize`.
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        let mut nulls = Self::default();
        value.serialize(NullCounter { nulls: &mut nulls, in_some: false })?;
        Ok(nulls)
    }

    /// Returns `true` if JSON writes two different values of this type as the same text.
    pub(super) fn are_ambiguous(&self) -> bool {
        self.not_finite > 0 || self.hidden > 0
    }
}

struct NullCounter<'a> {
    nulls: &'a mut Nulls,
    /// Set if the value is the content of a `Some`.
    in_some: bool,
}

impl NullCounter<'_> {
    fn null(self) {
        self.nulls.hidden += u64::from(self.in_some);
    }

    fn part<T: Serialize + ?Sized>(&mut self, part: &T) -> Result<(), Error> {
        part.serialize(NullCounter { nulls: self.nulls, in_some: false })
    }

    fn float(self, is_finite: bool) {
        if !is_finite {
            self.nulls.not_finite += 1;
            self.null();
        }
    }
}

macro_rules! ignored {
    ($($method:ident: $ty:ty;)*) => {
        $(fn $method(self, _: $ty) -> Result<(), Error> { Ok(()) })*
    };
}

macro_rules! compound {
    ($($method:ident($($arg:ty),*);)*) => {
        $(fn $method(self, $(_: $arg),*) -> Result<Self, Error> { Ok(Self { in_some: false, ..self }) })*
    };
}

impl Serializer for NullCounter<'_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    ignored! {
        serialize_bool: bool; serialize_char: char; serialize_str: &str; serialize_bytes: &[u8];
        serialize_i8: i8; serialize_i16: i16; serialize_i32: i32; serialize_i64: i64; serialize_i128: i128;
        serialize_u8: u8; serialize_u16: u16; serialize_u32: u32; serialize_u64: u64; serialize_u128: u128;
    }

    compound! {
        serialize_seq(Option<usize>);
        serialize_tuple(usize);
        serialize_tuple_struct(&'static str, usize);
        serialize_tuple_variant(&'static str, u32, &'static str, usize);
        serialize_map(Option<usize>);
        serialize_struct(&'static str, usize);
        serialize_struct_variant(&'static str, u32, &'static str, usize);
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        self.float(value.is_finite());
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        self.float(value.is_finite());
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.nulls.none += 1;
        self.null();
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.nulls.some += 1;
        value.serialize(NullCounter { in_some: true, ..self })
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.nulls.unit += 1;
        self.null();
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        // JSON shows the content alone, so the content of a `Some` remains one.
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.part(value)
    }

    fn collect_str<T: Display + ?Sized>(self, _: &T) -> Result<(), Error> {
        Ok(())
    }
}

macro_rules! elements {
    ($($part:ident: $method:ident;)*) => {$(
        impl $part for NullCounter<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.part(value)
            }

            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        }
    )*};
}

elements! {
    SerializeSeq: serialize_element;
    SerializeTuple: serialize_element;
    SerializeTupleStruct: serialize_field;
    SerializeTupleVariant: serialize_field;
}

macro_rules! named_fields {
    ($($part:ident;)*) => {$(
        impl $part for NullCounter<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Error> {
                self.part(value)
            }

            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        }
    )*};
}

named_fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl SerializeMap for NullCounter<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.part(value)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

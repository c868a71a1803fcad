//! Types that can be summed, and the number types that hold their sums.

use std::fmt;

use serde::Serializer;

/// A type that can be summed: an integer of up to 64 bits, or a float. This trait is sealed.
pub trait Summand: Copy + Into<Self::Total> {
    /// Type that holds the sum.
    #[doc(hidden)]
    type Total: sealed::Total;

    #[doc(hidden)]
    fn exact(total: Self::Total) -> Option<Self>;

    #[doc(hidden)]
    fn nearest(total: Self::Total) -> Self;
}

macro_rules! integers {
    ($($int:ty)*) => {$(
        impl Summand for $int {
            type Total = i128;

            fn exact(total: i128) -> Option<Self> {
                Self::try_from(total).ok()
            }

            fn nearest(total: i128) -> Self {
                Self::exact(total).unwrap_or(if total < 0 { Self::MIN } else { Self::MAX })
            }
        }
    )*};
}

integers!(i8 i16 i32 i64 u8 u16 u32 u64);

macro_rules! floats {
    ($($float:ty)*) => {$(
        impl Summand for $float {
            type Total = f64;

            fn exact(total: f64) -> Option<Self> {
                Some(Self::nearest(total))
            }

            fn nearest(total: f64) -> Self {
                total as Self
            }
        }
    )*};
}

floats!(f32 f64);

pub(super) mod sealed {
    use super::*;

    /// A number type that holds a sum, with its serialized form.
    pub trait Total: Copy + fmt::Debug + Default + PartialEq + fmt::Display + std::str::FromStr {
        fn plus(self, other: Self) -> Self;
        fn to_f64(self) -> f64;
        /// Serializes the total as a 64-bit number, or as a string if it does not fit.
        fn write<S: Serializer>(self, out: S) -> Result<S::Ok, S::Error>;
        /// Converts an integer that was read from a serialized form.
        fn from_integer(integer: i128) -> Self;
        /// Converts a float that was read from a serialized form, or returns `None` if it has no exact value of this type.
        fn from_float(float: f64) -> Option<Self>;
    }

    impl Total for i128 {
        fn plus(self, other: Self) -> Self {
            // No stream of 64-bit values is long enough to saturate this.
            self.saturating_add(other)
        }

        fn to_f64(self) -> f64 {
            self as f64
        }

        fn write<S: Serializer>(self, out: S) -> Result<S::Ok, S::Error> {
            match (i64::try_from(self), u64::try_from(self)) {
                (Ok(int), _) => out.serialize_i64(int),
                (_, Ok(int)) => out.serialize_u64(int),
                _ => out.collect_str(&self),
            }
        }

        fn from_integer(integer: i128) -> Self {
            integer
        }

        fn from_float(float: f64) -> Option<Self> {
            // Some writers have only floats; whole numbers up to 2^53 are exact in them.
            (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i128)
        }
    }

    impl Total for f64 {
        fn plus(self, other: Self) -> Self {
            self + other
        }

        fn to_f64(self) -> f64 {
            self
        }

        fn write<S: Serializer>(self, out: S) -> Result<S::Ok, S::Error> {
            if self.is_finite() { out.serialize_f64(self) } else { out.collect_str(&self) }
        }

        fn from_integer(integer: i128) -> Self {
            integer as f64
        }

        fn from_float(float: f64) -> Option<Self> {
            Some(float)
        }
    }
}

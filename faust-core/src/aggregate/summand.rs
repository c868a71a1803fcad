//! What can be summed, and the number that its sum is kept in.

use std::fmt;

use serde::Serializer;

/// What can be summed: integers up to 64 bits, and floats. Sealed.
pub trait Summand: Copy + Into<Self::Total> {
    /// What the sum is kept in.
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

    /// The number that a sum is kept in, and how it is written.
    pub trait Total: Copy + fmt::Debug + Default + PartialEq + fmt::Display + std::str::FromStr {
        fn plus(self, other: Self) -> Self;
        fn to_f64(self) -> f64;
        /// As a number of 64 bits; text where there is none.
        fn write<S: Serializer>(self, out: S) -> Result<S::Ok, S::Error>;
        /// A number as a format may hand it over; none if it is of another kind.
        fn from_integer(integer: i128) -> Self;
        fn from_float(float: f64) -> Option<Self>;
    }

    impl Total for i128 {
        fn plus(self, other: Self) -> Self {
            // Of values of 64 bits, no stream is long enough to get here.
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
            // Some writers have no integers; up to 2^53 theirs are exact.
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

//! Sums that no order of their values makes overflow.

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::summand::Summand;
use super::summand::sealed::Total;

/// The sum of the values. In JSON a number.
///
/// **Integers** up to 64 bits are added in 128 bits, so nothing overflows on the way, in whatever order values come.
/// [`value`](Sum::value) saturates where the sum does not fit its type, [`checked`](Sum::checked) says so. JSON has a sum that
/// fits neither an `i64` nor a `u64` as text, so that no reader takes a cut number for it.
///
/// **Floats** are added as `f64`: another order may change the last digits, and so may each reading from JSON, unless
/// `serde_json` has its feature `float_roundtrip`. Whole numbers up to 2^53 are exact. NaN and infinities, which JSON has
/// not, are written as text.
///
/// ```
/// use faust_core::aggregate::Sum;
///
/// let mut number = Sum::<i64>::default();
/// for value in [i64::MAX, 5, -6] {
///     number.add(value);
/// }
/// assert_eq!(number.value(), i64::MAX - 1);
/// assert_eq!(serde_json::to_string(&number)?, "9223372036854775806");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum<T: Summand> {
    total: T::Total,
}

impl<T: Summand> Sum<T> {
    /// Adds a value.
    pub fn add(&mut self, value: T) {
        self.total = self.total.plus(value.into());
    }

    /// The sum; the nearest number that `T` has, if it does not fit.
    pub fn value(&self) -> T {
        T::nearest(self.total)
    }

    /// The sum, unless it is out of the range of `T`. Floats are never.
    pub fn checked(&self) -> Option<T> {
        T::exact(self.total)
    }

    /// Adds the sum of the other.
    pub fn merge(&mut self, other: &Self) {
        self.total = self.total.plus(other.total);
    }

    /// For averages: the sum as a float, rounded once.
    pub(super) fn to_f64(self) -> f64 {
        self.total.to_f64()
    }
}

impl<T: Summand> Serialize for Sum<T> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.total.write(out)
    }
}

impl<'de, T: Summand> Deserialize<'de> for Sum<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        // Not as an `i128`: serde cannot carry one through tagged enums and flattened fields.
        input.deserialize_any(Number(PhantomData)).map(|total| Self { total })
    }
}

/// Reads a total from a number or from text.
struct Number<T>(PhantomData<T>);

impl<T: Total> de::Visitor<'_> for Number<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sum: a number, or text of one")
    }

    fn visit_i64<E>(self, integer: i64) -> Result<T, E> {
        Ok(T::from_integer(integer.into()))
    }

    fn visit_u64<E>(self, integer: u64) -> Result<T, E> {
        Ok(T::from_integer(integer.into()))
    }

    fn visit_f64<E: de::Error>(self, float: f64) -> Result<T, E> {
        T::from_float(float).ok_or_else(|| E::invalid_value(de::Unexpected::Float(float), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

//! Sum that does not overflow, whatever the order of the values.

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::summand::Summand;
use super::summand::sealed::Total;

/// The sum of the values. Its JSON is a number.
///
/// **Integers** up to 64 bits are added in 128 bits, so no intermediate sum overflows, in whatever order the values
/// arrive. If the sum is out of the range of `T`, [`value`](Sum::value) saturates and [`checked`](Sum::checked) returns
/// `None`. A sum that fits neither an `i64` nor a `u64` is written to JSON as a string, so that no reader truncates it.
///
/// **Floats** are added as `f64`: the order of the values may change the last digits, and so may each read from JSON,
/// unless the feature `float_roundtrip` of `serde_json` is enabled. Whole numbers up to 2^53 are exact. NaN and
/// infinities, which JSON does not have, are written as strings.
///
/// ```
/// use faust::aggregate::Sum;
///
/// let mut number = Sum::<i64>::default();
/// for value in [i64::MAX, 5, -6] {
///     number.add(value);
/// }
/// assert_eq!(number.value(), i64::MAX - 1);
/// assert_eq!(faust::serde_json::to_string(&number)?, "9223372036854775806");
/// # Ok::<(), faust::serde_json::Error>(())
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

    /// Returns the sum, saturated at the limits of `T`.
    pub fn value(&self) -> T {
        T::nearest(self.total)
    }

    /// Returns the sum, or `None` if it is out of the range of `T`. A float is never out of range.
    pub fn checked(&self) -> Option<T> {
        T::exact(self.total)
    }

    /// Adds the sum of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.total = self.total.plus(other.total);
    }

    /// Returns the sum as a float, rounded once; used by averages.
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
        // Not `deserialize_i128`: serde does not support `i128` inside tagged enums and flattened fields.
        input.deserialize_any(Number(PhantomData)).map(|total| Self { total })
    }
}

/// Visitor that reads a total from a number or a string.
struct Number<T>(PhantomData<T>);

impl<T: Total> de::Visitor<'_> for Number<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sum: a number or a numeric string")
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

//! The mean of values.

use serde::{Deserialize, Serialize};

use super::count::Count;
use super::sum::Sum;
use super::summand::Summand;

/// The mean of the values. In JSON `{"sum":7,"count":2}`: a mean alone could not take another value.
///
/// The sum is kept as [`Sum`] keeps it, so that of integers is exact until it is divided, as `f64`; that of floats has
/// the rounding of their additions, as any sum of `f64` has.
///
/// ```
/// use faust_core::aggregate::Average;
///
/// let mut number = Average::<i64>::default();
/// assert_eq!(number.value(), None);
/// number.add(3);
/// number.add(4);
/// assert_eq!(number.value(), Some(3.5));
/// assert_eq!(serde_json::to_string(&number)?, r#"{"sum":7,"count":2}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(bound = "T: Summand")]
pub struct Average<T: Summand = f64> {
    sum: Sum<T>,
    count: Count,
}

impl<T: Summand> Average<T> {
    /// Takes a value in.
    pub fn add(&mut self, value: T) {
        self.sum.add(value);
        self.count.observe();
    }

    /// The mean; `None` of no values.
    pub fn value(&self) -> Option<f64> {
        (self.count.value() > 0).then(|| self.sum.to_f64() / self.count.value() as f64)
    }

    /// The sum of the values.
    pub fn sum(&self) -> Sum<T> {
        self.sum
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.count.value()
    }

    /// Takes in what the other has.
    pub fn merge(&mut self, other: &Self) {
        self.sum.merge(&other.sum);
        self.count.merge(&other.count);
    }
}

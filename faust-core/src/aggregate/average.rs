//! Arithmetic mean.

use serde::{Deserialize, Serialize};

use super::count::Count;
use super::sum::Sum;
use super::summand::Summand;

/// The arithmetic mean of the values. Its JSON is `{"sum":7,"count":2}`, because no value can be added to a mean alone.
///
/// The sum is a [`Sum`]: for integers it is exact until it is divided as `f64`; for floats each addition rounds, as in
/// any sum of `f64`.
///
/// ```
/// use faust::aggregate::Average;
///
/// let mut number = Average::<i64>::default();
/// assert_eq!(number.value(), None);
/// number.add(3);
/// number.add(4);
/// assert_eq!(number.value(), Some(3.5));
/// assert_eq!(faust::serde_json::to_string(&number)?, r#"{"sum":7,"count":2}"#);
/// # Ok::<(), faust::serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(bound = "T: Summand")]
pub struct Average<T: Summand = f64> {
    sum: Sum<T>,
    count: Count,
}

impl<T: Summand> Average<T> {
    /// Adds a value.
    pub fn add(&mut self, value: T) {
        self.sum.add(value);
        self.count.observe();
    }

    /// Returns the mean, or `None` if there are no values.
    pub fn value(&self) -> Option<f64> {
        (self.count.value() > 0).then(|| self.sum.to_f64() / self.count.value() as f64)
    }

    /// Returns the sum of the values.
    pub fn sum(&self) -> Sum<T> {
        self.sum
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.count.value()
    }

    /// Adds the values of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.sum.merge(&other.sum);
        self.count.merge(&other.count);
    }
}

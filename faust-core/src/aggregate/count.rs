//! Number of values.

use serde::{Deserialize, Serialize};

/// The number of values. Its JSON is a number.
///
/// The count saturates at `u64::MAX`, which one million values per second reach only after 584,000 years.
///
/// ```
/// use faust::aggregate::Count;
///
/// let mut clicks = Count::default();
/// clicks.observe();
/// clicks.add(2);
/// assert_eq!(clicks.value(), 3);
/// assert_eq!(faust::serde_json::to_string(&clicks)?, "3");
/// # Ok::<(), faust::serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Count(u64);

impl Count {
    /// Counts one value.
    pub fn observe(&mut self) {
        self.add(1);
    }

    /// Counts `many` values at once.
    pub fn add(&mut self, many: u64) {
        self.0 = self.0.saturating_add(many);
    }

    /// Returns the count.
    pub fn value(&self) -> u64 {
        self.0
    }

    /// Adds the count of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.add(other.0);
    }
}

//! How many.

use serde::{Deserialize, Serialize};

/// How many values there were. In JSON a number.
///
/// It saturates at `u64::MAX`, which counting does not reach: a million a second need 584,000 years.
///
/// ```
/// use faust_core::aggregate::Count;
///
/// let mut clicks = Count::default();
/// clicks.observe();
/// clicks.add(2);
/// assert_eq!(clicks.value(), 3);
/// assert_eq!(serde_json::to_string(&clicks)?, "3");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Count(u64);

impl Count {
    /// Counts one.
    pub fn observe(&mut self) {
        self.add(1);
    }

    /// Counts as many at once.
    pub fn add(&mut self, many: u64) {
        self.0 = self.0.saturating_add(many);
    }

    /// How many there were.
    pub fn value(&self) -> u64 {
        self.0
    }

    /// Adds what the other has counted.
    pub fn merge(&mut self, other: &Self) {
        self.add(other.0);
    }
}

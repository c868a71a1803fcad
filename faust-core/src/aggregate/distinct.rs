//! Set of distinct values.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The exact set of distinct values. Its JSON is a sorted list.
///
/// The set grows with the number of distinct values, and a table writes the whole set at each change. Use it for
/// hundreds of values, such as the pages a visitor has seen, not for all visitors of a page.
///
/// ```
/// use faust::aggregate::Distinct;
///
/// let mut pages = Distinct::default();
/// for page in ["/search", "/", "/search"] {
///     pages.add(page);
/// }
/// assert_eq!(pages.len(), 2);
/// assert_eq!(faust::serde_json::to_string(&pages)?, r#"["/","/search"]"#);
/// # Ok::<(), faust::serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent, bound(deserialize = "T: Ord + Deserialize<'de>"))]
pub struct Distinct<T>(BTreeSet<T>);

/// The empty set.
impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord> Distinct<T> {
    /// Adds a value. Returns `true` if it is new.
    pub fn add(&mut self, value: T) -> bool {
        self.0.insert(value)
    }

    /// Returns the distinct values.
    pub fn value(&self) -> &BTreeSet<T> {
        &self.0
    }

    /// Returns the number of distinct values.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns `true` if there are no values.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the values of `other`.
    pub fn merge(&mut self, other: &Self)
    where
        T: Clone,
    {
        self.0.extend(other.0.iter().cloned());
    }
}

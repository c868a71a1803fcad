//! The set of values.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Every distinct value, exactly. In JSON a sorted list.
///
/// It grows with the values, and a table writes it as a whole at each change: it is for hundreds, like the pages that
/// a visitor has seen, not for every visitor of a page.
///
/// ```
/// use faust_core::aggregate::Distinct;
///
/// let mut pages = Distinct::default();
/// for page in ["/search", "/", "/search"] {
///     pages.add(page);
/// }
/// assert_eq!(pages.len(), 2);
/// assert_eq!(serde_json::to_string(&pages)?, r#"["/","/search"]"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent, bound(deserialize = "T: Ord + Deserialize<'de>"))]
pub struct Distinct<T>(BTreeSet<T>);

/// Of no values.
impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord> Distinct<T> {
    /// Takes a value in; true if it is new.
    pub fn add(&mut self, value: T) -> bool {
        self.0.insert(value)
    }

    /// The values.
    pub fn value(&self) -> &BTreeSet<T> {
        &self.0
    }

    /// How many distinct values there were.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there were none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in what the other has.
    pub fn merge(&mut self, other: &Self)
    where
        T: Clone,
    {
        self.0.extend(other.0.iter().cloned());
    }
}

//! Largest distinct values.

use serde::{Deserialize, Deserializer, Serialize};

/// The `N` largest distinct values. Its JSON is a list, largest first.
///
/// Values are compared by `Ord` only. Of equal values the first is kept, so that a message that is processed twice
/// changes nothing. For the pages with the most clicks, use tuples `(clicks, page)`: among pages with equal clicks, the
/// greater page comes first. Floats have no total order: count in cents, or implement `Ord` for a type of your own.
///
/// ```
/// use faust::aggregate::TopN;
///
/// let mut best = TopN::<(u32, &str), 2>::default();
/// for score in [(3, "bob"), (9, "ada"), (3, "eve"), (9, "ada")] {
///     best.add(score);
/// }
/// assert_eq!(best.value(), [(9, "ada"), (3, "eve")]);
/// assert_eq!(faust::serde_json::to_string(&best)?, r#"[[9,"ada"],[3,"eve"]]"#);
/// # Ok::<(), faust::serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TopN<T, const N: usize> {
    /// At most `N` distinct values, largest first.
    largest: Vec<T>,
}

/// The empty list.
impl<T, const N: usize> Default for TopN<T, N> {
    fn default() -> Self {
        const { assert!(N > 0, "a TopN of 0 keeps nothing: make N at least 1") };
        Self { largest: Vec::new() }
    }
}

impl<T: Ord, const N: usize> TopN<T, N> {
    /// Adds a value if it is one of the `N` largest.
    pub fn add(&mut self, value: T) {
        let place = self.largest.binary_search_by(|kept| value.cmp(kept));
        if let Err(place) = place
            && place < N
        {
            self.largest.insert(place, value);
            self.largest.truncate(N);
        }
    }

    /// Returns the largest values, largest first; fewer than `N` if fewer distinct values were added.
    pub fn value(&self) -> &[T] {
        &self.largest
    }

    /// Adds the values of `other`.
    pub fn merge(&mut self, other: &Self)
    where
        T: Clone,
    {
        for value in &other.largest {
            self.add(value.clone());
        }
    }
}

/// Accepts a list in any order, and one that is longer because `N` was greater when it was written.
impl<'de, T: Ord + Deserialize<'de>, const N: usize> Deserialize<'de> for TopN<T, N> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let mut top = Self::default();
        for value in Vec::deserialize(input)? {
            top.add(value);
        }
        Ok(top)
    }
}

//! The largest few.

use serde::{Deserialize, Deserializer, Serialize};

/// The `N` largest distinct values. In JSON a list, largest first.
///
/// Values compare by their order and nothing else: of equal ones the first is kept, so that a message that comes twice
/// changes nothing. For the pages with most clicks take tuples, `(clicks, page)`: ties go to the greater page. Floats
/// have no total order; sum in cents, or give a type of your own an `Ord`.
///
/// ```
/// use faust_core::aggregate::TopN;
///
/// let mut best = TopN::<(u32, &str), 2>::default();
/// for score in [(3, "bob"), (9, "ada"), (3, "eve"), (9, "ada")] {
///     best.add(score);
/// }
/// assert_eq!(best.value(), [(9, "ada"), (3, "eve")]);
/// assert_eq!(serde_json::to_string(&best)?, r#"[[9,"ada"],[3,"eve"]]"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TopN<T, const N: usize> {
    /// Largest first, no two equal, at most `N`.
    largest: Vec<T>,
}

/// Of no values.
impl<T, const N: usize> Default for TopN<T, N> {
    fn default() -> Self {
        const { assert!(N > 0, "a TopN of 0 keeps nothing: make N at least 1") };
        Self { largest: Vec::new() }
    }
}

impl<T: Ord, const N: usize> TopN<T, N> {
    /// Takes a value in, if it is one of the largest.
    pub fn add(&mut self, value: T) {
        let place = self.largest.binary_search_by(|kept| value.cmp(kept));
        if let Err(place) = place
            && place < N
        {
            self.largest.insert(place, value);
            self.largest.truncate(N);
        }
    }

    /// The largest, largest first; fewer than `N` where there were fewer.
    pub fn value(&self) -> &[T] {
        &self.largest
    }

    /// Takes in what the other has.
    pub fn merge(&mut self, other: &Self)
    where
        T: Clone,
    {
        for value in &other.largest {
            self.add(value.clone());
        }
    }
}

/// A list of another order, or a longer one from when `N` was greater, is put right.
impl<'de, T: Ord + Deserialize<'de>, const N: usize> Deserialize<'de> for TopN<T, N> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let mut top = Self::default();
        for value in Vec::deserialize(input)? {
            top.add(value);
        }
        Ok(top)
    }
}

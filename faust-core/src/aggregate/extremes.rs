//! Smallest and largest value.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

macro_rules! extreme {
    ($(#[$doc:meta])* $name:ident, $replaces:path, $which:literal) => {
        $(#[$doc])*
        ///
        /// Of equal values, the first is kept. A value that does not compare with itself, such as NaN, is ignored. JSON
        /// has no infinity: an infinite value is written as `null` and read back as no value, so a table refuses it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name<T>(Option<T>);

        /// No value.
        impl<T> Default for $name<T> {
            fn default() -> Self {
                Self(None)
            }
        }

        impl<T: PartialOrd> $name<T> {
            /// Adds a value.
            pub fn add(&mut self, value: T) {
                let replaces = match &self.0 {
                    Some(kept) => value.partial_cmp(kept) == Some($replaces),
                    None => value.partial_cmp(&value).is_some(),
                };
                if replaces {
                    self.0 = Some(value);
                }
            }

            #[doc = concat!("Returns the ", $which, " value, or `None` if there are no values.")]
            pub fn value(&self) -> Option<&T> {
                self.0.as_ref()
            }

            /// Adds the value of `other`.
            pub fn merge(&mut self, other: &Self)
            where
                T: Clone,
            {
                if let Some(value) = &other.0 {
                    self.add(value.clone());
                }
            }
        }
    };
}

extreme!(
    /// The smallest value. Its JSON is the value, or `null`.
    ///
    /// ```
    /// use faust::aggregate::Min;
    ///
    /// let mut price = Min::default();
    /// for value in [2.5, f64::NAN, 1.5] {
    ///     price.add(value);
    /// }
    /// assert_eq!(price.value(), Some(&1.5));
    /// assert_eq!(faust::serde_json::to_string(&price)?, "1.5");
    /// # Ok::<(), faust::serde_json::Error>(())
    /// ```
    Min, Ordering::Less, "smallest"
);

extreme!(
    /// The largest value. Its JSON is the value, or `null`.
    ///
    /// ```
    /// use faust::aggregate::Max;
    ///
    /// let mut number = Max::default();
    /// assert_eq!(faust::serde_json::to_string(&number)?, "null");
    /// number.add(3);
    /// number.add(7);
    /// assert_eq!(number.value(), Some(&7));
    /// # Ok::<(), faust::serde_json::Error>(())
    /// ```
    Max, Ordering::Greater, "largest"
);

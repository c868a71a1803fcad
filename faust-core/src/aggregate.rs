//! Ready-made table values: what one keeps per key to count, sum, average, or remember extremes.
//!
//! Each begins with `Default`, takes values with `add`, says its result with `value`, and joins another of its kind with
//! `merge`. The result does not depend on the order of the values nor on how they were grouped (sums of floats: but for
//! rounding), so partitions and windows can be merged. In JSON they are what a foreign consumer expects.

mod count;
mod distinct;
mod extremes;
mod summand;
mod sum;
mod average;
mod top;
#[cfg(test)]
mod tests;

pub use average::Average;
pub use count::Count;
pub use distinct::Distinct;
pub use extremes::{Max, Min};
pub use sum::Sum;
pub use summand::Summand;
pub use top::TopN;

//! Ready-made aggregates for use as table values: counts, sums, averages, extremes, top lists and distinct values.
//!
//! An aggregate starts as `Default`, receives values through `add`, returns its result from `value`, and combines with
//! another of its type through `merge`. The result depends neither on the order of the values nor on their grouping
//! (sums of floats: except for rounding), so partitions and windows can be merged. The JSON form is the one that a
//! consumer written in another language expects.

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

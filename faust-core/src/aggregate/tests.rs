//! Laws of aggregates: each equals the plain expression over all values, however they are ordered, grouped and stored.
#![allow(clippy::unwrap_used)] // A failed unwrap is the test's failure.

use std::collections::BTreeSet;
use std::fmt::Debug;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;

/// Law: an aggregate is a commutative monoid that JSON preserves. `values` split anywhere and merged in either order,
/// and `values` in reverse order, have the same aggregate as all of them in order. Merging an empty aggregate changes
/// nothing. An aggregate that was written reads back unchanged.
fn check<A, T>(values: &[T], cut: usize, add: impl Fn(&mut A, T)) -> A
where
    A: Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Merge,
    T: Clone,
{
    let of = |values: &mut dyn Iterator<Item = &T>| {
        let mut aggregate = A::default();
        values.for_each(|value| add(&mut aggregate, value.clone()));
        aggregate
    };
    let merged = |mut left: A, right: &A| {
        left.join(right);
        left
    };
    let whole = of(&mut values.iter());
    let (left, right) = values.split_at(cut.min(values.len()));
    let (left, right) = (of(&mut left.iter()), of(&mut right.iter()));
    assert_eq!(merged(left.clone(), &right), whole);
    assert_eq!(merged(right.clone(), &left), whole);
    assert_eq!(of(&mut values.iter().rev()), whole);
    assert_eq!(merged(whole.clone(), &A::default()), whole);
    assert_eq!(merged(A::default(), &whole), whole);
    // Associativity: three parts, grouped from the right and from the left.
    assert_eq!(merged(whole.clone(), &merged(left.clone(), &right)), merged(merged(whole.clone(), &left), &right));
    // As in a table: written and read back after every value.
    let stored = values.iter().fold(A::default(), |mut aggregate, value| {
        add(&mut aggregate, value.clone());
        serde_json::from_str(&serde_json::to_string(&aggregate).unwrap()).unwrap()
    });
    assert_eq!(stored, whole);
    whole
}

/// Common interface of the aggregates' `merge`, so that one `check` serves all of them.
trait Merge {
    fn join(&mut self, other: &Self);
}

macro_rules! merge {
    ($([$($generics:tt)*] $aggregate:ty;)*) => {$(
        impl<$($generics)*> Merge for $aggregate {
            fn join(&mut self, other: &Self) {
                self.merge(other);
            }
        }
    )*};
}

merge! {
    [] Count;
    [T: Summand] Sum<T>;
    [T: Summand] Average<T>;
    [T: PartialOrd + Clone] Min<T>;
    [T: PartialOrd + Clone] Max<T>;
    [T: Ord + Clone, const N: usize] TopN<T, N>;
    [T: Ord + Clone] Distinct<T>;
}

/// Generates integers, many of them equal and some at the limits.
fn integers() -> impl Strategy<Value = Vec<i64>> {
    let one = prop_oneof![4 => -5..5i64, 2 => any::<i64>(), 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    prop::collection::vec(one, 0..30)
}

proptest! {
    /// Law: a count is the sum of the numbers added, saturated at the largest number.
    #[test]
    fn count_saturates(values in prop::collection::vec(prop_oneof![0..9u64, any::<u64>()], 0..20), cut in 0..20usize) {
        let all = values.iter().map(|n| u128::from(*n)).sum::<u128>();
        let count = check(&values, cut, Count::add);
        prop_assert_eq!(u128::from(count.value()), all.min(u64::MAX.into()));
    }

    /// Law: a sum of integers is exact, and saturates only when it is read.
    #[test]
    fn sum_is_the_sum(values in integers(), cut in 0..30usize) {
        let all = values.iter().map(|n| i128::from(*n)).sum::<i128>();
        let sum = check(&values, cut, Sum::<i64>::add);
        prop_assert_eq!(i128::from(sum.value()), all.clamp(i64::MIN.into(), i64::MAX.into()));
        prop_assert_eq!(sum.checked().map(i128::from), i64::try_from(all).ok().map(i128::from));
        let small: Vec<u8> = values.iter().map(|n| *n as u8).collect();
        let all = small.iter().map(|n| u64::from(*n)).sum::<u64>();
        prop_assert_eq!(u64::from(check(&small, cut, Sum::<u8>::add).value()), all.min(255));
    }

    /// Law: a sum of floats is exact for whole numbers, and otherwise within the rounding of its additions.
    #[test]
    fn sum_of_floats_is_near(values in prop::collection::vec(-1e9..1e9f64, 0..30), cut in 0..30usize) {
        let whole: Vec<f64> = values.iter().map(|x| x.round()).collect();
        prop_assert_eq!(check(&whole, cut, Sum::<f64>::add).value(), whole.iter().sum::<f64>());
        let (left, right) = values.split_at(cut.min(values.len()));
        let of = |values: &[f64]| {
            let mut sum = Sum::<f64>::default();
            values.iter().for_each(|value| sum.add(*value));
            sum
        };
        let mut merged = of(right);
        merged.merge(&of(left));
        let size = values.iter().map(|x| x.abs()).sum::<f64>();
        prop_assert!((merged.value() - of(&values).value()).abs() <= 60.0 * f64::EPSILON * size);
        // Without the feature `float_roundtrip`, serde_json may change the last bit of a float.
        let read: Sum<f64> = serde_json::from_str(&json(&merged)).unwrap();
        prop_assert!((read.value() - merged.value()).abs() <= f64::EPSILON * size);
    }

    /// Law: an average is the exact sum divided by the count.
    #[test]
    fn average_is_the_mean(values in integers(), cut in 0..30usize) {
        let all = values.iter().map(|n| i128::from(*n)).sum::<i128>();
        let average = check(&values, cut, Average::<i64>::add);
        prop_assert_eq!(average.count(), values.len() as u64);
        prop_assert_eq!(average.value(), (!values.is_empty()).then(|| all as f64 / values.len() as f64));
    }

    /// Law: the extremes are the smallest and the largest of the values; NaN is ignored.
    #[test]
    fn extremes_are_the_ends(values in integers(), cut in 0..30usize) {
        prop_assert_eq!(check(&values, cut, Min::add).value().copied(), values.iter().min().copied());
        prop_assert_eq!(check(&values, cut, Max::add).value().copied(), values.iter().max().copied());
        let floats: Vec<f64> = values.iter().map(|n| if n % 5 == 2 { f64::NAN } else { (n % 1_000_000) as f64 }).collect();
        let numbers = || floats.iter().copied().filter(|x| !x.is_nan());
        prop_assert_eq!(check(&floats, cut, Min::add).value().copied(), numbers().reduce(f64::min));
        prop_assert_eq!(check(&floats, cut, Max::add).value().copied(), numbers().reduce(f64::max));
    }

    /// Law: the top list is the end of the sorted distinct values; adding a value twice changes nothing.
    #[test]
    fn top_is_the_end_of_the_sorted(values in integers(), cut in 0..30usize) {
        let mut sorted: Vec<i64> = values.iter().copied().collect::<BTreeSet<_>>().into_iter().rev().collect();
        let all = check(&values, cut, TopN::<i64, 40>::add);
        prop_assert_eq!(all.value(), &sorted[..]);
        sorted.truncate(3);
        let mut top = check(&values, cut, TopN::<i64, 3>::add);
        prop_assert_eq!(top.value(), &sorted[..]);
        top.merge(&top.clone());
        prop_assert_eq!(top.value(), &sorted[..]);
        prop_assert_eq!(check(&values, cut, TopN::<i64, 1>::add).value().first().copied(), values.iter().max().copied());
        // The list may have been written when N was 40, or by another program in any order.
        let text = serde_json::to_string(&values).unwrap();
        prop_assert_eq!(serde_json::from_str::<TopN<i64, 3>>(&text).unwrap(), top);
    }

    /// Law: the distinct values are the set of the values.
    #[test]
    fn distinct_is_the_set(values in integers(), cut in 0..30usize) {
        let set: BTreeSet<i64> = values.iter().copied().collect();
        let distinct = check(&values, cut, |distinct: &mut Distinct<i64>, value| { distinct.add(value); });
        prop_assert_eq!(distinct.value(), &set);
        prop_assert_eq!((distinct.len(), distinct.is_empty()), (set.len(), set.is_empty()));
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

#[test]
fn sums_beyond_64_bits_and_non_finite_floats_are_strings() {
    let sum = |values: &[u64]| {
        let mut sum = Sum::<u64>::default();
        values.iter().for_each(|value| sum.add(*value));
        sum
    };
    assert_eq!(json(&sum(&[u64::MAX])), "18446744073709551615");
    assert_eq!(json(&sum(&[u64::MAX, 1])), "\"18446744073709551616\"");
    assert_eq!((sum(&[u64::MAX, 1]).value(), sum(&[u64::MAX, 1]).checked()), (u64::MAX, None));
    for (value, text) in [(f64::NAN, "\"NaN\""), (f64::INFINITY, "\"inf\""), (-f64::INFINITY, "\"-inf\"")] {
        let mut sum = Sum::<f64>::default();
        sum.add(value);
        assert_eq!(json(&sum), text);
        assert_eq!(json(&serde_json::from_str::<Sum<f64>>(text).unwrap()), text);
    }
    // Writers without an integer type write these.
    assert_eq!(serde_json::from_str::<Sum<i64>>("3.0").unwrap().value(), 3);
    assert_eq!(serde_json::from_str::<Sum<f64>>("3").unwrap().value(), 3.0);
    for text in ["3.5", "1e300", "\"many\"", "null"] {
        let error = serde_json::from_str::<Sum<i64>>(text).unwrap_err().to_string();
        assert!(error.contains("expected a sum: a number"), "{error}");
    }
}

/// Serde buffers the fields of such a type in an internal form that has no 128-bit numbers.
#[test]
fn aggregates_work_in_tagged_enums_and_flattened_fields() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Summary {
        Page {
            #[serde(flatten)]
            number: Average<i64>,
            total: Sum<u64>,
            top: TopN<i64, 2>,
            least: Min<i64>,
        },
    }
    let (mut number, mut total, mut top) = (Average::default(), Sum::default(), TopN::default());
    number.add(-3);
    total.add(u64::MAX);
    total.add(u64::MAX);
    top.add(1);
    let summary = Summary::Page { number, total, top, least: Min::default() };
    let text = json(&summary);
    assert_eq!(text, r#"{"kind":"Page","sum":-3,"count":1,"total":"36893488147419103230","top":[1],"least":null}"#);
    assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
}

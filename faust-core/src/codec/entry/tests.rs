//! Laws of the bytes of table entries: what is accepted is read back as it was, and everything else is refused.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::EntryCoder;
use crate::aggregate::{Average, Max, Min, Sum};
use crate::codec::Role;
use crate::codec::data::Data;
use crate::message::RawKey;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Plain {
    name: Option<String>,
    level: f64,
    high: Max<f64>,
}

/// An enum with a tag: serde buffers its content, and then reads no integers from the keys of maps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Empty,
    Counts { counts: BTreeMap<u32, u32> },
}

/// A value with a rule that only its `Deserialize` checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u8")]
struct Percent(u8);

impl TryFrom<u8> for Percent {
    type Error = String;

    fn try_from(percent: u8) -> Result<Self, String> {
        if percent <= 100 { Ok(Self(percent)) } else { Err(format!("{percent} percent")) }
    }
}

fn coder<T: Data>(codec: Option<&str>) -> EntryCoder<T> {
    EntryCoder::resolve(codec, Role::Value).expect("the type has the codec")
}

/// Returns the value as it is read back, or `None` if it is refused.
fn read_back<T: Data>(coder: &EntryCoder<T>, value: &T) -> Option<T> {
    coder.check(value).ok()?;
    let mut bytes = b"before".to_vec();
    coder.encode(value, &mut bytes).expect("the check has encoded it");
    Some(coder.decode(bytes.strip_prefix(b"before").expect("bytes are appended")).expect("the check has decoded it"))
}

/// Law: a value is read back as it was, and is refused only if it is one of those that JSON cannot express.
fn check<T: Data + Debug + PartialEq>(codecs: &[&str], value: &T, is_refused: bool) {
    for codec in codecs {
        let read = read_back(&coder(Some(codec)), value);
        match read {
            Some(read) => assert!(!is_refused && read == *value, "{codec}: {value:?} is read back as {read:?}"),
            None => assert!(is_refused, "{codec}: {value:?} is refused"),
        }
    }
}

const JSON: [&str; 2] = ["json", "binary|json"];
const ALL: [&str; 4] = ["json", "raw", "binary|json", "raw|binary"];

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![6 => any::<f64>(), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY), 1 => Just(f64::NEG_INFINITY)]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0xFF), Just(0), any::<u8>()], 0..4)
}

fn high(values: &[f64]) -> Max<f64> {
    values.iter().fold(Max::default(), |mut high, value| {
        high.add(*value);
        high
    })
}

proptest! {
    #[test]
    fn simple_values_are_read_back(number in any::<i64>(), wide in any::<i128>(), text in any::<String>(), is_set in any::<bool>(), bytes in bytes()) {
        check(&ALL, &number, false);
        check(&ALL, &wide, false);
        check(&ALL, &text, false);
        check(&ALL, &bytes, false);
        check(&ALL, &bytes::Bytes::from(bytes), false);
        check(&JSON, &(is_set, text, Some(number)), false);
    }

    #[test]
    fn optional_values_are_read_back(number in any::<Option<i64>>(), text in any::<Option<String>>(), bytes in prop::option::of(bytes())) {
        check(&ALL, &number, false);
        check(&ALL, &text, false);
        check(&ALL, &bytes, false);
        check(&ALL, &bytes.clone().map(bytes::Bytes::from), false);
        check(&["raw"], &RawKey(bytes), false);
        check(&JSON, &vec![number], false);
    }

    #[test]
    fn floats_are_read_back_if_they_are_finite(float in float(), other in float(), name in any::<Option<String>>()) {
        check(&JSON, &float, !float.is_finite());
        check(&JSON, &Some(float), !float.is_finite());
        check(&JSON, &vec![(1, other)], !other.is_finite());
        let kept = high(&[float, other]);
        check(&JSON, &kept, kept.value().is_some_and(|value| !value.is_finite()));
        let plain = Plain { name, level: float, high: kept };
        let is_refused = !float.is_finite() || kept.value().is_some_and(|value| !value.is_finite());
        check(&JSON, &plain, is_refused);
    }

    #[test]
    fn nested_options_are_refused_where_json_has_one_null(value in any::<Option<Option<u8>>>(), unit in any::<Option<()>>()) {
        check(&JSON, &value, value == Some(None));
        check(&JSON, &unit, unit.is_some());
        check(&JSON, &vec![value], value == Some(None));
    }

    #[test]
    fn maps_with_integer_keys_are_refused_where_serde_cannot_read_them(counts in prop::collection::btree_map(any::<u32>(), any::<u32>(), 0..3)) {
        check(&JSON, &counts, false);
        check(&JSON, &counts.clone().into_iter().collect::<HashMap<_, _>>(), false);
        let is_refused = !counts.is_empty();
        check(&JSON, &Tagged::Counts { counts }, is_refused);
        check(&JSON, &Tagged::Empty, false);
    }

    #[test]
    fn rules_of_deserialize_are_kept(percent in any::<u8>()) {
        check(&JSON, &Percent(percent), percent > 100);
    }
}

#[test]
fn empty_aggregates_are_read_back() {
    check(&JSON, &Max::<f64>::default(), false);
    check(&JSON, &Min::<String>::default(), false);
    check(&JSON, &Sum::<i64>::default(), false);
    check(&JSON, &Average::<f64>::default(), false);
    let mut sum = Sum::<f64>::default();
    sum.add(f64::INFINITY);
    check(&JSON, &sum, false);
}

#[test]
fn maps_with_other_keys_are_refused() {
    check(&JSON, &BTreeMap::from([((1, 2), 3)]), true);
    check(&JSON, &BTreeMap::from([(Some("a".to_owned()), 3)]), false);
    check(&JSON, &BTreeMap::from([(None::<String>, 3)]), true);
}

#[test]
fn none_and_empty_are_two_keys() {
    for codec in ["raw", "json", "raw|binary"] {
        let coder = coder::<Option<String>>(Some(codec));
        let bytes = [None, Some(String::new())].map(|key| {
            let mut bytes = Vec::new();
            coder.encode_key(&key, &mut bytes).expect("both keys are accepted");
            bytes
        });
        assert_ne!(bytes[0], bytes[1], "{codec}");
        assert_eq!(coder.none().as_ref(), Some(&bytes[0]));
        assert_eq!(bytes.map(|bytes| coder.decode(&bytes).ok()), [Some(None), Some(Some(String::new()))]);
    }
}

/// Earlier releases wrote `None` as no bytes; they could not read it again.
#[test]
fn an_entry_without_bytes_is_none() {
    assert_eq!(coder::<Option<i64>>(None).decode(b"").ok(), Some(None));
    assert_eq!(coder::<Max<f64>>(None).decode(b"").ok(), Some(Max::default()));
    assert!(coder::<i64>(None).decode(b"").is_err());
}

#[test]
fn a_key_that_cannot_be_told_from_another_is_refused() {
    let mut out = b"kept".to_vec();
    assert!(coder::<Option<f64>>(None).encode_key(&Some(f64::NAN), &mut out).is_err());
    assert!(coder::<f64>(None).encode_key(&f64::INFINITY, &mut out).is_err());
    assert_eq!(out, b"kept");
    let percent = coder::<Percent>(None);
    assert!(percent.is_checked() && percent.check_key(b"101").is_err() && percent.check_key(b"100").is_ok());
}

#[test]
fn a_type_that_panics_is_refused() {
    #[derive(Deserialize)]
    struct Explosive;

    impl Serialize for Explosive {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("it explodes")
        }
    }

    let refusal = coder::<Explosive>(None).check(&Explosive).map_err(|why| why.to_string());
    assert_eq!(refusal, Err("its type panicked: it explodes".to_owned()));
}

//! Tests of `#[record]`: decoding, validation and the metadata that the engine reads.
#![allow(clippy::unwrap_used)] // A failed unwrap is the test's failure.

use std::collections::BTreeMap;
use std::fmt::Debug;

use faust_macros::record;

use crate::codec::data::Data;
use crate::codec::record::*;
use crate::codec::{Coder, Role};
use crate::message::RawKey;
use crate::time::Timestamp;

/// A click on a page.
///
/// The second paragraph is not help.
#[record(crate = crate, key = uri, timestamp = at)]
#[derive(Clone, Debug, PartialEq)]
struct Click {
    /// Address of the page.
    uri: String,
    #[field(range = 0..=100)]
    number: i64,
    #[field(default = "none", len = 1..=4)]
    tag: String,
    #[field(check = even)]
    parity: Option<u8>,
    #[field(default)]
    at: f64,
    #[serde(rename = "type")]
    kind: Option<Kind>,
}

#[record(crate = crate, name = "record_tests.Kind")]
#[derive(Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// A press of the left button.
    LeftButton,
    Wheel {
        #[field(range = -5..=5)]
        turns: i32,
    },
    Key(#[field(len = ..2)] String),
}

#[record(crate = crate)]
#[derive(Clone, Debug, PartialEq)]
struct Pages {
    clicks: Vec<Click>,
    by_name: Option<BTreeMap<String, Click>>,
}

#[record(crate = crate, serializer = "binary|json", key = 0)]
#[derive(Clone, Debug, PartialEq)]
struct Visit(#[field(range = 1..)] u32, String);

fn even(number: &u8) -> Result<(), String> {
    if number.is_multiple_of(2) { Ok(()) } else { Err(format!("must be even, got {number}")) }
}

fn decode<T: Data>(json: &str) -> Result<T, String> {
    let coder = Coder::resolve(None, Role::Value).unwrap();
    coder.decode(Some(json.as_bytes())).map_err(|error| error.to_string())
}

#[test]
fn an_invalid_value_is_rejected_with_its_path() {
    fn check(json: &str, expected: &str) {
        assert_eq!(decode::<Pages>(json).unwrap_err(), expected, "{json}");
    }
    check(
        r#"{"clicks":[{"uri":"/","number":1},{"uri":"/","number":200}]}"#,
        "clicks[1].number: must be in 0..=100, got 200",
    );
    check(r#"{"clicks":[{"uri":"/","number":1,"tag":""}]}"#, "clicks[0].tag: must have a length in 1..=4, got 0");
    check(r#"{"clicks":[{"uri":"/","number":1,"tag":"ääääö"}]}"#, "clicks[0].tag: must have a length in 1..=4, got 5");
    check(r#"{"clicks":[{"uri":"/","number":1,"parity":3}]}"#, "clicks[0].parity: must be even, got 3");
    check(r#"{"clicks":[],"by_name":{"x":{"uri":"/","number":-1}}}"#, "by_name.x.number: must be in 0..=100, got -1");
    check(
        r#"{"clicks":[{"uri":"/","number":1,"type":{"wheel":{"turns":6}}}]}"#,
        "clicks[0].type.wheel.turns: must be in -5..=5, got 6",
    );
    check(
        r#"{"clicks":[{"uri":"/","number":1,"type":{"key":"ab"}}]}"#,
        "clicks[0].type.key: must have a length in ..2, got 2",
    );
    check(r#"{"clicks":[{"uri":"/","number":"x"}]}"#, r#"clicks[0].number: expected i64, found string "x""#);
    check(r#"{"clicks":[{"number":1}]}"#, "clicks[0].uri: missing field");
    check(
        r#"{"clicks":[{"uri":"/","number":1,"type":"right"}]}"#,
        "clicks[0].type: unknown variant `right`, expected one of `left_button`, `wheel`, `key`",
    );
}

#[test]
fn a_check_may_return_a_bool() {
    /// Pages by their titles.
    #[record(crate = crate)]
    struct Titled {
        #[field(check = is_path)]
        page: Option<String>,
    }
    fn is_path(text: &str) -> bool {
        text.starts_with('/')
    }
    assert_eq!(decode::<Titled>(r#"{"page":"/a"}"#).unwrap().page.as_deref(), Some("/a"));
    assert_eq!(decode::<Titled>(r#"{"page":"a"}"#).unwrap_err(), "page: must pass the check `is_path`");
}

#[test]
fn missing_optional_fields_have_their_defaults() {
    let click: Click = decode(r#"{"uri":"/","number":1,"__faust":{"ns":"app.Click"}}"#).unwrap();
    let expected = Click { uri: "/".into(), number: 1, tag: "none".into(), parity: None, at: 0.0, kind: None };
    assert_eq!(click, expected);
    assert_eq!(decode::<Click>(r#"{"uri":"/","number":1,"parity":null}"#).unwrap(), expected);
}

#[test]
fn the_model_describes_the_declaration() {
    let model = Click::MODEL;
    assert_eq!((model.name, model.help, Click::NAME), ("Click", "A click on a page.", "Click"));
    assert!(model.file.ends_with("record/model/tests.rs") && model.line > 0);
    let fields: Vec<_> = model.fields.iter().map(|f| (f.name, f.type_name, f.required, f.default, f.rule)).collect();
    assert_eq!(
        fields,
        [
            ("uri", "String", true, None, None),
            ("number", "i64", true, None, Some("in 0..=100")),
            ("tag", "String", false, Some("\"none\""), Some("length in 1..=4")),
            ("parity", "Option<u8>", false, None, Some("checked by even")),
            ("at", "f64", false, Some("the type's default"), None),
            ("type", "Option<Kind>", false, None, None),
        ]
    );
    assert_eq!(model.fields[0].help, "Address of the page.");
    let variants: Vec<_> = Kind::MODEL.variants.iter().map(|v| (v.name, v.help, v.fields.len())).collect();
    assert_eq!(variants, [("left_button", "A press of the left button.", 0), ("wheel", "", 1), ("key", "", 1)]);
}

#[test]
fn models_are_found_and_sorted() {
    let names: Vec<_> = models().iter().map(|model| model.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    for name in ["Click", "Pages", "Visit", "record_tests.Kind"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert_eq!(model_of::<Option<Click>>().unwrap().name, "Click");
    assert!(model_of::<String>().is_none() && model_of::<Vec<Click>>().is_none());
}

#[test]
fn the_serializer_of_a_record_is_its_default_codec() {
    let visit = Visit(7, "x".into());
    fn check<T: Data + PartialEq + Debug>(value: T) {
        let coder = Coder::<T>::resolve(None, Role::Value).unwrap();
        let mut out = Vec::new();
        assert!(coder.encode(&value, &mut out).unwrap());
        assert_eq!((coder.name(), out.as_slice()), ("binary|json", b"WzcsIngiXQ==".as_slice()));
        assert_eq!(coder.decode(Some(&out)).unwrap(), value);
    }
    check(visit.clone());
    check(Some(visit));
    assert_eq!(Coder::<Visit>::resolve(Some("json"), Role::Value).unwrap().name(), "json");
}

#[test]
fn time_and_key_are_read_from_their_fields() {
    let click: Click = decode(r#"{"uri":"/home","number":1,"at":1.5}"#).unwrap();
    let time = timestamp_of::<Click>().unwrap();
    assert_eq!(time(&click).unwrap(), Some(Timestamp(1500)));
    assert_eq!(timestamp_of::<Option<Click>>().unwrap()(&Some(click.clone())).unwrap(), Some(Timestamp(1500)));
    assert_eq!(time(&None::<Click>).unwrap(), None);
    let error = time(&Click { at: f64::NAN, ..click.clone() }).unwrap_err();
    assert!(error.to_string().starts_with("at: expected seconds since 1970"), "{error}");
    assert!(timestamp_of::<Visit>().is_none() && timestamp_of::<u8>().is_none());

    fn key<T: Data>(record: &T) -> RawKey {
        let mut out = Vec::new();
        let present = key_of::<T>().unwrap()(record, &mut out).unwrap();
        RawKey(present.then_some(out))
    }
    assert_eq!(key(&click), RawKey(Some(b"/home".to_vec())));
    assert_eq!(key(&Visit(12, String::new())), RawKey(Some(b"12".to_vec())));
    assert_eq!(key(&None::<Click>), RawKey::NONE);
    assert!(key_of::<Pages>().is_none());
}

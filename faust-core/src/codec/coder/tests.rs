//! Laws of codecs: an encoded value decodes to itself, and the error for invalid bytes names the place.
#![allow(clippy::unwrap_used)] // A failed unwrap is the test's failure.

use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::codec::data::{Data, Role};
use crate::codec::registry::{Codec, CodecDef};
use crate::message::RawKey;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Page {
    uri: String,
    clicks: Vec<Click>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Click {
    number: i64,
}

fn coder<T: Data>(codec: Option<&str>, role: Role) -> Coder<T> {
    Coder::resolve(codec, role).unwrap()
}

fn encoded<T: Data>(coder: &Coder<T>, value: &T) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    coder.encode(value, &mut out).unwrap().then_some(out)
}

#[test]
fn the_type_determines_the_default_codec() {
    fn check<T: Data>(key: &str, value: &str) {
        let name = |role| coder::<T>(None, role).name().to_owned();
        assert_eq!(
            (name(Role::Key), name(Role::Value)),
            (key.to_owned(), value.to_owned()),
            "{}",
            std::any::type_name::<T>()
        );
    }
    check::<String>("raw", "raw");
    check::<Option<String>>("raw", "raw");
    check::<Vec<u8>>("raw", "raw");
    check::<Bytes>("raw", "raw");
    check::<RawKey>("raw", "raw");
    check::<i64>("raw", "json");
    check::<Option<u8>>("raw", "json");
    check::<Page>("json", "json");
    check::<serde_json::Value>("json", "json");
    check::<Vec<String>>("json", "json");
}

#[test]
fn invalid_json_is_reported_with_its_path() {
    fn check(json: &str, expected: &str) {
        let error = coder::<Page>(None, Role::Value).decode(Some(json.as_bytes())).unwrap_err();
        assert_eq!(error.to_string(), expected, "{json}");
    }
    check(
        r#"{"uri":"/","clicks":[{"number":1},{"number":"x"}]}"#,
        r#"clicks[1].number: expected i64, found string "x""#,
    );
    check(
        r#"{"uri":"/","clicks":[{"number":"a, expected b"}]}"#,
        r#"clicks[0].number: expected i64, found string "a, expected b""#,
    );
    check(r#"{"uri":"/","clicks":[{}]}"#, "clicks[0].number: missing field");
    check(r#"{"uri":"/"}"#, "clicks: missing field");
    check("[1, 2]", "[0]: expected a string, found integer `1`");
    check("7", "expected struct Page, found integer `7`");
    check("null", "expected struct Page, found null");
    check("{\"uri\": oops}", "line 1 column 9: expected value");
    check("", "line 1 column 0: EOF while parsing a value");
    check(r#"{"uri":"/","clicks":[]} x"#, "line 1 column 25: trailing characters");
    let error = coder::<Page>(None, Role::Value).decode(Some(b"{\"uri\":\"\xff\"}")).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.path()), ("invalid utf-8 at byte 8", ""));
}

#[test]
fn unknown_fields_are_ignored() {
    let json = br#"{"number":3,"__faust":{"ns":"app.Click"}}"#;
    assert_eq!(coder::<Click>(None, Role::Value).decode(Some(json)).unwrap(), Click { number: 3 });
}

#[test]
fn absent_values_are_none_for_optional_types_and_errors_otherwise() {
    fn both_ways<T: Data + PartialEq + fmt::Debug>(none: T, role: Role) {
        let coder = coder::<T>(None, role);
        assert_eq!(encoded(&coder, &none), None);
        assert_eq!(coder.decode(None).unwrap(), none);
    }
    both_ways(RawKey::NONE, Role::Key);
    both_ways(None::<Click>, Role::Value);
    both_ways(None::<String>, Role::Key);
    both_ways(None::<i64>, Role::Value);
    let error = coder::<Click>(None, Role::Value).decode(None).unwrap_err();
    assert_eq!(error.to_string(), "the value is null (a tombstone); use `Option<T>` as the value type to receive it");
    assert!(coder::<String>(None, Role::Key).decode(None).is_err());
}

#[test]
fn null_of_a_type_that_is_not_optional_is_sent_as_json() {
    assert_eq!(encoded(&coder(None, Role::Value), &serde_json::Value::Null).unwrap(), b"null");
    assert_eq!(encoded(&coder(None, Role::Value), &()).unwrap(), b"null");
}

#[test]
fn the_serializer_may_be_at_either_end_of_a_chain() {
    let click = Click { number: 7 };
    for chain in ["binary|json", "json|binary", "binary", " binary | json "] {
        let coder = coder::<Click>(Some(chain), Role::Value);
        assert_eq!(encoded(&coder, &click).unwrap(), b"eyJudW1iZXIiOjd9", "{chain}");
        assert_eq!(coder.decode(Some(b"eyJudW1iZXIiOjd9")).unwrap(), click, "{chain}");
    }
    assert_eq!(encoded(&coder(Some("binary"), Role::Value), &"hi".to_owned()).unwrap(), b"aGk=");
    let error = coder::<Click>(Some("binary"), Role::Value).decode(Some(b"{}")).unwrap_err();
    assert_eq!(error.to_string(), "codec `binary`: invalid base64: invalid symbol 123, offset 0.");
}

/// A codec that prepends a letter to the bytes, so that the order of a chain is visible.
struct Mark(u8);

impl Codec for Mark {
    fn encode(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, crate::error::BoxError> {
        bytes.insert(0, self.0);
        Ok(bytes)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, crate::error::BoxError> {
        match bytes.split_first() {
            Some((mark, rest)) if *mark == self.0 => Ok(rest.to_vec()),
            _ => Err(format!("the mark `{}` is missing", char::from(self.0)).into()),
        }
    }
}

inventory::submit! { CodecDef { name: "mark_a", codec: &Mark(b'a'), file: file!(), line: line!() } }
inventory::submit! { CodecDef { name: "mark_b", codec: &Mark(b'b'), file: file!(), line: line!() } }

#[test]
fn transforms_are_applied_in_order_of_distance_from_the_serializer() {
    fn check(chain: &str, expected: &str) {
        let coder = coder::<u8>(Some(chain), Role::Value);
        let bytes = encoded(&coder, &1).unwrap();
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), expected, "{chain}");
        assert_eq!(coder.decode(Some(&bytes)).unwrap(), 1, "{chain}");
    }
    check("mark_a|mark_b|json", "ab1");
    check("json|mark_b|mark_a", "ab1");
    check("mark_b|mark_a", "ab1");
    check("raw|mark_a", "a1");
}

#[test]
fn errors_of_malformed_chains_name_the_fix() {
    fn check<T: Data>(chain: &str, expected: &str) {
        assert_eq!(Coder::<T>::resolve(Some(chain), Role::Value).unwrap_err().to_string(), expected);
    }
    check::<Click>("json|raw", "codec `json|raw`: it names two serializers; keep either `json` or `raw`");
    check::<Click>(
        "mark_a|json|mark_b",
        "codec `mark_a|json|mark_b`: the serializer is between two codecs; put it first or last",
    );
    check::<Click>(
        "binary|",
        "codec `binary|`: a name is empty; write names with `|` between them, like `binary|json`",
    );
    check::<Vec<Click>>(
        "raw",
        "codec `raw` does not support `Vec<Click>`, only `String`, `Vec<u8>`, `Bytes` and integers; use `json`",
    );
    check::<Click>(
        "binry|json",
        "unknown codec `binry`: the codecs are `binary`, `json`, `mark_a`, `mark_b`, `raw`; did you mean `binary`?",
    );
}

#[test]
fn a_failed_encode_leaves_the_output_unchanged() {
    let map = HashMap::from([(Some(1), 1), (None, 2)]);
    let mut out = b"before".to_vec();
    let error = coder(None, Role::Value).encode(&map, &mut out).unwrap_err();
    assert_eq!((error.to_string().as_str(), out.as_slice()), ("key must be a string", b"before".as_slice()));
}

proptest! {
    #[test]
    fn every_chain_round_trips(number: i64, uri: String, chain in "(binary\\|){0,3}(json|binary)") {
        let page = Page { uri, clicks: vec![Click { number }] };
        let coder = coder(Some(&chain), Role::Value);
        prop_assert_eq!(coder.decode(encoded(&coder, &page).as_deref()).unwrap(), page);
    }

    #[test]
    fn raw_integers_are_their_decimal_text(a: i64, b: u64, c: i8, d: u128) {
        fn check<T: Data + PartialEq + fmt::Debug + fmt::Display>(value: T) {
            let coder = coder::<T>(None, Role::Key);
            let bytes = encoded(&coder, &value).unwrap();
            assert_eq!(bytes, value.to_string().into_bytes());
            assert_eq!(coder.decode(Some(&bytes)).unwrap(), value);
        }
        check(a);
        check(b);
        check(c);
        check(d);
    }

    #[test]
    fn raw_text_and_bytes_are_themselves(text: String, bytes: Vec<u8>) {
        prop_assert_eq!(encoded(&coder(None, Role::Value), &text).unwrap(), text.as_bytes());
        prop_assert_eq!(coder::<String>(None, Role::Value).decode(Some(text.as_bytes())).unwrap(), text);
        prop_assert_eq!(coder::<Vec<u8>>(None, Role::Value).decode(Some(&bytes)).unwrap(), bytes.clone());
        prop_assert_eq!(coder::<RawKey>(Some("binary"), Role::Key).decode(Some(&bytes)).unwrap(), RawKey(Some(bytes)));
    }

    #[test]
    fn any_bytes_decode_or_fail_with_an_error(bytes: Vec<u8>) {
        if let Err(error) = coder::<Page>(Some("binary|json"), Role::Value).decode(Some(&bytes)) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

proptest::proptest! {
    /// Law: a borrowed key is encoded as its owner is, with every codec.
    #[test]
    fn a_borrowed_key_is_encoded_as_its_owner(text in ".*", bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), number in proptest::prelude::any::<i64>()) {
        for codec in [None, Some("raw"), Some("json"), Some("binary|raw"), Some("json|binary")] {
            same_bytes::<String, str>(codec, &text);
            same_bytes::<String, String>(codec, &text);
            same_bytes::<Vec<u8>, [u8]>(codec, &bytes);
            same_bytes::<Vec<u8>, Vec<u8>>(codec, &bytes);
            same_bytes::<bytes::Bytes, [u8]>(codec, &bytes.clone().into());
            same_bytes::<i64, i64>(codec, &number);
            same_bytes::<Option<String>, Option<String>>(codec, &Some(text.clone()));
            same_bytes::<Option<String>, Option<String>>(codec, &None);
            same_bytes::<crate::message::RawKey, crate::message::RawKey>(codec, &crate::message::RawKey(Some(bytes.clone())));
        }
    }
}

fn same_bytes<K: Data + std::borrow::Borrow<Q>, Q: KeyRef + ?Sized>(codec: Option<&str>, key: &K) {
    let coder: Coder<K> = Coder::resolve(codec, Role::Key).unwrap();
    let (mut owned, mut borrowed) = (b"before".to_vec(), b"before".to_vec());
    let present = coder.encode(key, &mut owned).unwrap();
    assert_eq!(coder.encode_key(key.borrow(), &mut borrowed).unwrap(), present, "{codec:?}");
    assert_eq!(owned, borrowed, "{codec:?}");
}

#[test]
fn a_key_that_raw_does_not_support_is_an_error() {
    let error = super::super::plain::append(&1.5f64, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("text, bytes and integers only"), "{error}");
}

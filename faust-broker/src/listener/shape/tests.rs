//! The shapes against the codec itself: what it encodes, in every version, must be walked to its last byte.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;

use super::*;
use crate::listener::api::versions::{SUPPORTED, range};
use crate::listener::samples::samples;

#[test]
fn every_request_is_walked_to_its_end() {
    for sample in samples(range, 7, Bytes::from_static(b"bytes")) {
        let (api, version, body) = (sample.api, sample.version, &sample.body);
        let shape = shape_of(api).unwrap();
        let mut walk = Walk { rest: body, version, is_flexible: version >= shape.flexible_from, elements: 0 };
        assert_eq!(walk.fields(shape.fields), Ok(()), "{api:?} version {version}");
        assert_eq!(walk.rest.len(), 0, "{api:?} version {version} has bytes left");
        for cut in 0..body.len() {
            assert!(check(api, version, &body[..cut]).is_err(), "{api:?} version {version} cut at {cut}");
        }
    }
}

#[test]
fn every_supported_request_has_a_shape() {
    for api in SUPPORTED {
        assert!(shape_of(*api).is_some(), "{api:?}");
        let sampled = samples(range, 7, Bytes::new()).iter().any(|sample| sample.api == *api);
        assert!(sampled, "{api:?} has no sample");
    }
}

#[test]
fn a_length_beyond_the_end_is_refused() {
    // Metadata version 1: an array of 2^31 - 1 topics in four bytes.
    assert!(check(ApiKey::Metadata, 1, &[0x7f, 0xff, 0xff, 0xff]).is_err());
    // Metadata version 12: the same as a varint.
    assert!(check(ApiKey::Metadata, 12, &[0xff, 0xff, 0xff, 0xff, 0x0f]).is_err());
    // A million topics that are really there, two bytes each.
    let mut many = 1_000_000i32.to_be_bytes().to_vec();
    many.resize(4 + 2_000_000, 0);
    assert_eq!(check(ApiKey::Metadata, 1, &many), Err("too many elements"));
}

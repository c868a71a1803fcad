//! Checks the shapes against the codec: every encoded request, in every version, is walked to its last byte.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;

use super::*;
use crate::listener::api::versions::{SUPPORTED, range};
use crate::listener::samples::samples;

#[test]
fn every_request_is_walked_to_its_end() {
    for sample in samples(range, 7, Bytes::from_static(b"bytes")) {
        let (api, version, frame) = (sample.api, sample.version, sample.frame());
        let name = format!("{api:?} version {version}");
        assert_eq!(check(api, version, &frame), Ok(()), "{name}");
        for cut in 0..frame.len() {
            assert!(check(api, version, &frame[..cut]).is_err(), "{name} is walked to {cut} of {}", frame.len());
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

/// Builds a request from a header without a client id and a body.
fn request(is_flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 3, 0, 0, 0, 0, 0, 0, 255, 255];
    frame.extend(is_flexible.then_some(0));
    frame.extend_from_slice(body);
    frame
}

#[test]
fn a_length_beyond_the_end_is_rejected() {
    // An array of 2^31 - 1 topics in four bytes, and the same as a varint.
    assert!(check(ApiKey::Metadata, 1, &request(false, &[0x7f, 0xff, 0xff, 0xff])).is_err());
    assert!(check(ApiKey::Metadata, 12, &request(true, &[0xff, 0xff, 0xff, 0xff, 0x0f])).is_err());
    // A million topics that are present, two bytes each.
    let mut many = 1_000_000i32.to_be_bytes().to_vec();
    many.resize(4 + 2_000_000, 0);
    assert_eq!(check(ApiKey::Metadata, 1, &request(false, &many)), Err("too many elements"));
}

#[test]
fn fields_that_the_codec_reads_differently_are_rejected() {
    // No topics, three flags, and a varint that is 1 in its lower 32 bits.
    let wide = [0, 0, 0, 0, 0x81, 0x80, 0x80, 0x80, 0x10];
    assert_eq!(check(ApiKey::Metadata, 9, &request(true, &wide)), Err("a varint exceeds 32 bits"));
    // A fetch without topics, and a field with tag 1 and size 0 where the codec reads a struct.
    let mut fetch = vec![0; 4 + 4 + 4 + 1 + 4 + 4];
    fetch.extend_from_slice(&[1, 1, 1, 1, 1, 0]);
    assert_eq!(check(ApiKey::Fetch, 16, &request(true, &fetch)), Err("a tagged field that only replicas send"));
}

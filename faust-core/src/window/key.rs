//! Keys of a windowed table: ordered by time in its store, and in the format of Kafka Streams in its changelog.

use crate::time::Timestamp;

/// Number of bytes of the window's start in both forms.
const START: usize = size_of::<i64>();

/// Appends the store key: the start, then the key. Store keys are ordered by start, and by key within one start, so
/// that expired windows form one range at the beginning.
pub fn store_key(start: Timestamp, key: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&flipped(start.0).to_be_bytes());
    out.extend_from_slice(key);
}

/// Splits a store key into the start and the key. Returns `None` if it is too short.
pub fn split_store_key(stored: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (start, key) = stored.split_first_chunk::<START>()?;
    Some((Timestamp(flipped(i64::from_be_bytes(*start))), key))
}

/// Appends the changelog key: the key, then the start as a big-endian `i64`. The `TimeWindowedSerializer` of Kafka
/// Streams writes the same format, so its `TimeWindowedDeserializer`, configured with the window size, can read it.
pub fn changelog_key(key: &[u8], start: Timestamp, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    out.extend_from_slice(&start.0.to_be_bytes());
}

/// Splits a changelog key into the key and the start. Returns `None` if it is too short.
pub fn split_changelog_key(logged: &[u8]) -> Option<(&[u8], Timestamp)> {
    let (key, start) = logged.split_last_chunk::<START>()?;
    Some((key, Timestamp(i64::from_be_bytes(*start))))
}

/// Flips the sign bit, so that times before 1970 sort before later ones. The function is its own inverse.
fn flipped(start: i64) -> i64 {
    start ^ i64::MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored((start, key): &(i64, Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        store_key(Timestamp(*start), key, &mut out);
        out
    }

    proptest! {
        /// Law: store keys sort like (start, key).
        #[test]
        fn store_keys_sort_by_start_and_key(a in any::<(i64, Vec<u8>)>(), b in any::<(i64, Vec<u8>)>(), near in -2i64..=2) {
            prop_assert_eq!(stored(&a).cmp(&stored(&b)), a.cmp(&b));
            // Adjacent starts, and starts around the epoch, where the sign changes.
            let c = (near, b.1.clone());
            let d = (a.0.saturating_add(near), b.1);
            prop_assert_eq!(stored(&a).cmp(&stored(&c)), a.cmp(&c));
            prop_assert_eq!(stored(&a).cmp(&stored(&d)), a.cmp(&d));
        }

        /// Law: splitting a key returns its parts, in both forms.
        #[test]
        fn keys_round_trip(start in any::<i64>(), key in any::<Vec<u8>>()) {
            let stored = stored(&(start, key.clone()));
            prop_assert_eq!(split_store_key(&stored), Some((Timestamp(start), &key[..])));
            let mut logged = Vec::new();
            changelog_key(&key, Timestamp(start), &mut logged);
            prop_assert_eq!(split_changelog_key(&logged), Some((&key[..], Timestamp(start))));
        }
    }

    #[test]
    fn keys_have_the_documented_layout() {
        let mut logged = Vec::new();
        changelog_key(b"uri", Timestamp(0x0102_0304_0506), &mut logged);
        assert_eq!(logged, b"uri\x00\x00\x01\x02\x03\x04\x05\x06");
        assert_eq!(stored(&(-1, b"k".to_vec())), b"\x7f\xff\xff\xff\xff\xff\xff\xffk");
        assert_eq!(stored(&(1, Vec::new())), b"\x80\x00\x00\x00\x00\x00\x00\x01");
    }

    #[test]
    fn short_keys_are_rejected() {
        for bytes in [&b""[..], b"1234567"] {
            assert_eq!(split_store_key(bytes), None);
            assert_eq!(split_changelog_key(bytes), None);
        }
    }
}

//! Examples of the check: which batches a topic accepts, and in which form it stores them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::core::compression::Compression;
use crate::core::config::TopicConfig;
use crate::core::records::{self, Producer, Record};

const CODECS: &[Compression] = if cfg!(feature = "compression") { &Compression::ALL } else { &[Compression::None] };

fn rules(configs: &[(&str, &str)]) -> AppendRules {
    let configs: BTreeMap<_, _> =
        configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    TopicConfig::new(&configs).append
}

fn record(key: Option<&'static str>, timestamp: i64) -> Record {
    let key = key.map(|key| Bytes::from_static(key.as_bytes()));
    Record { timestamp, key, value: Some(Bytes::from_static(b"value")), ..Record::default() }
}

fn batch(records: &[Record], codec: Compression) -> Batch {
    Batch::parse(records::encode(records, Producer::NONE).unwrap()).unwrap().recompressed(codec).unwrap()
}

/// Returns the batch with other bytes from position `at` on, and a correct checksum.
fn patched(batch: &Batch, at: usize, patch: &[u8]) -> Batch {
    let mut bytes = batch.bytes().to_vec();
    bytes[at..at + patch.len()].copy_from_slice(patch);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Batch::parse(bytes.into()).unwrap()
}

#[test]
fn a_number_of_records_that_overflows_is_refused() {
    let mut bytes = records::encode(&[record(None, 0)], Producer::NONE).unwrap().to_vec();
    bytes[23..27].copy_from_slice(&i32::MAX.to_be_bytes());
    bytes[57..61].copy_from_slice(&i32::MIN.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(Batch::parse(bytes.into()).unwrap_err(), ErrorCode::InvalidRecord);
}

#[test]
fn the_highest_offset_in_a_batch_does_not_overflow() {
    let sent = batch(&[record(None, 0)], Compression::None);
    assert!(patched(&sent, 0, &i64::MAX.to_be_bytes()).check(&rules(&[]), 0).is_ok(), "the broker sets the offset");
}

#[test]
fn every_record_without_a_key_is_named() {
    let rules = rules(&[("cleanup.policy", "compact")]);
    let records = [record(Some("a"), 0), record(None, 0), record(Some("b"), 0), record(None, 0)];
    for codec in CODECS {
        let rejection = batch(&records, *codec).check(&rules, 0).unwrap_err();
        assert_eq!(rejection.code, ErrorCode::InvalidRecord);
        assert_eq!(rejection.records.iter().map(|record| record.index).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(
            rejection.message,
            "the batch has invalid records (2); the first is record 1: it has no key, but the topic is compacted; set a key"
        );
        assert!(batch(&records[..1], *codec).check(&rules, 0).is_ok());
    }
}

#[test]
fn timestamps_outside_the_limits_are_named_in_compressed_batches_too() {
    let limits = [("message.timestamp.before.max.ms", "10"), ("message.timestamp.after.max.ms", "5")];
    // The highest timestamp and that of the first record are within the limits.
    let records = [record(None, 100), record(None, 89), record(None, 105), record(None, -1)];
    for codec in CODECS {
        let rejection = batch(&records, *codec).check(&rules(&limits), 100).unwrap_err();
        assert_eq!(rejection.code, ErrorCode::InvalidTimestamp);
        assert_eq!(rejection.records.len(), 1);
        assert_eq!(rejection.records[0].index, 1);
        assert!(rejection.records[0].message.contains("89 is outside 90 to 105"), "{rejection}");
        let append_time = [limits[0], limits[1], ("message.timestamp.type", "LogAppendTime")];
        assert!(batch(&records, *codec).check(&rules(&append_time), 100).is_ok());
    }
}

#[test]
fn at_most_a_thousand_records_are_named() {
    let records = vec![record(None, 0); 1500];
    let rejection = batch(&records, CODECS[CODECS.len() - 1]).check(&rules(&[("cleanup.policy", "compact")]), 0);
    let rejection = rejection.unwrap_err();
    assert_eq!(rejection.records.len(), 1000);
    assert!(rejection.message.contains("invalid records (1500)"), "{rejection}");
}

#[test]
fn a_batch_is_stored_with_the_codec_of_its_topic() {
    let records = vec![record(Some("key"), 7); 100];
    for (name, stored) in [
        ("producer", None),
        ("uncompressed", Some(Compression::None)),
        ("gzip", Some(Compression::Gzip)),
        ("snappy", Some(Compression::Snappy)),
        ("lz4", Some(Compression::Lz4)),
        ("zstd", Some(Compression::Zstd)),
    ] {
        let rules = rules(&[("compression.type", name)]);
        for sent in CODECS {
            let checked = batch(&records, *sent).check(&rules, 0).unwrap();
            let expected = stored.filter(|_| Compression::has_codecs()).unwrap_or(*sent);
            assert_eq!(checked.batch().header().compression(), Some(expected), "{sent:?} to {name}");
            let bytes = checked.batch().bytes().clone();
            assert_eq!(records::decode(&bytes).unwrap().len(), 100);
            assert!(Batch::parse(bytes).is_ok(), "the length and the checksum are right");
        }
    }
}

#[cfg(feature = "compression")]
#[test]
fn the_size_is_checked_before_and_after_compression() {
    let sent = batch(&vec![record(Some("key"), 7); 1000], Compression::None);
    let zipped = sent.recompressed(Compression::Gzip).unwrap();
    let limit = zipped.header().size.to_string();
    let limited = |codec| rules(&[("compression.type", codec), ("max.message.bytes", &limit)]);
    assert!(zipped.check(&limited("producer"), 0).is_ok());
    for (batch, codec) in [(&zipped, "uncompressed"), (&sent, "gzip")] {
        assert_eq!(batch.check(&limited(codec), 0).unwrap_err().code, ErrorCode::MessageTooLarge, "{codec}");
    }
}

#[cfg(feature = "compression")]
#[test]
fn the_level_of_the_topic_is_used() {
    let records: Vec<Record> = (0..3000i64)
        .map(|n| Record { value: Some(Bytes::from((n * n % 971).to_string())), ..record(None, n) })
        .collect();
    let sent = batch(&records, Compression::None);
    let size = |codec, level: &str| {
        let name = format!("compression.{codec}.level");
        sent.check(&rules(&[("compression.type", codec), (&name, level)]), 0).unwrap().batch().header().size
    };
    assert!(size("gzip", "9") < size("gzip", "1"));
    assert!(size("zstd", "19") < size("zstd", "-100"));
    assert_eq!(size("gzip", "-1"), size("gzip", "6"));
}

#[test]
fn the_header_is_made_to_agree_with_the_records() {
    let topic = rules(&[]);
    for codec in CODECS {
        let sent = batch(&[record(None, 50), record(None, 70), record(None, 60)], *codec);
        assert_eq!(sent.check(&topic, 0).unwrap().batch().bytes(), sent.bytes(), "nothing to change");
        let wrong = patched(&sent, 35, &9_999i64.to_be_bytes());
        let stored = wrong.check(&topic, 0).unwrap();
        assert_eq!(stored.batch().header().max_timestamp, 70, "{codec:?}");
        // Only a broker may say that the timestamps are its own.
        let attributes = (sent.header().attributes | 1 << 3).to_be_bytes();
        let claimed = patched(&sent, 21, &attributes).check(&topic, 0).unwrap();
        assert!(!claimed.batch().header().has_append_time());
        let append_time = sent.check(&rules(&[("message.timestamp.type", "LogAppendTime")]), 123).unwrap();
        let times = records::decode(append_time.batch().bytes()).unwrap();
        assert!(times.iter().all(|record| record.timestamp == 123), "{times:?}");
    }
}

#[test]
fn malformed_records_are_rejected() {
    let sent = batch(&[record(None, 0), record(None, 0)], Compression::None);
    let len = sent.bytes().len();
    // The second record: one header that is missing, -1 headers, the offset of the first, another length.
    for (at, byte) in [(len - 1, 2), (len - 1, 1), (len - 9, 0), (len - 12, 20)] {
        let rejection = patched(&sent, at, &[byte]).check(&rules(&[]), 0).unwrap_err();
        assert_eq!((rejection.code, rejection.records.len()), (ErrorCode::InvalidRecord, 0), "{at}: {rejection}");
    }
}

#[cfg(feature = "compression")]
#[test]
fn records_that_cannot_be_decompressed_are_rejected() {
    for codec in &Compression::ALL[1..] {
        let garbled = patched(&batch(&[record(None, 0)], Compression::None), 21, &codec.bits().to_be_bytes());
        let rejection = garbled.check(&rules(&[]), 0).unwrap_err();
        assert_eq!(rejection.code, ErrorCode::InvalidRecord, "{codec:?}");
    }
    let unknown = patched(&batch(&[record(None, 0)], Compression::None), 21, &5i16.to_be_bytes());
    assert_eq!(unknown.check(&rules(&[]), 0).unwrap_err().code, ErrorCode::UnsupportedCompressionType);
    let zeros = Record { value: Some(vec![0; 17 << 20].into()), ..Record::default() };
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let rejection = batch(std::slice::from_ref(&zeros), codec).check(&rules(&[]), 0).unwrap_err();
        assert_eq!(rejection.code, ErrorCode::MessageTooLarge, "{codec:?}");
    }
}

#[test]
fn a_changed_configuration_is_checked_again() {
    let before = rules(&[]);
    let checked = batch(&[record(None, 0)], Compression::None).check(&before, 0).unwrap();
    assert!(checked.clone().under(&before, 0).is_ok());
    let after = rules(&[("cleanup.policy", "compact")]);
    assert_eq!(checked.under(&after, 0).unwrap_err().code, ErrorCode::InvalidRecord);
}

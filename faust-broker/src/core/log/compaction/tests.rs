//! Examples of compaction: when it starts, which records it keeps, and the removal of tombstones.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;

use crate::core::records::{self, Producer, Record};
use crate::core::{Batch, BrokerCore, Compression, ConfigEdit, CoreConfig, ErrorCode, OffsetSpec, TopicSpec};

/// Creates a broker with one topic. By default, every batch gets its own segment and any dirty record starts
/// compaction.
fn broker(configs: &[(&str, &str)]) -> BrokerCore {
    let mut broker = BrokerCore::new(CoreConfig::default());
    let defaults = [("cleanup.policy", "compact"), ("segment.bytes", "14"), ("min.cleanable.dirty.ratio", "0")];
    let configs =
        defaults.iter().chain(configs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    broker.create_topic("t", TopicSpec { partitions: 1, configs }).unwrap();
    broker
}

fn batch(key: Option<&'static str>, value: Option<&'static str>, timestamp: i64) -> Bytes {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let record = Record { timestamp, key: key.map(bytes), value: value.map(bytes), ..Record::default() };
    records::encode(&[record], Producer::NONE).unwrap()
}

fn append(broker: &mut BrokerCore, key: &'static str, value: Option<&'static str>, now_ms: i64) {
    let batch = Batch::parse(batch(Some(key), value, now_ms)).unwrap();
    broker.append("t", 0, &batch, now_ms).unwrap();
}

/// Returns the base offsets of the remaining batches.
fn left(broker: &BrokerCore) -> Vec<i64> {
    let (mut position, mut found) = (broker.find_offset("t", 0, OffsetSpec::Earliest).unwrap().offset, Vec::new());
    loop {
        let read = broker.read("t", 0, position, usize::MAX).unwrap();
        for batch in &read.batches {
            let header = crate::core::batch::Header::read(batch).unwrap();
            found.push(header.base_offset);
            position = header.last_offset() + 1;
        }
        if read.batches.is_empty() {
            return found;
        }
    }
}

#[test]
fn only_the_last_record_of_a_key_is_kept_outside_the_active_segment() {
    let mut broker = broker(&[]);
    for key in ["a", "b", "a", "b", "a"] {
        append(&mut broker, key, Some("v"), 0);
    }
    broker.clean(0);
    assert_eq!(left(&broker), [2, 3, 4], "the active segment is not compacted");
    assert_eq!(broker.find_offset("t", 0, OffsetSpec::Latest).unwrap().offset, 5);
    broker.compact_now("t", 0, 0).unwrap();
    assert_eq!(left(&broker), [3, 4]);
    append(&mut broker, "b", Some("v"), 0);
    assert_eq!(left(&broker), [3, 4, 5]);
}

#[test]
fn a_tombstone_is_kept_for_its_retention() {
    let mut broker = broker(&[("delete.retention.ms", "100")]);
    append(&mut broker, "a", Some("v"), 0);
    append(&mut broker, "a", None, 0);
    append(&mut broker, "b", Some("v"), 0);
    append(&mut broker, "b", Some("v"), 0);
    for (now_ms, expected) in [(50, vec![1, 2, 3]), (149, vec![1, 2, 3]), (150, vec![2, 3])] {
        broker.clean(now_ms);
        assert_eq!(left(&broker), expected, "at {now_ms}");
    }
}

#[test]
fn a_tombstone_at_the_end_of_the_log_is_kept_until_the_next_append() {
    let mut broker = broker(&[("delete.retention.ms", "0")]);
    append(&mut broker, "a", None, 0);
    for now_ms in [1, 2] {
        broker.compact_now("t", 0, now_ms).unwrap();
        assert_eq!(left(&broker), [0], "the last record is kept, so that consumers can read to the end");
    }
    append(&mut broker, "b", Some("v"), 3);
    broker.compact_now("t", 0, 4).unwrap();
    broker.compact_now("t", 0, 5).unwrap();
    assert_eq!(left(&broker), [1]);
}

#[test]
fn records_are_removed_from_the_middle_of_compressed_batches() {
    for codec in if cfg!(feature = "compression") { &Compression::ALL[..] } else { &Compression::ALL[..1] } {
        let mut broker = broker(&[("delete.retention.ms", "0")]);
        let mut offset = 0;
        // Of each batch, compaction keeps the key that only this batch has, and of the last one also `common`.
        for own in ["a", "b", "c"] {
            let keys = ["common", own, "common", "gone"];
            let record = |key: &'static str| Record {
                timestamp: 1,
                key: Some(Bytes::from_static(key.as_bytes())),
                value: (key != "gone").then(|| Bytes::from(own.repeat(500))),
                ..Record::default()
            };
            let batch = records::encode(&keys.map(record), Producer::NONE).unwrap();
            let batch = Batch::parse(batch).unwrap().recompressed(*codec).unwrap();
            assert_eq!(broker.append("t", 0, &batch, 0).unwrap().base_offset, offset);
            offset += 4;
        }
        append(&mut broker, "end", Some("v"), 0);
        for now_ms in [1, 2] {
            broker.compact_now("t", 0, now_ms).unwrap();
        }
        let (mut position, mut found) = (0, Vec::new());
        while position < offset {
            let batch = broker.read("t", 0, position, 1).unwrap().batches.remove(0);
            let header = crate::core::batch::Header::read(&batch).unwrap();
            assert!(header.base_offset == offset || header.compression() == Some(*codec), "{codec:?}: {header:?}");
            let key = |record: Record| (record.offset, record.key.unwrap());
            found.extend(records::decode(&batch).unwrap().into_iter().map(key));
            position = header.last_offset() + 1;
        }
        let expected = [(1, "a"), (5, "b"), (9, "c"), (10, "common")].map(|(offset, key)| (offset, Bytes::from(key)));
        assert_eq!(found, expected, "{codec:?}");
    }
}

#[test]
fn records_without_a_key_are_rejected_and_older_ones_discarded() {
    let mut broker = broker(&[("cleanup.policy", "delete")]);
    let keyless = Batch::parse(batch(None, Some("v"), 0)).unwrap();
    broker.append("t", 0, &keyless, 0).unwrap();
    assert_eq!(broker.compact_now("t", 0, 0), Err(ErrorCode::InvalidConfig));
    let edit = ConfigEdit::Set("cleanup.policy".into(), "compact".into());
    broker.edit_configs("t", &[edit], false).unwrap();
    assert_eq!(broker.append("t", 0, &keyless, 0), Err(ErrorCode::InvalidRecord));
    append(&mut broker, "a", Some("v"), 0);
    broker.compact_now("t", 0, 0).unwrap();
    assert_eq!(left(&broker), [1]);
}

#[test]
fn lags_and_the_dirty_ratio_decide_when_compaction_is_due() {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [i64]);
    let cases: [Case<'_>; 6] = [
        ("more than half is dirty", &[("min.cleanable.dirty.ratio", "0.5")], &[2, 3]),
        ("never dirty enough", &[("min.cleanable.dirty.ratio", "1")], &[0, 1, 2, 3]),
        ("too young", &[("min.compaction.lag.ms", "1000")], &[0, 1, 2, 3]),
        ("old enough up to the third", &[("min.compaction.lag.ms", "980")], &[1, 2, 3]),
        ("too old", &[("min.cleanable.dirty.ratio", "1"), ("max.compaction.lag.ms", "900")], &[3]),
        ("inactive for long", &[("segment.ms", "500"), ("segment.bytes", "1000")], &[3]),
    ];
    for (name, configs, expected) in cases {
        let mut broker = broker(configs);
        for timestamp in [10, 20, 30, 40] {
            append(&mut broker, "a", Some("v"), timestamp);
        }
        broker.clean(1000);
        assert_eq!(left(&broker), expected, "{name}");
    }
}

#[test]
fn both_policies_apply() {
    let mut broker = broker(&[("cleanup.policy", "compact,delete"), ("retention.ms", "100")]);
    append(&mut broker, "a", Some("v"), 0);
    append(&mut broker, "a", Some("v"), 10);
    append(&mut broker, "b", Some("v"), 200);
    append(&mut broker, "b", Some("v"), 210);
    broker.clean(100);
    assert_eq!(left(&broker), [1, 2, 3]);
    broker.clean(250);
    assert_eq!(left(&broker), [2, 3]);
    assert_eq!(broker.find_offset("t", 0, OffsetSpec::Earliest).unwrap().offset, 2);
}

#[test]
fn a_step_reads_a_limited_number_of_bytes() {
    for (step_bytes, expected) in [(1, 21), (100_000, 3)] {
        let mut broker = BrokerCore::new(CoreConfig { compaction_step_bytes: step_bytes, ..CoreConfig::default() });
        let configs = [("cleanup.policy", "compact"), ("segment.ms", "10")];
        let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        broker.create_topic("t", TopicSpec { partitions: 1, configs }).unwrap();
        for _ in 0..10 {
            append(&mut broker, "a", Some("v"), 0);
        }
        append(&mut broker, "b", Some("v"), 100);
        assert_eq!(broker.dirty_logs(100).len(), 1);
        // One step for the keys of each batch, one to copy it, and the last one finds that nothing is left.
        let mut steps = 0;
        while broker.compact_step("t", 0, 100) {
            steps += 1;
        }
        assert_eq!(steps, expected, "with {step_bytes} bytes");
        assert_eq!(left(&broker), [9, 10]);
    }
}

#[test]
fn a_segment_is_rolled_after_segment_ms() {
    let mut broker = broker(&[("segment.bytes", "100000"), ("segment.ms", "100")]);
    for (key, now_ms) in [("a", 0), ("a", 100), ("b", 101), ("a", 102)] {
        append(&mut broker, key, Some("v"), now_ms);
    }
    broker.clean(103);
    assert_eq!(left(&broker), [1, 2, 3], "the third batch started a new segment");
}

//! Laws of the log, checked against a plain list, and examples for timestamps and retention.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod full_disk;

use bytes::Bytes;
use proptest::prelude::*;

use crate::core::records::{self, Producer, Record};
use crate::core::{
    Appended, Batch, BrokerCore, Compression, ConfigEdit, CoreConfig, ErrorCode, FoundOffset, OffsetSpec, TopicSpec,
};

fn broker(configs: &[(&str, &str)]) -> BrokerCore {
    let mut broker = BrokerCore::new(CoreConfig::default());
    let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    broker.create_topic("t", TopicSpec { partitions: 1, configs }).unwrap();
    broker
}

fn batch(timestamps: &[i64]) -> Batch {
    produced(timestamps, Producer::NONE)
}

fn codec() -> impl Strategy<Value = Compression> {
    proptest::sample::select(if cfg!(feature = "compression") { &Compression::ALL[..] } else { &Compression::ALL[..1] })
}

fn produced(timestamps: &[i64], producer: Producer) -> Batch {
    let record = |timestamp: &i64| Record {
        timestamp: *timestamp,
        value: Some(Bytes::from(format!("at {timestamp}"))),
        ..Record::default()
    };
    let records: Vec<Record> = timestamps.iter().map(record).collect();
    Batch::parse(records::encode(&records, producer).unwrap()).unwrap()
}

fn append(broker: &mut BrokerCore, timestamps: &[i64]) -> Appended {
    broker.append("t", 0, &batch(timestamps), 0).unwrap()
}

fn offsets(broker: &BrokerCore, from: i64, max_bytes: usize) -> Vec<i64> {
    let read = broker.read("t", 0, from, max_bytes).unwrap();
    let batches = read.batches.iter();
    batches.flat_map(|batch| records::decode(batch).unwrap()).map(|record| record.offset).collect()
}

#[test]
fn offsets_are_consecutive_from_zero() {
    let mut broker = broker(&[]);
    assert_eq!(append(&mut broker, &[1, 2, 3]).base_offset, 0);
    let second = append(&mut broker, &[4]);
    assert_eq!((second.base_offset, second.last_offset), (3, 3));
    assert_eq!(offsets(&broker, 0, usize::MAX), [0, 1, 2, 3]);
    // The whole batch that contains offset 2 is returned; the client skips the records before it.
    assert_eq!(offsets(&broker, 2, 1), [0, 1, 2]);
    assert_eq!(offsets(&broker, 4, 1), Vec::<i64>::new());
    for outside in [-1, 5] {
        assert_eq!(broker.read("t", 0, outside, 1), Err(ErrorCode::OffsetOutOfRange));
    }
}

#[test]
fn offsets_are_found_by_time() {
    let mut broker = broker(&[("segment.bytes", "200")]);
    append(&mut broker, &[10, 30, 20]);
    append(&mut broker, &[15]);
    append(&mut broker, &[40, 5]);
    let cases = [
        (OffsetSpec::Earliest, 0, -1),
        (OffsetSpec::Latest, 6, -1),
        (OffsetSpec::MaxTimestamp, 4, 40),
        (OffsetSpec::Since(0), 0, 10),
        (OffsetSpec::Since(11), 1, 30),
        (OffsetSpec::Since(31), 4, 40),
        (OffsetSpec::Since(41), -1, -1),
    ];
    for (spec, offset, timestamp) in cases {
        assert_eq!(broker.find_offset("t", 0, spec), Ok(FoundOffset { offset, timestamp }), "{spec:?}");
    }
}

#[test]
fn a_lookup_by_time_continues_after_deleted_records() {
    let mut broker = broker(&[]);
    append(&mut broker, &[50, 10]);
    append(&mut broker, &[60]);
    append(&mut broker, &[70]);
    for (start, since, offset) in [(1, 20, 2), (3, 20, 3), (3, 0, 3), (4, 0, -1)] {
        broker.delete_records("t", 0, Some(start)).unwrap();
        let found = broker.find_offset("t", 0, OffsetSpec::Since(since)).unwrap().offset;
        assert_eq!(found, offset, "from {start} since {since}");
    }
}

#[test]
fn deleted_records_are_not_found() {
    let mut broker = broker(&[]);
    append(&mut broker, &[1, 2]);
    append(&mut broker, &[3, 4]);
    assert_eq!(broker.delete_records("t", 0, Some(1)), Ok(1));
    assert_eq!(broker.read("t", 0, 0, 1), Err(ErrorCode::OffsetOutOfRange));
    assert_eq!(broker.find_offset("t", 0, OffsetSpec::Since(0)), Ok(FoundOffset { offset: 1, timestamp: 2 }));
    assert_eq!(broker.delete_records("t", 0, Some(5)), Err(ErrorCode::OffsetOutOfRange));
    assert_eq!(broker.delete_records("t", 0, None), Ok(4));
    assert_eq!(append(&mut broker, &[5]).base_offset, 4);
    assert_eq!(offsets(&broker, 4, 1), [4]);
}

#[test]
fn retention_deletes_whole_old_segments() {
    let mut broker = broker(&[("segment.bytes", "100"), ("retention.ms", "1000")]);
    for timestamp in [100, 200, 300, 2000] {
        append(&mut broker, &[timestamp]);
    }
    broker.clean(1250);
    assert_eq!(broker.find_offset("t", 0, OffsetSpec::Earliest).unwrap().offset, 2);
    let edits = [
        ConfigEdit::Append("cleanup.policy".into(), "compact".into()),
        ConfigEdit::Subtract("cleanup.policy".into(), "delete".into()),
    ];
    broker.edit_configs("t", &edits, false).unwrap();
    broker.clean(100_000);
    assert_eq!(broker.find_offset("t", 0, OffsetSpec::Earliest).unwrap().offset, 2, "compacted topics keep all keys");
}

#[test]
fn a_word_of_a_list_is_subtracted_whatever_the_spaces_around_it() {
    let mut broker = broker(&[("cleanup.policy", "delete, compact")]);
    broker.edit_configs("t", &[ConfigEdit::Subtract("cleanup.policy".into(), "compact".into())], false).unwrap();
    assert_eq!(broker.topic("t").unwrap().configs()["cleanup.policy"], "delete");
}

#[test]
fn retention_by_size_keeps_the_newest_segments() {
    let mut broker = broker(&[("segment.bytes", "100"), ("retention.bytes", "200"), ("retention.ms", "-1")]);
    for timestamp in 0..10 {
        append(&mut broker, &[timestamp]);
    }
    broker.clean(0);
    let left = broker.partition_bytes("t", 0).unwrap();
    assert!((200..300).contains(&left), "{left} bytes are left");
    assert_eq!(broker.find_offset("t", 0, OffsetSpec::Latest).unwrap().offset, 10);
}

#[test]
fn the_broker_sets_the_timestamp_with_log_append_time() {
    let mut broker = broker(&[("message.timestamp.type", "LogAppendTime")]);
    assert_eq!(broker.append("t", 0, &batch(&[1, 2]), 77).unwrap().append_time_ms, 77);
    let read = broker.read("t", 0, 0, 1).unwrap();
    let stored = Batch::parse(read.batches[0].clone()).unwrap();
    assert_eq!(stored.header().max_timestamp, 77);
    assert!(records::decode(&read.batches[0]).unwrap().iter().all(|record| record.timestamp == 77));
}

#[test]
fn a_batch_over_the_limit_is_rejected() {
    let mut broker = broker(&[("max.message.bytes", "60")]);
    assert_eq!(broker.append("t", 0, &batch(&[1]), 0), Err(ErrorCode::MessageTooLarge));
}

#[test]
fn timestamps_outside_the_limits_are_rejected_with_the_whole_batch() {
    let limits = [("message.timestamp.before.max.ms", "10"), ("message.timestamp.after.max.ms", "5")];
    let mut broker = broker(&limits);
    for (times, is_accepted) in [([100, 90], true), ([100, 89], false), ([105, 100], true), ([100, 106], false)] {
        let result = broker.append("t", 0, &batch(&times), 100).map(drop);
        assert_eq!(result, if is_accepted { Ok(()) } else { Err(ErrorCode::InvalidTimestamp) }, "{times:?}");
    }
    assert_eq!(broker.find_offset("t", 0, OffsetSpec::Latest).unwrap().offset, 4);
    let append_time = [("message.timestamp.type", "LogAppendTime"), ("message.timestamp.after.max.ms", "5")];
    let mut broker = self::broker(&append_time);
    assert!(broker.append("t", 0, &batch(&[1_000]), 100).is_ok(), "the timestamp is replaced by the broker's");
}

#[test]
fn a_retried_batch_returns_its_first_offset() {
    let mut broker = broker(&[]);
    append(&mut broker, &[0]);
    let sent = produced(&[1, 2], Producer { id: 9, epoch: 0, sequence: 0 });
    let first = broker.append("t", 0, &sent, 0).unwrap();
    let again = broker.append("t", 0, &sent, 0).unwrap();
    assert_eq!((first.base_offset, first.is_repeated), (1, false));
    assert_eq!((again.base_offset, again.last_offset, again.is_repeated), (1, 2, true));
    let gap = produced(&[3], Producer { id: 9, epoch: 0, sequence: 5 });
    assert_eq!(broker.append("t", 0, &gap, 0), Err(ErrorCode::OutOfOrderSequence));
    assert_eq!(offsets(&broker, 0, usize::MAX), [0, 1, 2]);
}

proptest! {
    /// Law: a log is a list. For any segment size, a read from any offset returns its batch and the following ones.
    #[test]
    fn a_log_is_a_list(sizes in proptest::collection::vec(1usize..6, 1..40), segment in 100u32..2000, max_bytes in 0usize..1000) {
        let mut broker = broker(&[("segment.bytes", &segment.to_string())]);
        let mut starts = Vec::new();
        let mut end = 0;
        for size in sizes {
            prop_assert_eq!(append(&mut broker, &vec![7; size]).base_offset, end);
            starts.push(end);
            end += i64::try_from(size).unwrap();
        }
        for offset in 0..end {
            let read = offsets(&broker, offset, max_bytes);
            let start = *starts.iter().rev().find(|start| **start <= offset).unwrap();
            prop_assert!(read.contains(&offset));
            prop_assert_eq!(read[0], start);
            prop_assert!(read.windows(2).all(|pair| pair[1] == pair[0] + 1));
            let bytes: usize = broker.read("t", 0, offset, max_bytes).unwrap().batches.iter().skip(1).map(Bytes::len).sum();
            prop_assert!(bytes <= max_bytes);
        }
    }
    /// Law: a lookup by time finds the first record that is not earlier, for any codec and layout of batches and segments.
    #[test]
    fn a_lookup_by_time_finds_the_first_record(
        batches in proptest::collection::vec(proptest::collection::vec(0i64..100, 1..40), 1..60),
        segment in 500u32..60_000,
        since in 0i64..101,
        codec in codec(),
    ) {
        let mut broker = broker(&[("segment.bytes", &segment.to_string())]);
        for timestamps in &batches {
            broker.append("t", 0, &batch(timestamps).recompressed(codec).unwrap(), 0).unwrap();
        }
        let times: Vec<i64> = batches.concat();
        let expected = times.iter().position(|time| *time >= since).map_or(-1, |at| i64::try_from(at).unwrap());
        prop_assert_eq!(broker.find_offset("t", 0, OffsetSpec::Since(since)).unwrap().offset, expected);
        let latest = times.iter().max().copied().unwrap();
        let first_latest = times.iter().position(|time| *time == latest).unwrap();
        let found = broker.find_offset("t", 0, OffsetSpec::MaxTimestamp).unwrap();
        prop_assert_eq!((found.offset, found.timestamp), (i64::try_from(first_latest).unwrap(), latest));
    }
}

//! Compressed batches, on our broker and on the Apache Kafka of `FAUST_TEST_KAFKA` if set: both must answer alike.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use faust_broker::core::batch::Header;
use faust_broker::core::records::{self, Record};
use faust_broker::core::{Batch, Compression};

use crate::peer::{Peer, batch, now_ms, peers};

const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_TIMESTAMP: i64 = -3;

fn record(key: Option<&str>, value: Option<&str>, timestamp: i64) -> Record {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Record { timestamp, key: key.map(bytes), value: value.map(bytes), ..Record::default() }
}

fn decoded(batches: &[Bytes]) -> Vec<Record> {
    batches.iter().flat_map(|batch| records::decode(batch).unwrap()).collect()
}

fn codec_of(batch: &Bytes) -> Option<Compression> {
    Header::read(batch).unwrap().compression()
}

/// 2 000 records of 100 keys in batches of 1 to 64, every tenth a tombstone, over two seconds from `from_ms` on.
fn updates(from_ms: i64) -> Vec<Vec<Record>> {
    let update = |number: i64| {
        let value = format!("value {number} {}", "x".repeat(50));
        let value = (number % 10 != 3).then_some(value);
        record(Some(&format!("key {}", number * number % 97 + number % 4)), value.as_deref(), from_ms + number)
    };
    let all: Vec<Record> = (0..2000).map(update).collect();
    let (mut rest, mut size, mut batches) = (&all[..], 1, Vec::new());
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(size.min(rest.len()));
        batches.push(batch.to_vec());
        (rest, size) = (after, size % 64 + 7);
    }
    batches
}

#[test]
fn compaction_of_compressed_batches_keeps_the_last_record_of_each_key() {
    let configs = [("cleanup.policy", "compact"), ("segment.ms", "1000"), ("min.cleanable.dirty.ratio", "0")];
    let from_ms = now_ms() - 600_000;
    let sent = updates(from_ms);
    let mut last: BTreeMap<Bytes, Record> = BTreeMap::new();
    for (offset, record) in (0..).zip(sent.iter().flatten()) {
        last.insert(record.key.clone().unwrap(), Record { offset, ..record.clone() });
    }
    // The last record starts a new segment, so all others are compacted.
    let end = Record { offset: 2000, ..record(Some("end"), Some("v"), from_ms + 300_000) };
    let mut expected: Vec<Record> = last.into_values().chain([end.clone()]).collect();
    expected.sort_by_key(|record| record.offset);
    for mut peer in peers() {
        for codec in Compression::ALL {
            let topic = peer.create(&configs);
            for records in &sent {
                peer.append(&topic, &batch(records).recompressed(codec).unwrap());
            }
            peer.append(&topic, &batch(std::slice::from_ref(&end)));
            let deadline = Instant::now() + TIMEOUT;
            let left = loop {
                let left = peer.read(&topic, 2001);
                if decoded(&left).len() <= expected.len() || Instant::now() > deadline {
                    break left;
                }
            };
            assert_eq!(decoded(&left), expected, "{}, {codec:?}", peer.name);
            // The remaining records are compressed as before.
            let (_, compacted) = left.split_last().unwrap();
            let codecs: Vec<_> = compacted.iter().map(|batch| codec_of(batch).unwrap()).collect();
            assert!(codecs.iter().all(|found| *found == codec), "{}, {codec:?}: {codecs:?}", peer.name);
        }
    }
}

#[test]
fn a_topic_stores_batches_in_its_codec() {
    let records: Vec<Record> = (0..200).map(|n| record(Some("key"), Some("value"), 1000 + n)).collect();
    let topics = [
        ("producer", None),
        ("uncompressed", Some(Compression::None)),
        ("gzip", Some(Compression::Gzip)),
        ("snappy", Some(Compression::Snappy)),
        ("lz4", Some(Compression::Lz4)),
        ("zstd", Some(Compression::Zstd)),
    ];
    for mut peer in peers() {
        for (name, stored) in topics {
            let topic = peer.create(&[("compression.type", name)]);
            for sent in Compression::ALL {
                peer.append(&topic, &batch(&records).recompressed(sent).unwrap());
            }
            let read = peer.read(&topic, 1000);
            let codecs: Vec<_> = read.iter().map(|batch| codec_of(batch).unwrap()).collect();
            let expected = Compression::ALL.map(|sent| stored.unwrap_or(sent));
            assert_eq!(codecs, expected, "{}, {name}", peer.name);
            let values = decoded(&read).into_iter().map(|record| Record { offset: 0, ..record });
            assert!(values.eq(records.iter().cycle().take(1000).cloned()), "{}, {name}", peer.name);
        }
    }
}

#[test]
fn a_lookup_by_time_finds_the_record_inside_a_compressed_batch() {
    for mut peer in peers() {
        for codec in Compression::ALL {
            let topic = peer.create(&[]);
            for times in [[1000, 1030, 1020, 1010], [1050, 1040, 1070, 1070], [1060, 1005, 1069, 1001]] {
                let records = times.map(|time| record(None, Some("value"), time));
                peer.append(&topic, &batch(&records).recompressed(codec).unwrap());
            }
            let found = [0, 1001, 1030, 1031, 1051, 1070, 1071, MAX_TIMESTAMP].map(|time| peer.offset(&topic, time));
            let expected = [(0, 1000), (1, 1030), (1, 1030), (4, 1050), (6, 1070), (6, 1070), (-1, -1), (6, 1070)];
            assert_eq!(found, expected, "{}, {codec:?}", peer.name);
        }
    }
}

/// Returns the error code of a produce request, and the positions of the records that it names.
fn refused(peer: &mut Peer, topic: &str, batch: Bytes, version: i16) -> (i16, Vec<i32>) {
    let response = peer.send(topic, batch, version);
    (response.error_code, response.record_errors.iter().map(|error| error.batch_index).collect())
}

#[test]
fn the_records_because_of_which_a_batch_is_refused_are_named() {
    let now = now_ms();
    let keys = [Some("a"), None, Some("b"), None].map(|key| record(key, Some("value"), now));
    let times = [now, now - 3_000_000, now, now + 3_000_000].map(|time| record(Some("key"), Some("value"), time));
    let limits = [("message.timestamp.before.max.ms", "2000000"), ("message.timestamp.after.max.ms", "2000000")];
    for mut peer in peers() {
        let (compacted, limited) = (peer.create(&[("cleanup.policy", "compact")]), peer.create(&limits));
        for codec in Compression::ALL {
            let send = |records: &[Record]| batch(records).recompressed(codec).unwrap().bytes().clone();
            assert_eq!(refused(&mut peer, &compacted, send(&keys), 9), (87, vec![1, 3]), "{}, {codec:?}", peer.name);
            assert_eq!(refused(&mut peer, &limited, send(&times), 9), (32, vec![1, 3]), "{}, {codec:?}", peer.name);
            peer.append(&compacted, &batch(&keys[..1]).recompressed(codec).unwrap());
        }
    }
}

/// Returns the batch with other bytes from position `at` on, and a correct checksum.
fn patched(batch: &Batch, at: usize, patch: &[u8]) -> Bytes {
    let mut bytes = batch.bytes().to_vec();
    bytes[at..at + patch.len()].copy_from_slice(patch);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

#[test]
fn a_batch_that_cannot_be_read_is_refused() {
    let records = [record(Some("key"), Some("value"), now_ms())];
    for mut peer in peers() {
        let topic = peer.create(&[]);
        let plain = batch(&records);
        let last = plain.bytes().len() - 1;
        let two = [&plain.bytes()[..], plain.bytes()].concat();
        let mut flipped = plain.bytes().to_vec();
        flipped[last] ^= 1;
        // Kafka answers -1 to records that cannot be decompressed, which names no cause.
        let cases: [(&str, Bytes, i16, &[i16]); 9] = [
            ("a wrong checksum", flipped.into(), 9, &[2]),
            ("no batch", Bytes::new(), 9, &[87]),
            ("two batches", two.into(), 9, &[87]),
            ("the format before version 2", patched(&plain, 16, &[1]), 9, &[87]),
            ("a header that is missing", patched(&plain, last, &[2]), 9, &[87]),
            ("a control batch", patched(&plain, 21, &[0, 1 << 5]), 9, &[87]),
            (
                "zstd from a client without it",
                batch(&records).recompressed(Compression::Zstd).unwrap().bytes().clone(),
                6,
                &[76],
            ),
            ("an unknown codec", patched(&plain, 21, &[0, 5]), 9, &[76, -1]),
            ("not compressed", patched(&plain, 21, &[0, 1]), 9, &[87, -1]),
        ];
        for (name, batch, version, codes) in cases {
            let (code, named) = refused(&mut peer, &topic, batch, version);
            assert!(codes.contains(&code), "{}, {name}: {code}", peer.name);
            assert_eq!(named, Vec::<i32>::new(), "{}, {name}", peer.name);
        }
        assert_eq!(peer.offset(&topic, -1).0, 0, "{}", peer.name);
    }
}

#[test]
fn the_size_limit_holds_before_and_after_compression() {
    let zeros = [Record { value: Some(vec![0; 5000].into()), ..record(Some("key"), None, now_ms()) }];
    for mut peer in peers() {
        for (name, sent) in [("gzip", Compression::None), ("uncompressed", Compression::Gzip)] {
            let topic = peer.create(&[("compression.type", name), ("max.message.bytes", "1000")]);
            let batch = batch(&zeros).recompressed(sent).unwrap();
            assert_eq!(refused(&mut peer, &topic, batch.bytes().clone(), 9).0, 10, "{}, {name}", peer.name);
        }
        let topic = peer.create(&[("max.message.bytes", "1000")]);
        peer.append(&topic, &batch(&zeros).recompressed(Compression::Gzip).unwrap());
    }
}

#[test]
fn the_first_versions_of_produce_are_listed_but_close_the_connection() {
    for mut peer in peers() {
        let topic = peer.create(&[]);
        let batch = batch(&[record(None, Some("value"), now_ms())]).bytes().clone();
        assert_eq!(peer.send(&topic, batch, 3).error_code, 0, "{}", peer.name);
        assert_eq!(peer.versions(0).0, 0, "{}", peer.name);
        for version in 0..3 {
            assert!(peer.closes_after(0, version), "{}: version {version}", peer.name);
        }
    }
}

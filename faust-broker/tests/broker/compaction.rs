//! Compaction of random records, on our broker and on the Apache Kafka of `FAUST_TEST_KAFKA` if set: both must leave the same.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use faust_broker::core::Compression;
use faust_broker::core::records::{self, Record};

use crate::damage::Numbers;
use crate::peer::{Peer, batch, now_ms, peers};

const TIMEOUT: Duration = Duration::from_secs(90);
/// Time for which a pass is awaited before another record makes the log dirty again.
const PATIENCE: Duration = Duration::from_secs(3);
const HISTORIES: u64 = 6;
/// The distance in time that begins a new segment, and more.
const ROLL_MS: i64 = 10_000;

/// A topic of one of the brokers, with the records sent to it.
struct History {
    topic: String,
    numbers: Numbers,
    sent: Vec<Record>,
    time_ms: i64,
    /// True if tombstones are removed by the second pass, otherwise after a day.
    removes_tombstones: bool,
}

impl History {
    fn new(peer: &mut Peer, seed: u64) -> Self {
        let removes_tombstones = seed.is_multiple_of(2);
        let retention = if removes_tombstones { "0" } else { "86400000" };
        let configs = [
            ("cleanup.policy", "compact"),
            ("segment.ms", "1000"),
            ("min.cleanable.dirty.ratio", "0"),
            ("delete.retention.ms", retention),
        ];
        let topic = peer.create(&configs);
        Self { topic, numbers: Numbers(seed), sent: Vec::new(), time_ms: now_ms() - 3_000_000, removes_tombstones }
    }

    fn record(&mut self, key: String, value: Option<String>) -> Record {
        let headers = (0..self.numbers.below(3)).map(|number| (format!("h{number}"), Some(Bytes::from_static(b"x"))));
        Record {
            timestamp: self.time_ms,
            key: Some(key.into()),
            value: value.map(Bytes::from),
            headers: headers.collect(),
            ..Record::default()
        }
    }

    fn append(&mut self, peer: &mut Peer, records: &[Record], codec: Compression) {
        peer.append(&self.topic, &batch(records).recompressed(codec).unwrap());
        let next = i64::try_from(self.sent.len()).unwrap();
        self.sent.extend((next..).zip(records).map(|(offset, record)| Record { offset, ..record.clone() }));
    }

    /// Appends batches of random sizes, each in a random codec, and some of them in new segments.
    fn append_batches(&mut self, peer: &mut Peer) {
        for _ in 0..20 {
            let records: Vec<Record> = (0..=self.numbers.below(30))
                .map(|_| {
                    self.time_ms += i64::try_from(self.numbers.below(20)).unwrap();
                    let key = format!("key {}", self.numbers.below(60));
                    let size = self.numbers.below(200);
                    let value = (self.numbers.below(5) > 0).then(|| "v".repeat(size));
                    self.record(key, value)
                })
                .collect();
            let codec = Compression::ALL[self.numbers.below(Compression::ALL.len())];
            self.append(peer, &records, codec);
        }
        self.roll(peer);
    }

    /// Appends a record that begins a segment, so that all before it is compacted.
    fn roll(&mut self, peer: &mut Peer) {
        self.time_ms += ROLL_MS;
        let record = self.record("roll".to_owned(), Some("value".to_owned()));
        self.append(peer, &[record], Compression::None);
    }

    /// Returns the records that are left in the end.
    fn expected(&self) -> Vec<Record> {
        let (active, compacted) = self.sent.split_last().unwrap();
        let mut last = BTreeMap::new();
        for record in compacted {
            last.insert(&record.key, record);
        }
        last.retain(|_, record| record.value.is_some() || !self.removes_tombstones);
        let mut expected: Vec<Record> = last.into_values().chain([active]).cloned().collect();
        expected.sort_by_key(|record| record.offset);
        expected
    }

    fn left(&self, peer: &mut Peer) -> Vec<Record> {
        let batches = peer.read(&self.topic, i64::try_from(self.sent.len()).unwrap());
        batches.iter().flat_map(|batch| records::decode(batch).unwrap()).collect()
    }

    /// Waits until compaction leaves the expected records. Tombstones need a second pass.
    fn await_compaction(&mut self, peer: &mut Peer) {
        let (deadline, mut roll_at) = (Instant::now() + TIMEOUT, Instant::now() + PATIENCE);
        loop {
            let (left, expected) = (self.left(peer), self.expected());
            if left == expected {
                return;
            }
            let offsets = |records: &[Record]| records.iter().map(|record| record.offset).collect::<Vec<_>>();
            assert!(
                Instant::now() < deadline,
                "{}: {:?} are left instead of {:?}",
                peer.name,
                offsets(&left),
                offsets(&expected)
            );
            if self.removes_tombstones && Instant::now() > roll_at {
                self.roll(peer);
                roll_at = Instant::now() + PATIENCE;
            }
            std::thread::yield_now();
        }
    }
}

#[test]
fn random_records_are_compacted_as_by_kafka() {
    for mut peer in peers() {
        let mut histories: Vec<History> = (0..HISTORIES).map(|seed| History::new(&mut peer, seed)).collect();
        // The second round is compacted onto the result of the first one.
        for _ in 0..2 {
            histories.iter_mut().for_each(|history| history.append_batches(&mut peer));
            histories.iter_mut().for_each(|history| history.await_compaction(&mut peer));
        }
    }
}

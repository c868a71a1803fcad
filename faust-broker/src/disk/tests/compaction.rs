//! Laws of compaction, in memory and on disk: only superseded records and expired tombstones are removed, and offsets
//! and sequence numbers stay valid.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::core::{Compression, ConfigEdit, FoundOffset};

const RETENTION_MS: i64 = 60;

/// A broker with one compacted partition, and all records ever written to it.
struct Subject {
    broker: Option<(Option<Directory>, BrokerCore)>,
    path: Option<tempfile::TempDir>,
    core: CoreConfig,
    written: Vec<Record>,
    /// The offsets of the records seen at the last check or appended since.
    left: BTreeSet<i64>,
    start: i64,
    lag_ms: i64,
    has_append_time: bool,
    now_ms: i64,
    /// By producer id: the next sequence number, and the last batch with its offset.
    producers: BTreeMap<i64, (i32, Batch, i64)>,
    /// The partition's files before the last compaction.
    before: BTreeMap<PathBuf, Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(u8, bool)>, i64),
    Wait(i64),
    Delete(i64),
    Clean,
    /// Runs one step of compaction.
    CompactALittle,
    CompactNow,
    Reopen,
    /// Simulates a crash in the last compaction, before these of the old files were deleted and, if the flag is set,
    /// before its result was recorded in the journal.
    Crash(u8, bool),
    Snapshot,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (proptest::collection::vec((0u8..6, proptest::bool::weighted(0.3)), 1..5), 0i64..30).prop_map(|(records, age)| Step::Append(records, age)),
        2 => (0i64..80).prop_map(Step::Wait),
        1 => (0i64..4).prop_map(Step::Delete),
        2 => Just(Step::Clean),
        4 => Just(Step::CompactALittle),
        2 => Just(Step::CompactNow),
        1 => Just(Step::Reopen),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(files, forgets)| Step::Crash(files, forgets)),
        1 => Just(Step::Snapshot),
    ]
}

impl Subject {
    fn new(
        on_disk: bool,
        (memory, step): (usize, usize),
        segment_bytes: u32,
        lag_ms: i64,
        has_append_time: bool,
    ) -> Self {
        let core = CoreConfig { compaction_bytes: memory, compaction_step_bytes: step, ..CoreConfig::default() };
        let mut subject = Self {
            broker: None,
            path: on_disk.then(|| tempfile::tempdir().unwrap()),
            core: core.clone(),
            written: Vec::new(),
            left: BTreeSet::new(),
            start: 0,
            lag_ms,
            has_append_time,
            now_ms: 1000,
            producers: BTreeMap::new(),
            before: BTreeMap::new(),
        };
        subject.open();
        let configs = [
            ("cleanup.policy", "compact".to_owned()),
            ("segment.bytes", segment_bytes.to_string()),
            ("segment.ms", "100".to_owned()),
            ("min.compaction.lag.ms", lag_ms.to_string()),
            ("delete.retention.ms", RETENTION_MS.to_string()),
            ("message.timestamp.type", if has_append_time { "LogAppendTime" } else { "CreateTime" }.to_owned()),
        ];
        let configs = configs.map(|(name, value)| (name.to_owned(), value)).into();
        subject.broker().create_topic("t", TopicSpec { partitions: 1, configs }).unwrap();
        subject
    }

    fn open(&mut self) {
        self.broker = None;
        self.broker = Some(match &self.path {
            None => (None, BrokerCore::new(self.core.clone())),
            Some(path) => {
                let directory = Directory::lock(path.path(), ([127, 0, 0, 1], 9092).into()).unwrap();
                let broker = directory.open(self.core.clone(), OPEN_FILES).unwrap();
                (Some(directory), broker)
            }
        });
    }

    fn broker(&mut self) -> &mut BrokerCore {
        &mut self.broker.as_mut().unwrap().1
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append(records, age) => self.append(records, *age),
            Step::Wait(ms) => self.now_ms += ms,
            Step::Delete(more) => {
                self.start = (self.start + more).min(i64::try_from(self.written.len()).unwrap());
                let start = self.start;
                self.broker().delete_records("t", 0, Some(start)).unwrap();
                self.left = self.left.split_off(&start);
            }
            Step::Clean => {
                self.before = self.files();
                let now_ms = self.now_ms;
                self.broker().clean(now_ms);
            }
            Step::CompactALittle => {
                self.before = self.files();
                self.compact_a_little();
            }
            Step::CompactNow => {
                self.before = self.files();
                let now_ms = self.now_ms;
                self.broker().compact_now("t", 0, now_ms).unwrap();
                if self.lag_ms == 0 {
                    self.each_key_is_there_once();
                }
            }
            Step::Reopen if self.path.is_some() => self.open(),
            Step::Crash(files, forgets) if self.path.is_some() => self.crash(*files, *forgets),
            Step::Snapshot => self.broker().shorten_journal(),
            Step::Reopen | Step::Crash(..) => {}
        }
        self.check();
    }

    fn compact_a_little(&mut self) {
        let now_ms = self.now_ms;
        for (topic, partition) in self.broker().dirty_logs(now_ms) {
            self.broker().compact_step(&topic, partition, now_ms);
        }
    }

    fn append(&mut self, records: &[(u8, bool)], age: i64) {
        let first = i64::try_from(self.written.len()).unwrap();
        let record = |(at, (key, is_tombstone)): (i64, &(u8, bool))| Record {
            offset: first + at,
            timestamp: self.now_ms - age + at,
            key: Some(Bytes::from(vec![*key])),
            value: (!is_tombstone).then(|| Bytes::from(format!("value {}", first + at))),
            headers: vec![("h".to_owned(), Some(Bytes::from(vec![*key])))],
        };
        let mut records: Vec<Record> = (0..).zip(records).map(record).collect();
        // About one batch in four is from a second producer, which is rarely the last one to have written.
        let id = 7 + i64::from(age % 4 == 0);
        let sequence = self.producers.get(&id).map_or(0, |(next, ..)| *next);
        let producer = Producer { id, epoch: 0, sequence };
        let batch = Batch::parse(records::encode(&records, producer).unwrap()).unwrap();
        // The batches of a log have different codecs.
        let batch = batch.recompressed(Compression::ALL[self.written.len() % Compression::ALL.len()]).unwrap();
        let now_ms = self.now_ms;
        assert_eq!(self.broker().append("t", 0, &batch, now_ms).unwrap().base_offset, first);
        if self.has_append_time {
            records.iter_mut().for_each(|record| record.timestamp = now_ms);
        }
        self.producers.insert(id, (sequence + i32::try_from(records.len()).unwrap(), batch, first));
        self.left.extend(records.iter().map(|record| record.offset));
        self.written.extend(records);
    }

    fn partition_dir(&self) -> Option<PathBuf> {
        let logs = self.path.as_ref()?.path().join("logs");
        let topic = fs::read_dir(logs).unwrap().next()?.unwrap().path();
        Some(topic.join("0")).filter(|directory| directory.exists())
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let Some(directory) = self.partition_dir() else { return BTreeMap::new() };
        let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    fn crash(&mut self, files: u8, forgets: bool) {
        self.broker = None;
        for (at, (path, bytes)) in self.before.iter().enumerate() {
            if !path.exists() && files & (1 << (at % 8)) != 0 {
                fs::write(path, bytes).unwrap();
            }
        }
        if let Some(directory) = self.partition_dir() {
            fs::write(directory.join(format!("{:020}-{:020}.new", 0, 9)), "half of a batch").unwrap();
        }
        let journal = self.path.as_ref().unwrap().path().join("journal");
        let text = fs::read_to_string(&journal).unwrap();
        if let Some((kept, last)) = text.trim_end().rsplit_once('\n')
            && forgets
            && last.contains("log_cleaned")
        {
            fs::write(&journal, format!("{kept}\n")).unwrap();
        }
        self.before.clear();
        self.open();
    }

    /// Reads the records from offset `from` to the end of the log.
    fn read(&mut self, from: i64) -> Vec<Record> {
        let (mut position, mut found) = (from, Vec::new());
        loop {
            let read = self.broker().read("t", 0, position, 200).unwrap();
            let before = position;
            for mut batches in read.batches {
                while let Some(header) = crate::core::batch::Header::read(&batches) {
                    let records = records::decode(&batches.split_to(header.size)).unwrap();
                    found.extend(records.into_iter().filter(|record| record.offset >= from));
                    position = position.max(header.last_offset() + 1);
                }
            }
            if position == before {
                assert_eq!(position, read.high_watermark, "the reader reaches the end");
                return found;
            }
        }
    }

    fn check(&mut self) {
        let end = i64::try_from(self.written.len()).unwrap();
        assert_eq!(self.broker().find_offset("t", 0, OffsetSpec::Earliest).unwrap().offset, self.start);
        assert_eq!(self.broker().find_offset("t", 0, OffsetSpec::Latest).unwrap().offset, end);
        let found = self.read(self.start);
        for record in &found {
            assert_eq!(record, &self.written[usize::try_from(record.offset).unwrap()]);
        }
        let now_left: BTreeSet<i64> = found.iter().map(|record| record.offset).collect();
        for gone in self.left.difference(&now_left) {
            let record = &self.written[usize::try_from(*gone).unwrap()];
            assert!(
                self.lag_ms == 0 || record.timestamp <= self.now_ms - self.lag_ms,
                "removed within min.compaction.lag.ms: {record:?}"
            );
            let superseded =
                self.written[usize::try_from(gone + 1).unwrap()..].iter().any(|later| later.key == record.key);
            let expired = record.value.is_none() && self.now_ms - record.timestamp >= RETENTION_MS;
            assert!(superseded || expired, "removed without reason: {record:?}");
        }
        // Records that a crash has brought back may be removed again.
        self.left = now_left;
        let from_start = self.written[usize::try_from(self.start).unwrap()..].to_vec();
        assert_eq!(fold(&found), fold(&from_start));
        self.places(&found, end);
        // If a producer's last batch has been deleted with `delete_records`, its state is lost in a restart, with or
        // without compaction.
        let known = self.producers.values().filter(|(.., base_offset)| *base_offset >= self.start);
        for (_, batch, base_offset) in known.cloned().collect::<Vec<_>>() {
            let now_ms = self.now_ms;
            let again = self.broker().append("t", 0, &batch, now_ms).unwrap();
            assert_eq!((again.base_offset, again.is_repeated), (base_offset, true));
        }
    }

    /// Checks that each offset leads to the next remaining record, and each timestamp to the first record since then.
    fn places(&mut self, found: &[Record], end: i64) {
        for from in self.start..end {
            let next = found.iter().find(|record| record.offset >= from);
            assert_eq!(self.read(from).first(), next, "from {from}");
        }
        for since in [0, self.now_ms - 20, self.now_ms] {
            let next = found.iter().find(|record| record.timestamp >= since);
            let expected = next.map_or(-1, |record| record.offset);
            assert_eq!(self.broker().find_offset("t", 0, OffsetSpec::Since(since)).unwrap().offset, expected);
        }
        if self.start == 0 {
            let latest = found.iter().map(|record| record.timestamp).max().unwrap_or(-1);
            let offset = found.iter().find(|record| record.timestamp == latest).map_or(-1, |record| record.offset);
            let expected = FoundOffset { offset, timestamp: latest };
            assert_eq!(self.broker().find_offset("t", 0, OffsetSpec::MaxTimestamp).unwrap(), expected);
        }
    }

    fn each_key_is_there_once(&mut self) {
        let found = self.read(self.start);
        let keys: BTreeSet<_> = found.iter().map(|record| record.key.clone()).collect();
        assert_eq!(keys.len(), found.len(), "{found:?}");
    }
}

#[test]
fn a_damaged_batch_and_the_tombstones_after_it_are_kept() {
    let mut subject = Subject::new(true, (1 << 20, 1 << 20), 14, 0, false);
    for (key, is_tombstone) in [(1, false), (2, false), (1, true), (2, false)] {
        subject.append(&[(key, is_tombstone)], 0);
    }
    let (path, mut bytes) = subject.files().into_iter().next().unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
    for _ in 0..3 {
        subject.now_ms += 2 * RETENTION_MS;
        let now_ms = subject.now_ms;
        subject.broker().compact_now("t", 0, now_ms).unwrap();
        let (mut position, mut left) = (0, Vec::new());
        while position < 4 {
            let batch = subject.broker().read("t", 0, position, 1).unwrap().batches.remove(0);
            let header = crate::core::batch::Header::read(&batch).unwrap();
            left.push(header.base_offset);
            position = header.last_offset() + 1;
        }
        assert_eq!(left, [0, 2, 3], "without the tombstone, the deleted value would reappear");
    }
}

#[test]
fn an_abandoned_pass_leaves_no_file() {
    let is_new = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "new");
    let mut subject = Subject::new(true, (1 << 20, 1), 100_000, 0, false);
    for _ in 0..20 {
        subject.append(&[(1, false), (2, false)], 0);
    }
    subject.now_ms += 1000;
    while !subject.files().keys().any(is_new) {
        subject.compact_a_little();
    }
    subject.compact_a_little();
    let edit = ConfigEdit::Set("retention.ms".into(), "1".into());
    subject.broker().edit_configs("t", &[edit], false).unwrap();
    assert!(!subject.files().keys().any(is_new), "the file of a pass that is not continued");
    let now_ms = subject.now_ms;
    subject.broker().clean(now_ms);
    assert_eq!(subject.read(0).len(), 2);
}

/// Builds the table of a log: the last value of each key.
fn fold(records: &[Record]) -> BTreeMap<Bytes, Bytes> {
    let mut table = BTreeMap::new();
    for record in records {
        let key = record.key.clone().unwrap();
        match &record.value {
            Some(value) => drop(table.insert(key, value.clone())),
            None => drop(table.remove(&key)),
        }
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Law: whenever compaction runs and the broker is killed, the log gives the same table, the remaining records are
    /// unchanged, no record younger than the lag is removed, lookups by offset and timestamp find the next record, and
    /// retries of producers are still detected.
    #[test]
    fn a_compacted_log_gives_the_same_table(
        steps in proptest::collection::vec(step(), 1..40),
        memory in prop_oneof![Just(0usize), Just(150), Just(1 << 20)],
        step_bytes in prop_oneof![1usize..600, Just(1 << 20)],
        segment_bytes in 100u32..1500,
        lag_ms in prop_oneof![Just(0i64), 1i64..100],
        has_append_time in any::<bool>(),
    ) {
        for on_disk in [false, true] {
            let mut subject = Subject::new(on_disk, (memory, step_bytes), segment_bytes, lag_ms, has_append_time);
            for step in &steps {
                subject.run(step);
            }
        }
    }
}

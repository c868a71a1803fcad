//! Damage to the files of a broker that is not running: it starts, keeps what is whole, and reports what is not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use proptest::sample::Index;

use super::*;
use crate::core::batch::{Header, checksum_holds};

const TOPICS: [&str; 2] = ["plain", "compact"];

/// Runs `run` and returns its result with everything that it has logged as a warning or an error.
pub(super) fn logged<T>(run: impl FnOnce() -> T) -> (T, String) {
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (sink, level) = (Sink::default(), tracing_subscriber::filter::LevelFilter::WARN);
    let writer = sink.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_max_level(level).with_writer(move || writer.clone()).finish();
    let result = tracing::subscriber::with_default(subscriber, run);
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    (result, text)
}

/// A directory with two topics, and everything that was ever written to them.
struct Subject {
    path: tempfile::TempDir,
    written: BTreeMap<&'static str, BTreeMap<i64, String>>,
}

/// The state that a client sees: the records by offset, and the end of the log, by topic.
type Visible = BTreeMap<&'static str, (BTreeMap<i64, String>, i64)>;

impl Subject {
    /// Writes batches of these numbers of records, and stops the broker or kills it.
    fn new(counts: &[usize], deleted: i64, is_stopped: bool) -> (Self, Visible) {
        let mut subject =
            Self { path: tempfile::tempdir().unwrap(), written: TOPICS.map(|topic| (topic, BTreeMap::new())).into() };
        let (directory, mut broker) = open(subject.path.path());
        for topic in TOPICS {
            let configs =
                [("segment.bytes", "400"), ("cleanup.policy", if topic == "plain" { "delete" } else { topic })];
            let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            broker.create_topic(topic, TopicSpec { partitions: 1, configs }).unwrap();
        }
        for (round, count) in counts.iter().enumerate() {
            for topic in TOPICS {
                subject.append(&mut broker, topic, *count);
            }
            if round == counts.len() / 2 {
                broker.compact_now("compact", 0, 0).unwrap();
                let end = broker.find_offset("plain", 0, OffsetSpec::Latest).unwrap().offset;
                broker.delete_records("plain", 0, Some(deleted.min(end))).unwrap();
            }
        }
        let visible = visible_of(&broker);
        if is_stopped {
            broker.close().unwrap();
        }
        drop((broker, directory));
        (subject, visible)
    }

    fn append(&mut self, broker: &mut BrokerCore, topic: &'static str, count: usize) {
        let written = self.written.get_mut(topic).unwrap();
        let end = broker.find_offset(topic, 0, OffsetSpec::Latest).unwrap().offset;
        let record = |offset: i64| Record {
            key: Some(Bytes::from(format!("key {}", offset % 7))),
            value: Some(Bytes::from(format!("{topic} {offset} {}", "x".repeat(usize::try_from(offset % 40).unwrap())))),
            ..Record::default()
        };
        let records: Vec<Record> = (end..).take(count).map(record).collect();
        let batch = Batch::parse(records::encode(&records, Producer::NONE).unwrap()).unwrap();
        assert_eq!(broker.append(topic, 0, &batch, 0).unwrap().base_offset, end);
        let text = |record: &Record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
        written.extend((end..).zip(records.iter().map(text)));
    }

    /// Returns all files that are not empty, except damaged bytes that were set aside.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = all_files(self.path.path());
        found.retain(|path| path.extension().is_none_or(|extension| extension != "damaged"));
        found.retain(|path| fs::metadata(path).unwrap().len() > 0);
        found
    }

    /// Opens the broker and checks that nothing is lost but these offsets, by topic. Returns the log.
    fn opens_without(&mut self, before: &Visible, lost: &BTreeMap<&str, BTreeSet<i64>>) -> String {
        let ((directory, mut broker), log) = logged(|| open(self.path.path()));
        let after = visible_of(&broker);
        for topic in TOPICS {
            let ((before, end_before), (after, end_after)) = (&before[topic], &after[topic]);
            let lost = lost.get(topic).cloned().unwrap_or_default();
            for (offset, value) in after {
                assert_eq!(self.written[topic].get(offset), Some(value), "{topic} at {offset}");
            }
            for offset in before.keys().filter(|offset| !after.contains_key(offset)) {
                assert!(lost.contains(offset), "{topic} has lost {offset} beside {lost:?}\n{log}");
            }
            let least = lost.first().map_or(*end_before, |first| *end_before.min(first));
            assert!(end_after >= &least, "the end of {topic} is {end_after} instead of {end_before}");
        }
        // The broker goes on, and its next start finds nothing to report, unless the first one has not verified checksums.
        TOPICS.iter().for_each(|topic| self.append(&mut broker, topic, 2));
        let all = visible_of(&broker);
        drop((directory, broker));
        let (reopened, mut again) = logged(|| open(self.path.path()));
        assert_eq!(visible_of(&reopened.1), all);
        drop(reopened);
        if log.is_empty() {
            again = logged(|| open(self.path.path())).1;
        }
        assert_eq!(again, "", "reported twice, after\n{log}");
        log
    }
}

fn all_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(all_files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Reads everything, as a client that verifies checksums.
fn visible_of(broker: &BrokerCore) -> Visible {
    let topic = |topic: &'static str| {
        let end = broker.find_offset(topic, 0, OffsetSpec::Latest).unwrap().offset;
        let start = broker.find_offset(topic, 0, OffsetSpec::Earliest).unwrap().offset;
        let (mut position, mut found) = (start, BTreeMap::new());
        while position < end {
            let before = position;
            for mut batches in broker.read(topic, 0, position, 300).unwrap().batches {
                while let Some(header) = Header::read(&batches) {
                    position = position.max(header.last_offset() + 1);
                    let batch = batches.split_to(header.size);
                    if checksum_holds(&batch) {
                        let text = |value: &Bytes| String::from_utf8(value.to_vec()).unwrap();
                        let records = records::decode(&batch).unwrap().into_iter();
                        found.extend(records.map(|record| (record.offset, text(record.value.as_ref().unwrap()))));
                    }
                }
            }
            if position == before {
                break;
            }
        }
        found.retain(|offset, _| *offset >= start);
        (topic, (found, end))
    };
    TOPICS.map(topic).into()
}

#[derive(Debug, Clone)]
enum Blow {
    Flip {
        bit: u8,
    },
    Cut,
    /// Zeros from here on, as some file systems leave them after a power failure.
    Zeros,
}

impl Blow {
    fn strike(&self, bytes: &[u8], position: usize) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Flip { bit } => bytes[position] ^= 1 << bit,
            Self::Cut => bytes.truncate(position),
            Self::Zeros => bytes[position..].fill(0),
        }
        bytes
    }
}

fn blow() -> impl Strategy<Value = Blow> {
    prop_oneof![3 => (0u8..8).prop_map(|bit| Blow::Flip { bit }), 2 => Just(Blow::Cut), 1 => Just(Blow::Zeros)]
}

/// Returns the positions and offsets of the batches in a segment.
fn batches_of(bytes: &[u8]) -> Vec<(Range<usize>, Range<i64>)> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(header) = Header::read(&bytes[at..]) {
        found.push((at..at + header.size, header.base_offset..header.last_offset() + 1));
        at += header.size;
    }
    found
}

/// Returns the offsets whose batches the blow has changed.
fn struck(before: &[u8], after: &[u8]) -> BTreeSet<i64> {
    let is_changed = |at: &Range<usize>| after.get(at.clone()) != before.get(at.clone());
    batches_of(before).into_iter().filter(|(at, _)| is_changed(at)).flat_map(|(_, offsets)| offsets).collect()
}

fn cases() -> u32 {
    std::env::var("FAUST_TEST_CASES").map_or(100, |text| text.parse().expect("FAUST_TEST_CASES is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// Law: whatever byte of whatever file is damaged, the broker starts, has lost no record but those of the damaged
    /// batches, keeps the damaged bytes, reports them once, and goes on.
    #[test]
    fn damage_costs_no_more_than_what_is_damaged(
        counts in proptest::collection::vec(1usize..6, 1..30),
        deleted in prop_oneof![Just(0i64), 0i64..40],
        is_stopped in any::<bool>(),
        (file, position, blow) in (any::<Index>(), any::<Index>(), blow()),
    ) {
        let (mut subject, visible) = Subject::new(&counts, deleted, is_stopped);
        let files = subject.files();
        let path = file.get(&files).clone();
        let before = fs::read(&path).unwrap();
        let at = position.index(before.len());
        let after = blow.strike(&before, at);
        fs::write(&path, &after).unwrap();
        let segment = offsets_of(&path);
        let has_gaps = segment.is_some_and(|(_, end)| end.is_some());
        let is_offset = batches_of(&before).iter().any(|(range, _)| (range.start..range.start + 8).contains(&at));
        // No checksum covers the offset of a batch. Between gaps, where it does not follow from those before, a wrong one
        // is not noticed; the same holds for Kafka.
        prop_assume!(!(has_gaps && is_offset && matches!(blow, Blow::Flip { .. })));

        let ids = journal_ids(&subject.path);
        let topic = segment.and_then(|_| ids.iter().find(|(id, _)| path.to_string_lossy().contains(*id)).map(|(_, topic)| *topic));
        let lost = topic.map(|topic| (topic, struck(&before, &after))).into_iter().collect();
        let log = subject.opens_without(&visible, &lost);

        let is_boundary = after.len() < before.len()
            && (after.is_empty() || batches_of(&before).iter().any(|(range, _)| range.end == after.len()));
        let is_active = segment.is_some_and(|(base, end)| end.is_none()
            && files.iter().filter(|other| other.parent() == path.parent()).filter_map(|other| offsets_of(other)).all(|(other, _)| other <= base));
        let is_hidden = match blow {
            // A write that never happened looks the same.
            Blow::Cut => is_boundary && is_active && !is_stopped,
            // Checksums are not verified after a stop.
            Blow::Flip { .. } | Blow::Zeros => is_stopped,
        };
        if topic.is_some() && after != before && !is_hidden && !(is_boundary && has_gaps) {
            prop_assert!(!log.is_empty(), "{blow:?} at {at} of {path:?} is not reported");
        }
        for copy in all_files(subject.path.path()).iter().filter(|path| path.extension().is_some_and(|end| end == "damaged")) {
            let (_, position) = copy.file_stem().unwrap().to_str().unwrap().rsplit_once("at-").unwrap();
            let (position, kept): (usize, _) = (position.parse().unwrap(), fs::read(copy).unwrap());
            prop_assert_eq!(&after[position..position + kept.len()], &kept[..], "{:?}", copy);
        }
    }
}

/// Returns the topics by the names of their directories.
fn journal_ids(path: &tempfile::TempDir) -> BTreeMap<String, &'static str> {
    let copies = all_files(&path.path().join("logs")).into_iter().filter(|path| path.ends_with("topic"));
    let id = |path: PathBuf| {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        let name = if text.contains("\"name\":\"plain\"") { "plain" } else { "compact" };
        (path.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned(), name)
    };
    copies.map(id).collect()
}

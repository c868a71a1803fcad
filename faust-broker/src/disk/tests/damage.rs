//! Damage to the files of a broker that is not running: it starts, keeps what is whole, and reports what is not.
#![allow(clippy::print_stdout, reason = "a run reports how often each kind of file was damaged")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use proptest::sample::Index;
use proptest::test_runner::{TestCaseResult, TestRunner};

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

/// What happens to the directory of a [`Subject`].
#[derive(Debug, Clone)]
struct History {
    /// Batches of these numbers of records are written.
    counts: Vec<usize>,
    /// Half way, the records before this offset are deleted.
    deleted: i64,
    /// A checkpoint is made after this batch.
    checkpoint: Index,
    /// The broker is stopped, or killed.
    is_stopped: bool,
}

fn history() -> impl Strategy<Value = History> {
    let counts = proptest::collection::vec(1usize..6, 1..30);
    let deleted = prop_oneof![Just(0i64), 0i64..40];
    (counts, deleted, any::<Index>(), any::<bool>()).prop_map(|(counts, deleted, checkpoint, is_stopped)| History {
        counts,
        deleted,
        checkpoint,
        is_stopped,
    })
}

/// A directory with two topics, and everything that was ever written to them.
struct Subject {
    path: tempfile::TempDir,
    /// The ends of the logs at the checkpoint.
    synced: BTreeMap<&'static str, i64>,
    written: BTreeMap<&'static str, BTreeMap<i64, String>>,
}

/// The state that a client sees: the records by offset, and the end of the log, by topic.
type Visible = BTreeMap<&'static str, (BTreeMap<i64, String>, i64)>;

impl Subject {
    fn new(history: &History) -> (Self, Visible) {
        let History { counts, deleted, checkpoint, is_stopped } = history;
        let mut subject = Self {
            path: tempfile::tempdir().unwrap(),
            synced: BTreeMap::new(),
            written: TOPICS.map(|topic| (topic, BTreeMap::new())).into(),
        };
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
                broker.delete_records("plain", 0, Some(end.min(*deleted))).unwrap();
            }
            if round == checkpoint.index(counts.len()) {
                subject.synced = TOPICS.map(|topic| (topic, end_of(&broker, topic))).into();
                broker.checkpoint();
                // It is written in the background.
                while !subject.path.path().join("synced").exists() {
                    std::thread::yield_now();
                }
            }
        }
        let visible = visible_of(&broker);
        if *is_stopped {
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
        let ((directory, mut broker), log) = logged(|| open_verified(self.path.path()));
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
            let least = lost.first().map_or(*end_before, |first| *end_before.min(first)).max(self.synced[topic]);
            assert!(end_after >= &least, "the end of {topic} is {end_after} instead of {end_before}");
        }
        // The broker goes on, and its next start finds nothing to report, unless the first one has not verified checksums.
        TOPICS.iter().for_each(|topic| self.append(&mut broker, topic, 2));
        let all = visible_of(&broker);
        drop((directory, broker));
        let (reopened, mut again) = logged(|| open_verified(self.path.path()));
        assert_eq!(visible_of(&reopened.1), all);
        drop(reopened);
        if log.is_empty() {
            again = logged(|| open_verified(self.path.path())).1;
        }
        assert_eq!(again, "", "reported twice, after\n{log}");
        log
    }
}

/// Opens the broker, and verifies the checksums that its start has trusted.
fn open_verified(path: &Path) -> (Directory, BrokerCore) {
    let (directory, mut broker) = open(path);
    while broker.is_unverified() {
        broker.verify_step(300);
    }
    (directory, broker)
}

fn end_of(broker: &BrokerCore, topic: &str) -> i64 {
    broker.find_offset(topic, 0, OffsetSpec::Latest).unwrap().offset
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
    fn name(&self) -> &'static str {
        match self {
            Self::Flip { .. } => "flip",
            Self::Cut => "cut",
            Self::Zeros => "zeros",
        }
    }

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

/// The kinds of files that are not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    SealedSegment,
    ActiveSegment,
    SegmentWithGaps,
    Summary,
    Journal,
    TopicCopy,
    Stopped,
    Synced,
    Holder,
    Reserve,
}

impl Kind {
    fn of(path: &Path, files: &[PathBuf]) -> Self {
        match path.file_name().unwrap().to_str().unwrap() {
            "journal" => Self::Journal,
            "topic" => Self::TopicCopy,
            "stopped" => Self::Stopped,
            "synced" => Self::Synced,
            "holder" => Self::Holder,
            "reserve" => Self::Reserve,
            name if name.ends_with(".summary") => Self::Summary,
            name => match offsets_of(path).unwrap_or_else(|| panic!("an unknown kind of file: {name}")) {
                (_, Some(_)) => Self::SegmentWithGaps,
                (base, None) => {
                    let neighbours = files.iter().filter(|other| other.parent() == path.parent());
                    let is_last = neighbours.filter_map(|other| offsets_of(other)).all(|(other, _)| other <= base);
                    if is_last { Self::ActiveSegment } else { Self::SealedSegment }
                }
            },
        }
    }
}

/// How often a blow has struck a kind of file.
type Tally = Mutex<BTreeMap<(Kind, &'static str), usize>>;

/// Damages a file, and checks what the next start makes of it.
fn check(history: &History, kind: Index, file: Index, position: Index, blow: &Blow, tally: &Tally) -> TestCaseResult {
    let (mut subject, visible) = Subject::new(history);
    let files = subject.files();
    let kinds: BTreeSet<Kind> = files.iter().map(|path| Kind::of(path, &files)).collect();
    let kind = *kind.get(&kinds.into_iter().collect::<Vec<_>>());
    let of_kind: Vec<_> = files.iter().filter(|path| Kind::of(path, &files) == kind).collect();
    let path = (*file.get(&of_kind)).clone();
    let before = fs::read(&path).unwrap();
    let at = position.index(before.len());
    let after = blow.strike(&before, at);
    let is_segment = offsets_of(&path).is_some();
    let batches = if is_segment { batches_of(&before) } else { Vec::new() };
    let has_gaps = kind == Kind::SegmentWithGaps;
    let is_offset = batches.iter().any(|(range, _)| (range.start..range.start + 8).contains(&at));
    // No checksum covers the offset of a batch. Between gaps, where it does not follow from those before, a wrong one
    // is not noticed; the same holds for Kafka.
    prop_assume!(after != before && !(has_gaps && is_offset && matches!(blow, Blow::Flip { .. })));
    fs::write(&path, &after).unwrap();
    *tally.lock().unwrap().entry((kind, blow.name())).or_default() += 1;

    let ids = journal_ids(&subject.path);
    let find = || ids.iter().find(|(id, _)| path.to_string_lossy().contains(*id)).map(|(_, topic)| *topic);
    let topic = if is_segment { find() } else { None };
    let struck = if is_segment { struck(&before, &after) } else { BTreeSet::new() };
    let synced = topic.map_or(0, |topic| subject.synced[topic]);
    let is_synced = struck.first().is_some_and(|first| *first < synced);
    let log = subject.opens_without(&visible, &topic.map(|topic| (topic, struck)).into_iter().collect());

    let is_line = kind == Kind::Journal && (after.is_empty() || after.ends_with(b"\n") || before[at] == b'\n');
    let is_boundary = after.is_empty() || batches.iter().any(|(range, _)| range.end == after.len());
    let is_hidden = match (kind, blow) {
        // What they hold is not needed.
        (Kind::Holder | Kind::Reserve, _) => true,
        // It is read only if all of its segment was synced.
        (Kind::Summary, _) => !history.is_stopped,
        // The mark of the stop takes its place.
        (Kind::Synced, _) => history.is_stopped,
        // A change that never happened looks the same.
        (Kind::Journal, Blow::Cut) => is_line,
        // A write that never happened looks the same, unless it was synced.
        (Kind::ActiveSegment, Blow::Cut) => is_boundary && !history.is_stopped && !is_synced,
        (Kind::SegmentWithGaps, Blow::Cut) => is_boundary,
        _ => false,
    };
    prop_assert!(!log.is_empty() || is_hidden, "{blow:?} at {at} of {path:?} is not reported");
    for copy in
        all_files(subject.path.path()).iter().filter(|path| path.extension().is_some_and(|end| end == "damaged"))
    {
        let (_, position) = copy.file_stem().unwrap().to_str().unwrap().rsplit_once("at-").unwrap();
        let (position, kept): (usize, _) = (position.parse().unwrap(), fs::read(copy).unwrap());
        prop_assert_eq!(&after[position..position + kept.len()], &kept[..], "{:?}", copy);
    }
    Ok(())
}

/// Law: whatever byte of whatever file is damaged, the broker starts, has lost no record but those of the damaged
/// batches, keeps the damaged bytes, reports them once, and goes on.
#[test]
fn damage_costs_no_more_than_what_is_damaged() {
    let tally = Tally::default();
    let strategy = (history(), any::<Index>(), any::<Index>(), any::<Index>(), blow());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(cases()));
    let run = runner
        .run(&strategy, |(history, kind, file, position, blow)| check(&history, kind, file, position, &blow, &tally));
    run.unwrap_or_else(|failure| panic!("{failure}"));
    let tally = tally.into_inner().unwrap();
    println!("{tally:?}");
    let least = usize::try_from(cases() / 100).unwrap().max(1);
    for kind in [
        Kind::SealedSegment,
        Kind::ActiveSegment,
        Kind::SegmentWithGaps,
        Kind::Summary,
        Kind::Journal,
        Kind::TopicCopy,
        Kind::Stopped,
        Kind::Synced,
        Kind::Holder,
        Kind::Reserve,
    ] {
        let count: usize = tally.iter().filter(|((struck, _), _)| *struck == kind).map(|(_, count)| count).sum();
        assert!(count >= least, "{kind:?} was damaged only {count} times: {tally:?}");
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

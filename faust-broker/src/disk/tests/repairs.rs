//! Examples of repairs: which records are left, at which offsets, and what is reported.

use super::damage::logged;
use super::*;
use crate::core::ErrorCode;
use crate::core::batch::Header;

/// A directory with one topic, whose records are one batch each.
struct Subject {
    path: tempfile::TempDir,
}

impl Subject {
    /// Appends records with these values, and stops the broker or kills it.
    fn new(values: &[Bytes], segment_bytes: u32, is_stopped: bool) -> Self {
        let subject = Self { path: tempfile::tempdir().unwrap() };
        let (directory, mut broker) = open(subject.path.path());
        let configs = [("segment.bytes".to_owned(), segment_bytes.to_string())].into();
        broker.create_topic("t", TopicSpec { partitions: 1, configs }).unwrap();
        for (sequence, value) in (0..).zip(values) {
            broker.append("t", 0, &single(value.clone(), sequence), 0).unwrap();
        }
        commit(&mut broker, 3);
        if is_stopped {
            broker.close().unwrap();
        }
        drop((broker, directory));
        subject
    }

    fn numbered(count: usize, segment_bytes: u32, is_stopped: bool) -> Self {
        let values: Vec<Bytes> = (0..count).map(|number| Bytes::from(format!("value {number}"))).collect();
        Self::new(&values, segment_bytes, is_stopped)
    }

    fn partition_dir(&self) -> PathBuf {
        let logs = self.path.path().join("logs");
        fs::read_dir(logs).unwrap().next().unwrap().unwrap().path().join("0")
    }

    /// Returns the names of the files of the partition that end like this.
    fn names(&self, end: &str) -> Vec<String> {
        let entries = fs::read_dir(self.partition_dir()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(end));
        names.sort();
        names
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.partition_dir().join(name);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    fn open(&self) -> ((Directory, BrokerCore), String) {
        logged(|| open(self.path.path()))
    }
}

fn single(value: Bytes, sequence: i32) -> Batch {
    let record = Record { value: Some(value), ..Record::default() };
    Batch::parse(records::encode(&[record], Producer { id: 7, epoch: 0, sequence }).unwrap()).unwrap()
}

/// Returns where each batch begins.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(header) = Header::read(&bytes[at..]) {
        found.push(at);
        at += header.size;
    }
    found
}

#[test]
fn records_behind_a_flipped_byte_are_kept() {
    let subject = Subject::numbered(500, 1 << 20, false);
    let name = subject.names(".log").remove(0);
    subject.change(&name, |bytes| {
        let at = starts(bytes)[200];
        bytes[at + 65] ^= 4;
    });
    let ((_directory, mut broker), log) = subject.open();
    let (start, offsets, _) = visible(&broker);
    assert_eq!((start, offsets), (0, (0..500).filter(|offset| *offset != 200).collect()));
    assert_eq!(subject.names(".damaged").len(), 1);
    for part in ["ERROR", "topic=\"t\"", &name, "first_offset=200 next_offset=201", "checksum", ".damaged"] {
        assert!(log.contains(part), "{part} is missing in {log}");
    }
    let appended = broker.append("t", 0, &single(Bytes::from_static(b"next"), 500), 0).unwrap();
    assert_eq!((appended.base_offset, appended.is_repeated), (500, false));
}

#[test]
fn a_repair_that_was_interrupted_is_repeated() {
    let subject = Subject::numbered(10, 1 << 20, false);
    let name = subject.names(".log").remove(0);
    subject.change(&name, |bytes| bytes[70] ^= 1);
    let damaged = fs::read(subject.partition_dir().join(&name)).unwrap();
    let check = |copies: usize, is_reported: bool| {
        let ((directory, broker), log) = subject.open();
        assert_eq!(visible(&broker).1, (1..10).collect::<Vec<_>>());
        assert_eq!((subject.names(".damaged").len(), log.contains("ERROR")), (copies, is_reported), "{log}");
        assert_ne!(subject.names(".log"), [name.as_str()]);
        drop((directory, broker));
    };
    check(1, true);
    // The crash came before the damaged file was deleted.
    fs::write(subject.partition_dir().join(&name), &damaged).unwrap();
    check(1, false);
    // The crash came before the new file had its name.
    let repaired = subject.partition_dir().join(subject.names(".log").remove(0));
    fs::rename(&repaired, repaired.with_extension("new")).unwrap();
    fs::write(subject.partition_dir().join(&name), &damaged).unwrap();
    check(2, true);
}

#[test]
fn a_producer_goes_on_behind_its_lost_batch() {
    let subject = Subject::numbered(10, 1 << 20, false);
    let name = subject.names(".log").remove(0);
    subject.change(&name, |bytes| *bytes.last_mut().unwrap() ^= 1);
    let ((_directory, mut broker), _) = subject.open();
    assert_eq!(broker.find_offset("t", 0, OffsetSpec::Latest).unwrap().offset, 10, "offset 9 is not used again");
    let repeated = broker.append("t", 0, &single(Bytes::from_static(b"value 8"), 8), 0).unwrap();
    assert_eq!((repeated.base_offset, repeated.is_repeated), (8, true));
    let appended = broker.append("t", 0, &single(Bytes::from_static(b"value 10"), 10), 0).unwrap();
    assert_eq!(appended.base_offset, 10);
}

#[test]
fn a_sealed_segment_that_was_cut_short_costs_its_end() {
    for is_stopped in [false, true] {
        let subject = Subject::numbered(20, 250, is_stopped);
        let names = subject.names(".log");
        assert!(names.len() > 3);
        // In the middle of a batch, between two batches, and before the first one.
        let mut lost = Vec::new();
        for (name, cut) in names[..3].iter().zip([100, 81, 0]) {
            let (base, _) = offsets_of(Path::new(name)).unwrap();
            subject.change(name, |bytes| {
                let is_whole = |at: &usize| *at + Header::read(&bytes[*at..]).unwrap().size <= cut;
                let whole = starts(bytes).iter().filter(|at| is_whole(at)).count();
                lost.extend(base + i64::try_from(whole).unwrap()..base + i64::try_from(starts(bytes).len()).unwrap());
                let cut = if cut == 81 { Header::read(bytes).unwrap().size } else { cut };
                bytes.truncate(cut);
            });
        }
        let ((directory, broker), log) = subject.open();
        let (_, offsets, _) = visible(&broker);
        let kept: Vec<i64> = (0..20).filter(|offset| !offsets.contains(offset)).collect();
        assert!(kept.iter().all(|offset| lost.contains(offset)), "{kept:?} is missing, {lost:?} was cut");
        assert_eq!(log.matches("ERROR").count(), 3, "{log}");
        drop((directory, broker));
        let ((_directory, broker), log) = subject.open();
        assert_eq!((visible(&broker).1, log), (offsets, String::new()));
    }
}

#[test]
fn a_value_that_contains_batches_is_not_taken_for_them() {
    // The value contains what could be the next two batches of the log.
    let mut value = Vec::new();
    for offset in [3i64, 4] {
        let fake = single(Bytes::from_static(b"fake"), 0);
        let (stamp, rest) = fake.stamped(offset, 0);
        value.extend_from_slice(&stamp);
        value.extend_from_slice(rest);
    }
    let plain = Bytes::from_static;
    let values = [plain(b"value 0"), plain(b"value 1"), value.into(), plain(b"value 3")];
    // The length, the leader epoch, the checksum and the records.
    for place in [11, 12, 20, 70] {
        let subject = Subject::new(&values, 1 << 20, false);
        let name = subject.names(".log").remove(0);
        subject.change(&name, |bytes| {
            let at = starts(bytes)[2];
            bytes[at + place] ^= 2;
        });
        let ((_directory, broker), _) = subject.open();
        let read = broker.read("t", 0, 3, usize::MAX).unwrap();
        let found = records::decode(&read.batches[0]).unwrap();
        assert_eq!((found[0].offset, found[0].value.as_deref()), (3, Some(&b"value 3"[..])), "flipped at {place}");
    }
}

#[test]
fn the_offsets_of_a_lost_end_are_not_used_again_after_a_stop() {
    let subject = Subject::numbered(10, 1 << 20, true);
    let name = subject.names(".log").remove(0);
    subject.change(&name, |bytes| {
        let at = starts(bytes)[7];
        bytes.truncate(at);
    });
    let ((_directory, mut broker), log) = subject.open();
    assert!(log.contains("first_offset=7 next_offset=10"), "{log}");
    let appended = broker.append("t", 0, &single(Bytes::from_static(b"next"), 10), 0).unwrap();
    assert_eq!(appended.base_offset, 10);
}

#[test]
fn a_log_without_records_keeps_its_end_without_the_journal() {
    let subject = Subject::numbered(10, 250, false);
    let ((directory, mut broker), _) = subject.open();
    assert_eq!(broker.delete_records("t", 0, None), Ok(10));
    assert_eq!(subject.names(".log").len(), 1);
    drop((directory, broker));
    fs::remove_file(subject.path.path().join("journal")).unwrap();
    let ((_directory, mut broker), log) = subject.open();
    assert!(log.contains("the journal has lost a topic"), "{log}");
    assert_eq!(broker.append("t", 0, &single(Bytes::new(), 0), 0).unwrap().base_offset, 10);
    // An id that has been used is not given to another producer.
    assert!(broker.init_producer_id().unwrap() > 7);
}

#[test]
fn a_damaged_line_of_the_journal_costs_one_change() {
    let subject = Subject::numbered(4, 1 << 20, true);
    let journal = subject.path.path().join("journal");
    let whole = fs::read(&journal).unwrap();
    let lines = whole.split_inclusive(|byte| *byte == b'\n').count();
    for number in 0..lines {
        for flips_newline in [false, true] {
            let mut bytes = whole.clone();
            let ends: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'\n').collect();
            bytes[ends[number] - if flips_newline { 0 } else { 2 }] ^= 1;
            fs::write(&journal, &bytes).unwrap();
            let ((directory, broker), log) = subject.open();
            let (_, offsets, committed) = visible(&broker);
            assert_eq!(offsets, [0, 1, 2, 3], "line {number}");
            let is_commit =
                !flips_newline && String::from_utf8_lossy(&whole).lines().nth(number).unwrap().contains("committed");
            assert_eq!(committed, if is_commit { None } else { Some(3) }, "line {number}\n{log}");
            assert_eq!(log.contains("no change is lost"), flips_newline, "line {number}\n{log}");
            drop((directory, broker));
        }
    }
}

#[test]
fn damage_to_a_synced_segment_is_repaired_while_the_broker_runs() {
    // The offset of a batch, which no checksum covers, its length, its leader epoch, and its records.
    for place in [0, 8, 15, 65] {
        let subject = Subject::numbered(20, 1 << 20, true);
        let name = subject.names(".log").remove(0);
        subject.change(&name, |bytes| {
            let at = starts(bytes)[5];
            bytes[at + place] ^= 1;
        });
        let ((_directory, mut broker), log) = subject.open();
        assert_eq!(log, "", "the start does not read the segment");
        if place < 15 {
            assert_eq!(
                broker.read("t", 0, 5, 300),
                Err(ErrorCode::StorageError),
                "no reader gets records of another offset"
            );
        }
        let ((), log) = logged(|| {
            while broker.is_unverified() {
                broker.verify_step(300);
            }
        });
        assert!(log.contains("first_offset=5 next_offset=6"), "{log}");
        assert_eq!(visible(&broker).1, (0..20).filter(|offset| *offset != 5).collect::<Vec<_>>());
        assert_eq!(broker.append("t", 0, &single(Bytes::new(), 20), 0).unwrap().base_offset, 20);
    }
}

#[test]
fn a_batch_that_seems_to_end_before_its_start_is_damaged() {
    let subject = Subject::numbered(20, 1 << 20, false);
    let name = subject.names(".log").remove(0);
    subject.change(&name, |bytes| bytes[65] ^= 1);
    let ((directory, mut broker), log) = subject.open();
    assert!(log.contains("first_offset=0 next_offset=1"), "{log}");
    broker.close().unwrap();
    drop((directory, broker));
    // Now the segment has a gap, so a batch that is skipped would not be missed.
    let name = subject.names(".log").remove(0);
    subject.change(&name, |bytes| bytes[23] ^= 0x80);
    let ((_directory, mut broker), _) = subject.open();
    let ((), log) = logged(|| while broker.verify_step(300) > 0 {});
    assert!(log.contains("the batch has unexpected offsets"), "{log}");
}

#[test]
fn a_deletion_that_the_journal_has_lost_does_not_affect_the_next_topic_of_the_name() {
    let subject = Subject::numbered(10, 250, false);
    let directory = Directory::lock(subject.path.path(), ([127, 0, 0, 1], 9092).into()).unwrap();
    let mut broker = directory.open(CoreConfig::seeded(7), OPEN_FILES).unwrap();
    broker.delete_records("t", 0, None).unwrap();
    broker.delete_topic("t").unwrap();
    broker.create_topic("t", TopicSpec { partitions: 1, ..TopicSpec::default() }).unwrap();
    for sequence in 0..3 {
        broker.append("t", 0, &single(Bytes::new(), sequence), 0).unwrap();
    }
    drop((directory, broker));
    let journal = subject.path.path().join("journal");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replace("topic_deleted", "topic_delated")).unwrap();
    let ((_directory, broker), log) = subject.open();
    assert!(log.contains("a change of a topic"), "{log}");
    assert_eq!(visible(&broker), (0, vec![0, 1, 2], None));
}

#[test]
fn a_change_of_a_later_version_is_not_damage() {
    let subject = Subject::numbered(1, 1 << 20, true);
    let journal = subject.path.path().join("journal");
    let json = r#"{"moon_landed":{"year":2069}}"#;
    let mut text = fs::read_to_string(&journal).unwrap();
    text.push_str(&format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())));
    fs::write(&journal, &text).unwrap();
    let directory = Directory::lock(subject.path.path(), ([127, 0, 0, 1], 9092).into()).unwrap();
    let refused = directory.open(CoreConfig::default(), OPEN_FILES).unwrap_err();
    assert!(refused.to_string().contains("later version"), "{refused}");
    assert_eq!(fs::read_to_string(&journal).unwrap(), text);
}

#[test]
fn a_journal_of_an_earlier_version_is_read() {
    let path = tempfile::tempdir().unwrap();
    let text = "{\"cluster\":{\"id\":\"c\"}}\n\
                {\"topic_created\":{\"name\":\"t\",\"id\":\"000000000000000000000000000000aa\",\"partitions\":3,\"configs\":{}}}\n";
    fs::write(path.path().join("journal"), text).unwrap();
    let ((directory, broker), log) = logged(|| open(path.path()));
    assert_eq!((broker.cluster_id(), broker.topic("t").unwrap().partitions(), log.as_str()), ("c", 3, ""));
    drop((directory, broker));
    fs::remove_file(path.path().join("journal")).unwrap();
    let (_directory, broker) = open(path.path());
    assert_eq!(broker.topic("t").unwrap().partitions(), 3, "its copy was written at the first start");
}

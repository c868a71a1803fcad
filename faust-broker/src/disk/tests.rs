//! Laws of the storage on disk: closing and reopening it changes nothing.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod compaction;
mod consumer_groups;
mod damage;
mod repairs;
mod transactions;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::core::records::{self, Producer, Record};
use crate::core::{Batch, MemberRef, OffsetSpec, OffsetToCommit, TopicSpec};

/// Fewer than there are segments in most tests.
const OPEN_FILES: NonZeroUsize = NonZeroUsize::new(2).unwrap();

fn open(path: &Path) -> (Directory, BrokerCore) {
    let directory = Directory::lock(path, ([127, 0, 0, 1], 9092).into()).unwrap();
    // Checkpoints sync everything.
    let config = CoreConfig { unsynced_bytes: 0, ..CoreConfig::default() };
    let broker = directory.open(config, OPEN_FILES).unwrap();
    (directory, broker)
}

fn batch(count: usize, sequence: i32) -> Batch {
    let records = vec![Record { value: Some(Bytes::from_static(b"value")), ..Record::default() }; count];
    let producer = Producer { id: 7, epoch: 0, sequence };
    Batch::parse(records::encode(&records, producer).unwrap()).unwrap()
}

fn commit(broker: &mut BrokerCore, offset: i64) {
    let offset = OffsetToCommit { metadata: "m".into(), ..OffsetToCommit::new("t", 0, offset) };
    let no_member = MemberRef { generation: -1, ..MemberRef::default() };
    broker.commit_offsets("g", &no_member, vec![offset], 0).unwrap()[0].unwrap();
}

/// Returns the client-visible state of the topic: log start offset, record offsets and committed offset.
fn visible(broker: &BrokerCore) -> (i64, Vec<i64>, Option<i64>) {
    let start = broker.find_offset("t", 0, OffsetSpec::Earliest).unwrap().offset;
    let end = broker.find_offset("t", 0, OffsetSpec::Latest).unwrap().offset;
    let mut offsets = Vec::new();
    while offsets.last().map_or(start, |last| last + 1) < end {
        let from = offsets.last().map_or(start, |last| last + 1);
        let read = broker.read("t", 0, from, 300).unwrap();
        for mut batches in read.batches {
            while let Some(header) = crate::core::batch::Header::read(&batches) {
                let records = records::decode(&batches.split_to(header.size)).unwrap();
                offsets.extend(records.iter().map(|record| record.offset).filter(|offset| *offset >= from));
            }
        }
    }
    (start, offsets, broker.committed_offset("g", "t", 0).map(|committed| committed.offset))
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Delete(i64),
    Commit,
    /// Reopens the directory after a kill, or after a stop.
    Reopen {
        is_stopped: bool,
    },
    Snapshot,
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1usize..5).prop_map(Step::Append),
        1 => (0i64..40).prop_map(Step::Delete),
        1 => Just(Step::Commit),
        2 => any::<bool>().prop_map(|is_stopped| Step::Reopen { is_stopped }),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Checkpoint),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Law: a broker on disk that is closed and reopened at any time behaves like one in memory that is never closed.
    #[test]
    fn reopening_changes_nothing(steps in proptest::collection::vec(step(), 1..40)) {
        let path = tempfile::tempdir().unwrap();
        let mut opened = open(path.path());
        let mut model = BrokerCore::new(CoreConfig::default());
        let configs = [("segment.bytes".to_owned(), "250".to_owned())].into();
        let spec = TopicSpec { partitions: 2, configs };
        opened.1.create_topic("t", spec.clone()).unwrap();
        model.create_topic("t", spec).unwrap();
        let mut sequence = 0;
        for step in steps {
            match step {
                Step::Append(count) => {
                    let batch = batch(count, sequence);
                    sequence += i32::try_from(count).unwrap();
                    for _ in 0..2 {
                        // The second append is a retry, even after a restart.
                        prop_assert_eq!(opened.1.append("t", 0, &batch, 0), model.append("t", 0, &batch, 0));
                    }
                }
                Step::Delete(offset) => {
                    prop_assert_eq!(opened.1.delete_records("t", 0, Some(offset)), model.delete_records("t", 0, Some(offset)));
                }
                Step::Commit => {
                    commit(&mut opened.1, i64::from(sequence));
                    commit(&mut model, i64::from(sequence));
                }
                Step::Reopen { is_stopped } => {
                    if is_stopped {
                        opened.1.close().unwrap();
                    }
                    drop(opened);
                    opened = open(path.path());
                }
                Step::Snapshot => opened.1.shorten_journal(),
                Step::Checkpoint => opened.1.checkpoint(),
            }
            prop_assert_eq!(visible(&opened.1), visible(&model));
        }
    }
}

#[test]
fn an_interrupted_topic_deletion_is_completed_at_the_next_start() {
    let path = tempfile::tempdir().unwrap();
    let (directory, mut broker) = open(path.path());
    broker.create_topic("t", TopicSpec { partitions: 1, ..TopicSpec::default() }).unwrap();
    broker.append("t", 0, &batch(1, 0), 0).unwrap();
    let files = || fs::read_dir(path.path().join("logs")).unwrap().count();
    assert_eq!(files(), 1);
    drop((directory, broker));
    let mut journal = fs::read_to_string(path.path().join("journal")).unwrap();
    journal.push_str("{\"topic_deleted\":{\"name\":\"t\"}}\n");
    fs::write(path.path().join("journal"), journal).unwrap();
    let (_directory, broker) = open(path.path());
    assert_eq!((files(), broker.topics().count()), (0, 0));
}

#[test]
fn the_id_of_a_producer_that_no_broker_has_issued_does_not_use_up_the_others() {
    let path = tempfile::tempdir().unwrap();
    let (directory, mut broker) = open(path.path());
    broker.create_topic("t", TopicSpec { partitions: 1, ..TopicSpec::default() }).unwrap();
    let producer = Producer { id: i64::MAX, epoch: 0, sequence: 0 };
    let sent = Batch::parse(records::encode(&[Record::default()], producer).unwrap()).unwrap();
    broker.append("t", 0, &sent, 0).unwrap();
    drop((directory, broker));
    let (_directory, mut broker) = open(path.path());
    let id = broker.init_producer_id().unwrap();
    assert!((1..1_000_000_000).contains(&id), "{id}");
}

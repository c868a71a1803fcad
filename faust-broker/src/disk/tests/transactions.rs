//! Transactions survive restarts and crashes at any point.

use std::collections::HashSet;

use super::*;
use crate::core::batch::Header;
use crate::core::records::marker;
use crate::core::{ErrorCode, Outcome, ProducerIdentity};

const TIMEOUT_MS: i32 = 60_000;
const IDS: [&str; 2] = ["a", "b"];

/// A broker with the clients that use it.
struct Side {
    broker: BrokerCore,
    clients: [Client; 2],
}

#[derive(Debug, Clone)]
struct Client {
    identity: ProducerIdentity,
    /// The next sequence number of each partition.
    sequences: [i32; 2],
}

impl Side {
    fn new(mut broker: BrokerCore) -> Self {
        let configs = [("segment.bytes".to_owned(), "300".to_owned())].into();
        broker.create_topic("t", TopicSpec { partitions: 2, configs }).unwrap();
        let clients = IDS.map(|id| Client::init(&mut broker, id));
        Self { broker, clients }
    }

    fn send(&mut self, who: usize, partition: i32, text: &str) {
        let client = &mut self.clients[who];
        let at = [("t".to_owned(), partition)];
        let added = self.broker.add_partitions(IDS[who], client.identity, &at, 0).unwrap();
        assert_eq!(added, [Ok(())]);
        let sequence = &mut client.sequences[usize::try_from(partition).unwrap()];
        self.broker.append("t", partition, &in_transaction(client.identity, *sequence, text), 0).unwrap();
        *sequence += 1;
    }

    fn commit_offset(&mut self, who: usize, offset: i64) {
        let identity = self.clients[who].identity;
        self.broker.add_offsets(IDS[who], identity, "g", 0).unwrap();
        let no_member = MemberRef { generation: -1, ..MemberRef::default() };
        let offsets = vec![OffsetToCommit::new("t", i32::try_from(who).unwrap(), offset)];
        let each = self.broker.commit_offsets_in_transaction(IDS[who], identity, "g", &no_member, offsets, 0).unwrap();
        assert_eq!(each, [Ok(())]);
    }

    fn end(&mut self, who: usize, outcome: Outcome, renews: bool) -> Result<(), ErrorCode> {
        let client = &mut self.clients[who];
        let producer = self.broker.end_transaction(IDS[who], client.identity, outcome, renews, 0)?;
        if renews {
            *client = Client { identity: producer, sequences: [0; 2] };
        }
        Ok(())
    }

    /// Returns what clients see: committed records and the last stable offset of each partition, committed offsets, and
    /// the phase of each transactional id.
    fn visible(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let partitions = [0, 1].map(|partition| {
            let latest = self.broker.find_committed_offset("t", partition, OffsetSpec::Latest).unwrap().offset;
            (committed(&self.broker, partition), latest)
        });
        let offset = |partition| self.broker.committed_offset("g", "t", partition).map(|committed| committed.offset);
        let pending = |partition| self.broker.has_pending_offset("g", "t", partition);
        let phases: Vec<_> = self.broker.transactional_ids().map(|view| view.phase).collect();
        (partitions, [0, 1].map(offset), [0, 1].map(pending), phases)
    }
}

impl Client {
    fn init(broker: &mut BrokerCore, id: &str) -> Self {
        let identity = broker.init_transactions(id, TIMEOUT_MS, None, 0).unwrap();
        Self { identity, sequences: [0; 2] }
    }
}

fn in_transaction(producer: ProducerIdentity, sequence: i32, text: &str) -> Batch {
    let record = Record { value: Some(Bytes::from(text.to_owned())), ..Record::default() };
    let producer = Producer { id: producer.id, epoch: producer.epoch, sequence };
    Batch::parse(records::encode(&[record], producer).unwrap()).unwrap().transactional()
}

fn committed(broker: &BrokerCore, partition: i32) -> Vec<String> {
    let (mut offset, mut texts) = (0, Vec::new());
    loop {
        let read = broker.read_committed("t", partition, offset, usize::MAX).unwrap();
        if read.batches.is_empty() {
            return texts;
        }
        let mut listed = read.aborted.into_iter().peekable();
        let mut aborted = HashSet::new();
        for mut batches in read.batches {
            while let Some(header) = Header::read(&batches) {
                let batch = batches.split_to(header.size);
                while let Some(next) = listed.next_if(|next| next.first_offset <= header.last_offset()) {
                    aborted.insert(next.producer_id);
                }
                offset = header.last_offset() + 1;
                if marker::outcome(&header, &batch).is_some() && header.is_control() {
                    aborted.remove(&header.producer_id);
                } else if !aborted.contains(&header.producer_id) {
                    let records = records::decode(&batch).unwrap().into_iter();
                    texts.extend(records.map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
                }
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Move {
    Send(usize, i32),
    CommitOffset(usize),
    End(usize, Outcome, bool),
    Init(usize),
    /// The broker is stopped first, or killed.
    Reopen(bool),
    Snapshot,
}

fn moves() -> impl Strategy<Value = Move> {
    let outcome = || prop_oneof![2 => Just(Outcome::Commit), 1 => Just(Outcome::Abort)];
    prop_oneof![
        6 => (0usize..2, 0..2).prop_map(|(who, at)| Move::Send(who, at)),
        2 => (0usize..2).prop_map(Move::CommitOffset),
        4 => (0usize..2, outcome(), any::<bool>()).prop_map(|(who, outcome, renews)| Move::End(who, outcome, renews)),
        1 => (0usize..2).prop_map(Move::Init),
        3 => any::<bool>().prop_map(Move::Reopen),
        1 => Just(Move::Snapshot),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Law: a broker on disk that is closed and reopened at any time, in the middle of transactions too, behaves like one
    /// in memory that is never closed.
    #[test]
    fn reopening_changes_no_transaction(history in proptest::collection::vec(moves(), 1..50)) {
        let path = tempfile::tempdir().unwrap();
        let (mut directory, broker) = open(path.path());
        let mut opened = Side::new(broker);
        let mut model = Side::new(BrokerCore::new(CoreConfig::default()));
        for (number, step) in history.into_iter().enumerate() {
            let text = number.to_string();
            for side in [&mut opened, &mut model] {
                match step {
                    Move::Send(who, partition) => side.send(who, partition, &text),
                    Move::CommitOffset(who) => side.commit_offset(who, i64::try_from(number).unwrap()),
                    // There may be no transaction, in which case both refuse.
                    Move::End(who, outcome, renews) => drop(side.end(who, outcome, renews)),
                    Move::Init(who) => side.clients[who] = Client::init(&mut side.broker, IDS[who]),
                    Move::Reopen(_) | Move::Snapshot => {}
                }
            }
            match step {
                Move::Reopen(is_stopped) => {
                    let clients = opened.clients;
                    if is_stopped {
                        opened.broker.close().unwrap();
                    }
                    drop((directory, opened.broker));
                    let (again, broker) = open(path.path());
                    directory = again;
                    opened = Side { broker, clients };
                }
                Move::Snapshot => opened.broker.shorten_journal(),
                _ => {}
            }
            prop_assert_eq!(opened.visible(), model.visible(), "step {}", number);
        }
    }
}

/// A broker directory with a transaction in two partitions and of a group, which has ended.
fn ended(path: &Path, outcome: Outcome) {
    let (_directory, broker) = open(path);
    let mut side = Side::new(broker);
    side.send(0, 0, "one");
    side.send(0, 1, "two");
    side.commit_offset(0, 5);
    side.end(0, outcome, false).unwrap();
}

/// Cuts the journal after its first line that contains `text`, or before it.
fn cut_journal(path: &Path, text: &str, keep: bool) {
    let journal = path.join("journal");
    let content = fs::read_to_string(&journal).unwrap();
    let line = content.lines().position(|line| line.contains(text)).unwrap();
    let kept: Vec<&str> = content.lines().take(line + usize::from(keep)).collect();
    fs::write(&journal, kept.join("\n") + "\n").unwrap();
}

/// Removes the last batch of a partition.
fn cut_marker(path: &Path, partition: i32) {
    // The journal is not read: a start would repair what this test cuts.
    let files = walk(&path.join("logs")).into_iter();
    let file = files.filter(|file| file.to_string_lossy().contains(&format!("/{partition}/"))).max().unwrap();
    let bytes = fs::read(&file).unwrap();
    let (mut at, mut last) = (0, 0);
    while let Some(header) = Header::read(&bytes[at..]) {
        (last, at) = (at, at + header.size);
    }
    assert!(Header::read(&bytes[last..]).unwrap().is_control());
    fs::write(&file, &bytes[..last]).unwrap();
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn an_end_that_a_crash_interrupts_is_completed() {
    for outcome in [Outcome::Commit, Outcome::Abort] {
        for markers in 0..=2 {
            let path = tempfile::tempdir().unwrap();
            ended(path.path(), outcome);
            // The markers are written in the order of the partitions, after the outcome is recorded.
            (markers..2).for_each(|partition| cut_marker(path.path(), partition));
            cut_journal(path.path(), "\"ending\"", true);
            let broker = open(path.path()).1;
            let is_committed = outcome == Outcome::Commit;
            let expected = |text: &str| if is_committed { vec![text.to_owned()] } else { Vec::new() };
            assert_eq!(committed(&broker, 0), expected("one"), "{outcome:?}, {markers} markers");
            assert_eq!(committed(&broker, 1), expected("two"), "{outcome:?}, {markers} markers");
            let ends = [0, 1].map(|partition| broker.find_offset("t", partition, OffsetSpec::Latest).unwrap().offset);
            assert_eq!(ends, [2, 2], "one marker each");
            let offset = broker.committed_offset("g", "t", 0).map(|committed| committed.offset);
            assert_eq!(offset, is_committed.then_some(5));
            assert!(!broker.has_pending_offset("g", "t", 0));
            assert_eq!(broker.transactional_id("a").unwrap().phase, crate::core::Phase::Complete(outcome));
        }
    }
}

#[test]
fn a_transaction_that_the_journal_has_lost_is_aborted() {
    let path = tempfile::tempdir().unwrap();
    ended(path.path(), Outcome::Commit);
    cut_marker(path.path(), 0);
    cut_marker(path.path(), 1);
    // As after a power failure that has taken the end of the journal, but not the records.
    cut_journal(path.path(), "\"ongoing\"", false);
    let broker = open(path.path()).1;
    for partition in [0, 1] {
        assert_eq!(committed(&broker, partition), [""; 0]);
        let latest = broker.find_committed_offset("t", partition, OffsetSpec::Latest).unwrap().offset;
        assert_eq!(latest, 2, "readers can go on");
    }
}

//! Scenarios of transactions.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod laws;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::core::batch::Header;
use crate::core::records::{self, Producer, Record};
use crate::core::{
    AbortedTransaction, Batch, Completed, CoreConfig, JoinRequest, MemberRef, OffsetSpec, OffsetToCommit, TopicSpec,
};

const TIMEOUT_MS: i32 = 60_000;

/// A broker with the topics `t` and `compacted`, each with two partitions.
struct Scene {
    broker: BrokerCore,
    now_ms: i64,
}

/// A producer, with the next sequence number of each partition.
#[derive(Debug, Clone)]
struct Client {
    id: &'static str,
    identity: ProducerIdentity,
    sequences: BTreeMap<(&'static str, i32), i32>,
}

impl Scene {
    fn new() -> Self {
        let mut broker = BrokerCore::new(CoreConfig::default());
        broker.create_topic("t", TopicSpec { partitions: 2, ..TopicSpec::default() }).unwrap();
        let configs = [("cleanup.policy", "compact"), ("delete.retention.ms", "1000")];
        let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        broker.create_topic("compacted", TopicSpec { partitions: 2, configs }).unwrap();
        Self { broker, now_ms: 1_000 }
    }

    fn init(&mut self, id: &'static str) -> Client {
        let identity = self.broker.init_transactions(id, TIMEOUT_MS, None, self.now_ms).unwrap();
        Client { id, identity, sequences: BTreeMap::new() }
    }

    fn add(&mut self, client: &Client, partition: i32) -> Result<(), ErrorCode> {
        let at = [("t".to_owned(), partition), ("compacted".to_owned(), partition)];
        let added = self.broker.add_partitions(client.id, client.identity, &at, self.now_ms)?;
        added.into_iter().collect()
    }

    fn send(&mut self, client: &mut Client, topic: &'static str, partition: i32, text: &str) -> Result<i64, ErrorCode> {
        let sequence = client.sequences.entry((topic, partition)).or_insert(0);
        let batch = batch(client.identity, *sequence, text).transactional();
        let appended = self.broker.append(topic, partition, &batch, self.now_ms)?;
        *sequence += 1;
        Ok(appended.base_offset)
    }

    fn end(&mut self, client: &Client, outcome: Outcome) -> Result<(), ErrorCode> {
        self.broker.end_transaction(client.id, client.identity, outcome, false, self.now_ms).map(|_| ())
    }

    /// Ends a transaction with the second version of the protocol, in which sequences start again.
    fn end_and_renew(&mut self, client: &mut Client, outcome: Outcome) -> Result<(), ErrorCode> {
        client.identity = self.broker.end_transaction(client.id, client.identity, outcome, true, self.now_ms)?;
        client.sequences.clear();
        Ok(())
    }

    fn committed(&self, topic: &str, partition: i32) -> Vec<String> {
        consume(&self.broker, topic, partition, 1)
    }

    fn last_stable(&self, partition: i32) -> i64 {
        self.broker.find_committed_offset("t", partition, OffsetSpec::Latest).unwrap().offset
    }

    fn end_offset(&self, partition: i32) -> i64 {
        self.broker.find_offset("t", partition, OffsetSpec::Latest).unwrap().offset
    }

    fn commit_offset(&mut self, client: &Client, offset: i64) -> Result<(), ErrorCode> {
        let member = MemberRef { generation: -1, ..MemberRef::default() };
        let offsets = vec![OffsetToCommit::new("t", 0, offset)];
        let (id, identity, now_ms) = (client.id, client.identity, self.now_ms);
        let each = self.broker.commit_offsets_in_transaction(id, identity, "g", &member, offsets, now_ms)?;
        each.into_iter().collect()
    }

    fn offset(&self) -> Option<i64> {
        self.broker.committed_offset("g", "t", 0).map(|committed| committed.offset)
    }
}

fn batch(producer: ProducerIdentity, sequence: i32, text: &str) -> Batch {
    let text = Bytes::from(text.to_owned());
    let record = Record { key: Some(text.clone()), value: Some(text), timestamp: 1_000, ..Record::default() };
    let producer = Producer { id: producer.id, epoch: producer.epoch, sequence };
    Batch::parse(records::encode(&[record], producer).unwrap()).unwrap()
}

/// Reads a partition as a consumer of committed records does, in responses of `max_bytes`.
fn consume(broker: &BrokerCore, topic: &str, partition: i32, max_bytes: usize) -> Vec<String> {
    let (mut offset, mut texts) = (0, Vec::new());
    loop {
        let read = broker.read_committed(topic, partition, offset, max_bytes).unwrap();
        if read.batches.is_empty() {
            return texts;
        }
        for (records, last_offset) in read.committed().unwrap() {
            offset = last_offset + 1;
            texts.extend(records.into_iter().map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
        }
    }
}

#[test]
fn committed_records_become_visible_together() {
    let mut scene = Scene::new();
    let mut client = scene.init("a");
    scene.add(&client, 0).unwrap();
    scene.add(&client, 1).unwrap();
    assert_eq!(scene.send(&mut client, "t", 0, "one"), Ok(0));
    assert_eq!(scene.send(&mut client, "t", 1, "two"), Ok(0));
    assert_eq!((scene.last_stable(0), scene.end_offset(0)), (0, 1));
    assert_eq!(scene.committed("t", 0), [""; 0]);
    assert_eq!(scene.end(&client, Outcome::Commit), Ok(()));
    assert_eq!((scene.committed("t", 0), scene.committed("t", 1)), (vec!["one".to_owned()], vec!["two".to_owned()]));
    assert_eq!((scene.last_stable(0), scene.end_offset(0)), (2, 2), "the marker has an offset");
    assert_eq!(scene.broker.take_advanced().len(), 4, "readers of all partitions are woken");
    // The sequence goes on in the next transaction.
    scene.add(&client, 0).unwrap();
    assert_eq!(scene.send(&mut client, "t", 0, "three"), Ok(2));
}

#[test]
fn aborted_records_are_listed_and_left_out() {
    let mut scene = Scene::new();
    let (mut one, mut other) = (scene.init("a"), scene.init("b"));
    scene.add(&one, 0).unwrap();
    scene.add(&other, 0).unwrap();
    scene.send(&mut one, "t", 0, "lost").unwrap();
    scene.send(&mut other, "t", 0, "kept").unwrap();
    scene.end(&other, Outcome::Commit).unwrap();
    assert_eq!((scene.last_stable(0), scene.end_offset(0)), (0, 3), "the earlier transaction is open");
    scene.end(&one, Outcome::Abort).unwrap();
    assert_eq!(scene.committed("t", 0), ["kept"]);
    let aborted = |offset, bytes| scene.broker.read_committed("t", 0, offset, bytes).unwrap().aborted;
    let expected = [AbortedTransaction { producer_id: one.identity.id, first_offset: 0, last_offset: 3 }];
    assert_eq!(aborted(0, 1), expected);
    assert_eq!(aborted(3, 1000), expected, "its marker is among the batches");
    assert_eq!(aborted(4, 1000), []);
    assert_eq!(scene.broker.read("t", 0, 0, 1000).unwrap().aborted, [], "a reader of all records needs no list");
}

#[test]
fn a_new_producer_fences_the_former_one() {
    let mut scene = Scene::new();
    let mut former = scene.init("a");
    scene.add(&former, 0).unwrap();
    scene.send(&mut former, "t", 0, "lost").unwrap();
    let mut present = scene.init("a");
    assert_eq!(present.identity.id, former.identity.id);
    assert_eq!((scene.last_stable(0), scene.end_offset(0)), (2, 2), "its transaction has been aborted");
    assert_eq!(scene.send(&mut former, "t", 0, "late"), Err(ErrorCode::InvalidProducerEpoch));
    assert_eq!(scene.send(&mut former, "t", 1, "late"), Err(ErrorCode::InvalidProducerEpoch), "also elsewhere");
    assert_eq!(scene.add(&former, 1), Err(ErrorCode::ProducerFenced));
    assert_eq!(scene.end(&former, Outcome::Commit), Err(ErrorCode::ProducerFenced));
    scene.add(&present, 0).unwrap();
    scene.send(&mut present, "t", 0, "kept").unwrap();
    scene.end(&present, Outcome::Commit).unwrap();
    assert_eq!(scene.committed("t", 0), ["kept"]);
}

#[test]
fn a_batch_outside_its_transaction_is_refused() {
    let mut scene = Scene::new();
    let mut client = scene.init("a");
    assert_eq!(scene.send(&mut client, "t", 0, "x"), Err(ErrorCode::TransactionAbortable), "no transaction");
    scene.add(&client, 0).unwrap();
    assert_eq!(scene.send(&mut client, "t", 1, "x"), Err(ErrorCode::TransactionAbortable), "not this partition");
    scene.send(&mut client, "t", 0, "x").unwrap();
    let plain = batch(client.identity, 1, "x");
    assert_eq!(scene.broker.append("t", 0, &plain, 0).unwrap_err(), ErrorCode::InvalidTxnState);
    scene.end(&client, Outcome::Commit).unwrap();
    assert_eq!(scene.send(&mut client, "t", 0, "y"), Err(ErrorCode::TransactionAbortable), "it has ended");
    let mut unknown = Client { identity: ProducerIdentity { id: 4711, epoch: 0 }, ..client };
    assert_eq!(scene.send(&mut unknown, "t", 0, "x"), Err(ErrorCode::InvalidProducerIdMapping));
    let anonymous = batch(ProducerIdentity { id: -1, epoch: -1 }, -1, "x").transactional();
    assert_eq!(scene.broker.append("t", 0, &anonymous, 0).unwrap_err(), ErrorCode::InvalidRecord);
    assert_eq!(scene.committed("t", 0), ["x"]);
}

#[test]
fn a_client_of_the_second_version_enlists_partitions_by_producing() {
    let mut scene = Scene::new();
    let mut client = scene.init("a");
    let enlist = |scene: &mut Scene, client: &Client| {
        let batch = batch(client.identity, 0, "x").transactional();
        scene.broker.enlist(batch.header(), "t", 0, scene.now_ms)
    };
    enlist(&mut scene, &client).unwrap();
    scene.send(&mut client, "t", 0, "one").unwrap();
    let former = client.clone();
    scene.end_and_renew(&mut client, Outcome::Commit).unwrap();
    assert_eq!(client.identity.epoch, former.identity.epoch + 1);
    assert_eq!(enlist(&mut scene, &former), Err(ErrorCode::InvalidProducerEpoch), "a late batch begins no transaction");
    enlist(&mut scene, &client).unwrap();
    scene.send(&mut client, "t", 0, "two").unwrap();
    scene.end_and_renew(&mut client, Outcome::Commit).unwrap();
    assert_eq!(scene.committed("t", 0), ["one", "two"]);
}

#[test]
fn requests_can_be_repeated() {
    let mut scene = Scene::new();
    let mut client = scene.init("a");
    scene.add(&client, 0).unwrap();
    scene.add(&client, 0).unwrap();
    scene.send(&mut client, "t", 0, "one").unwrap();
    scene.end(&client, Outcome::Commit).unwrap();
    assert_eq!(scene.end(&client, Outcome::Commit), Ok(()));
    assert_eq!(scene.end(&client, Outcome::Abort), Err(ErrorCode::InvalidTxnState), "it has been committed");
    assert_eq!(scene.end_offset(0), 2, "there is one marker");

    scene.add(&client, 0).unwrap();
    let before = client.clone();
    scene.end_and_renew(&mut client, Outcome::Commit).unwrap();
    let mut again = before.clone();
    scene.end_and_renew(&mut again, Outcome::Commit).unwrap();
    assert_eq!(again.identity, client.identity);
    assert_eq!(scene.end_and_renew(&mut before.clone(), Outcome::Abort), Err(ErrorCode::ProducerFenced));

    // A producer that recovers from an error states its identity.
    let init = |scene: &mut Scene, expected| scene.broker.init_transactions("a", TIMEOUT_MS, Some(expected), 0);
    let renewed = init(&mut scene, client.identity).unwrap();
    assert_eq!(renewed.epoch, client.identity.epoch + 1);
    assert_eq!(init(&mut scene, client.identity), Ok(renewed), "the response was lost");
    assert_eq!(init(&mut scene, before.identity), Err(ErrorCode::ProducerFenced));
    client.identity = renewed;
    scene.add(&client, 0).unwrap();
    let stale = ProducerIdentity { epoch: renewed.epoch - 1, ..renewed };
    assert_eq!(init(&mut scene, stale), Err(ErrorCode::ProducerFenced), "a transaction is open");
}

#[test]
fn a_former_producer_never_gets_the_identity_of_its_successor() {
    let mut scene = Scene::new();
    let mut former = scene.init("a");
    scene.add(&former, 0).unwrap();
    scene.end_and_renew(&mut former, Outcome::Abort).unwrap();
    let init = |scene: &mut Scene, expected| scene.broker.init_transactions("a", TIMEOUT_MS, Some(expected), 0);
    let present = scene.init("a");
    assert_eq!(scene.broker.transactional_id("a").unwrap().phase, Phase::Empty);
    let mut zombie = former.clone();
    assert_eq!(scene.end_and_renew(&mut zombie, Outcome::Abort), Err(ErrorCode::ProducerFenced));
    assert_eq!(scene.end(&former, Outcome::Abort), Err(ErrorCode::ProducerFenced));
    assert_eq!(
        init(&mut scene, former.identity),
        Err(ErrorCode::ProducerFenced),
        "not even if it recovers from an error"
    );
    assert_eq!(scene.end(&present, Outcome::Commit), Err(ErrorCode::InvalidTxnState), "the outcome was not its own");

    // A producer that recovers in the middle of its transaction, and does not get the response.
    scene.add(&present, 0).unwrap();
    let renewed = init(&mut scene, present.identity).unwrap();
    assert_eq!(init(&mut scene, present.identity), Ok(renewed));
}

#[test]
fn records_behind_deleted_ones_of_an_open_batch_are_not_visible() {
    let mut scene = Scene::new();
    let client = scene.init("a");
    scene.add(&client, 0).unwrap();
    let record = || Record { value: Some(Bytes::from_static(b"x")), ..Record::default() };
    let producer = Producer { id: client.identity.id, epoch: client.identity.epoch, sequence: 0 };
    let bytes = records::encode(&[record(), record(), record()], producer).unwrap();
    let batch = Batch::parse(bytes).unwrap().transactional();
    scene.broker.append("t", 0, &batch, scene.now_ms).unwrap();
    scene.broker.delete_records("t", 0, Some(1)).unwrap();
    let read = scene.broker.read_committed("t", 0, 1, 1000).unwrap();
    assert_eq!((read.batches.len(), read.last_stable), (0, 1));
    scene.end(&client, Outcome::Abort).unwrap();
    let read = scene.broker.read_committed("t", 0, 1, 1000).unwrap();
    assert_eq!((read.batches.is_empty(), read.aborted.len()), (false, 1));
}

#[test]
fn the_sequence_starts_again_with_a_new_epoch() {
    let mut scene = Scene::new();
    let mut client = scene.init("a");
    scene.add(&client, 0).unwrap();
    scene.send(&mut client, "t", 0, "one").unwrap();
    scene.end_and_renew(&mut client, Outcome::Commit).unwrap();
    scene.add(&client, 0).unwrap();
    client.sequences.insert(("t", 0), 1);
    assert_eq!(scene.send(&mut client, "t", 0, "three"), Err(ErrorCode::OutOfOrderSequence), "before the second");
    client.sequences.insert(("t", 0), 0);
    scene.send(&mut client, "t", 0, "two").unwrap();
    scene.send(&mut client, "t", 0, "three").unwrap();
}

#[test]
fn a_producer_is_remembered_while_its_transaction_is_open() {
    let mut scene = Scene::new();
    let mut client = scene.init("a");
    scene.add(&client, 0).unwrap();
    scene.send(&mut client, "t", 0, "old").unwrap();
    // More than a day later, by the timestamps of its records.
    scene.broker.clean(scene.now_ms + 25 * 60 * 60 * 1000);
    client.sequences.insert(("t", 0), 0);
    assert_eq!(scene.send(&mut client, "t", 0, "old"), Ok(0), "a retry is one");
    assert_eq!(scene.end_offset(0), 1);
}

#[test]
fn a_transactional_id_is_as_old_as_its_last_initialization() {
    let mut scene = Scene::new();
    scene.init("a");
    scene.now_ms += 604_800_000;
    let client = scene.init("a");
    scene.broker.clean(scene.now_ms + 1);
    assert_eq!(scene.add(&client, 0), Ok(()));
}

#[test]
fn offsets_changed_during_a_transaction_stay() {
    let mut scene = Scene::new();
    let client = scene.init("a");
    let no_member = MemberRef { generation: -1, ..MemberRef::default() };
    let pending = |scene: &mut Scene| {
        scene.broker.add_offsets("a", client.identity, "g", 0).unwrap();
        scene.commit_offset(&client, 5).unwrap();
    };
    pending(&mut scene);
    scene.broker.commit_offsets("g", &no_member, vec![OffsetToCommit::new("t", 0, 10)], 0).unwrap()[0].unwrap();
    scene.end(&client, Outcome::Commit).unwrap();
    assert_eq!(scene.offset(), Some(10), "committed after that of the transaction");
    pending(&mut scene);
    scene.broker.delete_offset("g", "t", 0).unwrap();
    scene.end(&client, Outcome::Commit).unwrap();
    assert_eq!(scene.offset(), None);
}

#[test]
fn a_transaction_may_commit_for_a_group_with_members_as_no_member() {
    let mut scene = Scene::new();
    let client = scene.init("a");
    let protocols = vec![("range".to_owned(), Bytes::new())];
    let join = JoinRequest {
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        protocol_type: "consumer".into(),
        protocols,
        ..JoinRequest::default()
    };
    let token = scene.broker.join_group("g", join, scene.now_ms).unwrap();
    let completed = scene.broker.take_completed();
    let (_, Completed::Join(Ok(joined))) = completed.into_iter().find(|(of, _)| *of == token).unwrap() else {
        panic!("the member has joined")
    };
    scene.broker.add_offsets("a", client.identity, "g", 0).unwrap();
    assert_eq!(scene.commit_offset(&client, 5), Ok(()));
    let mut commit = |member: MemberRef| {
        let offsets = vec![OffsetToCommit::new("t", 0, 6)];
        let each = scene.broker.commit_offsets_in_transaction("a", client.identity, "g", &member, offsets, 1_000);
        each.map(|each| each[0])
    };
    // The leader has not assigned anything yet.
    let member = MemberRef { member_id: joined.member_id, generation: joined.generation, ..MemberRef::default() };
    assert_eq!(commit(member.clone()), Ok(Ok(())));
    assert_eq!(
        commit(MemberRef { generation: member.generation + 1, ..member.clone() }),
        Err(ErrorCode::IllegalGeneration)
    );
    assert_eq!(commit(MemberRef { member_id: "x".into(), ..member }), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_transaction_times_out() {
    let mut scene = Scene::new();
    let mut client = scene.init("a");
    scene.add(&client, 0).unwrap();
    scene.send(&mut client, "t", 0, "lost").unwrap();
    scene.broker.tick(scene.now_ms + i64::from(TIMEOUT_MS) - 1);
    assert_eq!(scene.last_stable(0), 0);
    scene.broker.tick(scene.now_ms + i64::from(TIMEOUT_MS));
    assert_eq!((scene.last_stable(0), scene.end_offset(0)), (2, 2));
    assert_eq!(scene.end(&client, Outcome::Commit), Err(ErrorCode::ProducerFenced));
    assert_eq!(scene.committed("t", 0), [""; 0]);
    let ids: Vec<_> = scene.broker.transactional_ids().map(|view| (view.id, view.phase.name())).collect();
    assert_eq!(ids, [("a", "CompleteAbort")]);
}

#[test]
fn a_timeout_beyond_the_limit_is_refused() {
    let mut scene = Scene::new();
    let mut init = |id, timeout_ms| scene.broker.init_transactions(id, timeout_ms, None, 0);
    assert_eq!(init("a", 900_001), Err(ErrorCode::InvalidTransactionTimeout));
    assert_eq!(init("a", 0), Err(ErrorCode::InvalidTransactionTimeout));
    assert_eq!(init("", 1), Err(ErrorCode::InvalidRequest));
    init("a", 900_000).unwrap();
}

#[test]
fn offsets_become_valid_with_the_commit() {
    let mut scene = Scene::new();
    let client = scene.init("a");
    assert_eq!(scene.commit_offset(&client, 5), Err(ErrorCode::TransactionAbortable), "the group has not been added");
    for (outcome, offset, expected) in [(Outcome::Commit, 5, Some(5)), (Outcome::Abort, 9, Some(5))] {
        scene.broker.add_offsets("a", client.identity, "g", 0).unwrap();
        let before = scene.offset();
        scene.commit_offset(&client, offset).unwrap();
        assert_eq!(scene.offset(), before);
        assert!(scene.broker.has_pending_offset("g", "t", 0));
        scene.end(&client, outcome).unwrap();
        assert_eq!(scene.offset(), expected);
        assert!(!scene.broker.has_pending_offset("g", "t", 0));
    }
    let fenced = ProducerIdentity { epoch: -1, ..client.identity };
    assert_eq!(scene.broker.add_offsets("a", fenced, "g", 0), Err(ErrorCode::ProducerFenced));
}

#[test]
fn unknown_partitions_add_nothing() {
    let mut scene = Scene::new();
    let client = scene.init("a");
    let at = [("t".to_owned(), 0), ("t".to_owned(), 7)];
    let each = scene.broker.add_partitions("a", client.identity, &at, 0).unwrap();
    assert_eq!(each, [Err(ErrorCode::OperationNotAttempted), Err(ErrorCode::UnknownTopicOrPartition)]);
    assert_eq!(scene.broker.transactional_id("a").unwrap().phase, Phase::Empty);
    let unknown = scene.broker.add_partitions("b", client.identity, &at[..1], 0);
    assert_eq!(unknown, Err(ErrorCode::InvalidProducerIdMapping));
}

#[test]
fn the_transaction_of_a_deleted_topic_ends() {
    let mut scene = Scene::new();
    let mut client = scene.init("a");
    scene.add(&client, 0).unwrap();
    scene.send(&mut client, "compacted", 0, "gone").unwrap();
    scene.send(&mut client, "t", 0, "kept").unwrap();
    scene.broker.delete_topic("compacted").unwrap();
    scene.end(&client, Outcome::Commit).unwrap();
    assert_eq!(scene.committed("t", 0), ["kept"]);
}

#[test]
fn a_producer_id_is_replaced_after_its_last_epoch() {
    let mut scene = Scene::new();
    let mut client = scene.init("a");
    let first = client.identity.id;
    let mut transactions = 0;
    while client.identity.id == first {
        scene.broker.add_partitions("a", client.identity, &[("t".to_owned(), 0)], 0).unwrap();
        scene.end_and_renew(&mut client, Outcome::Commit).unwrap();
        transactions += 1;
        assert!(transactions <= i32::from(i16::MAX), "the epochs of an id are limited");
    }
    assert_eq!(client.identity.epoch, 0);
    scene.add(&client, 0).unwrap();
    scene.send(&mut client, "t", 0, "x").unwrap();
    scene.end_and_renew(&mut client, Outcome::Commit).unwrap();
    assert_eq!(scene.committed("t", 0), ["x"]);
    let former = ProducerIdentity { id: first, epoch: 0 };
    let added = scene.broker.add_partitions("a", former, &[("t".to_owned(), 0)], 0);
    assert_eq!(added, Err(ErrorCode::InvalidProducerIdMapping));
}

#[test]
fn compaction_removes_aborted_records_and_old_markers() {
    let mut scene = Scene::new();
    let mut client = scene.init("a");
    for (text, outcome) in
        [("a", Outcome::Commit), ("b", Outcome::Commit), ("b", Outcome::Abort), ("a", Outcome::Commit)]
    {
        scene.add(&client, 0).unwrap();
        scene.send(&mut client, "compacted", 0, text).unwrap();
        scene.end(&client, outcome).unwrap();
    }
    let headers = |scene: &Scene| {
        let mut found = Vec::new();
        for bytes in scene.broker.read("compacted", 0, 0, usize::MAX).unwrap().batches {
            let mut rest = &bytes[..];
            while let Some(header) = Header::read(rest) {
                found.extend((header.record_count > 0).then_some((header.base_offset, header.is_control())));
                rest = &rest[header.size..];
            }
        }
        found
    };
    scene.broker.compact_now("compacted", 0, scene.now_ms).unwrap();
    assert_eq!(scene.committed("compacted", 0), ["b", "a"], "the aborted record has superseded nothing");
    let all = [(1, true), (2, false), (3, true), (5, true), (6, false), (7, true)];
    assert_eq!(headers(&scene), all, "readers may still need the markers");
    // A marker whose records are there stays; that of the superseded record and that of the aborted one go.
    scene.broker.compact_now("compacted", 0, scene.now_ms + 1_000).unwrap();
    assert_eq!(headers(&scene), [(2, false), (3, true), (6, false), (7, true)]);
    assert_eq!(scene.committed("compacted", 0), ["b", "a"]);

    // Open transactions are not compacted.
    scene.add(&client, 0).unwrap();
    scene.send(&mut client, "compacted", 0, "a").unwrap();
    scene.broker.compact_now("compacted", 0, scene.now_ms + 2_000).unwrap();
    scene.end(&client, Outcome::Abort).unwrap();
    scene.broker.compact_now("compacted", 0, scene.now_ms + 2_000).unwrap();
    assert_eq!(scene.committed("compacted", 0), ["b", "a"]);
}

#[test]
fn an_administrator_can_end_a_transaction_of_a_partition() {
    let mut scene = Scene::new();
    let mut client = scene.init("a");
    scene.add(&client, 0).unwrap();
    scene.send(&mut client, "t", 0, "x").unwrap();
    let active = scene.broker.active_producers("t", 0).unwrap();
    assert_eq!((active[0].id, active[0].open_since), (client.identity.id, Some(0)));
    scene.broker.force_marker("t", 0, client.identity, Outcome::Abort, 0).unwrap();
    assert_eq!((scene.last_stable(0), scene.end_offset(0)), (2, 2));
    let active = scene.broker.active_producers("t", 0).unwrap();
    assert_eq!((active[0].open_since, active[0].is_transactional), (None, true));
}

#[test]
fn unused_ids_expire() {
    let mut scene = Scene::new();
    scene.init("a");
    let open = scene.init("b");
    scene.add(&open, 0).unwrap();
    scene.broker.clean(scene.now_ms + 604_800_000);
    assert!(scene.broker.transactional_id("a").is_some());
    scene.broker.clean(scene.now_ms + 604_800_001);
    let left: Vec<_> = scene.broker.transactional_ids().map(|view| view.id).collect();
    assert_eq!(left, ["b"], "an open transaction is not forgotten");
}

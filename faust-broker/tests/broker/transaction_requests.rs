//! The requests of transactions one by one, on our broker and on Apache Kafka: both must answer with the same codes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use faust_broker::core::records::{self, Record};
use faust_broker::core::{Batch, Producer};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiVersionsRequest, DescribeProducersRequest,
    DescribeTransactionsRequest, EndTxnRequest, FindCoordinatorRequest, GroupId, InitProducerIdRequest,
    ListTransactionsRequest, OffsetFetchRequest, ProduceRequest, ProducerId, TopicName, TransactionalId,
    TxnOffsetCommitRequest, WriteTxnMarkersRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::by_id;
use crate::peer::{Peer, now_ms, peers};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Kafka answers with these while a topic is created, a coordinator is loaded, or the markers of the last transaction are
/// written.
const IN_A_MOMENT: [i16; 6] = [3, 6, 14, 15, 16, 51];

const OUT_OF_ORDER_SEQUENCE: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
const INVALID_TRANSACTION_TIMEOUT: i16 = 50;
const UNSTABLE_OFFSET_COMMIT: i16 = 88;
const PRODUCER_FENCED: i16 = 90;
const TRANSACTIONAL_ID_NOT_FOUND: i16 = 105;
const TRANSACTION_ABORTABLE: i16 = 120;
const INVALID_REGULAR_EXPRESSION: i16 = 128;

/// A broker with a topic and a transactional id.
struct Scene {
    peer: Peer,
    topic: String,
    id: TransactionalId,
}

type Identity = (i64, i16);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Repeats a request until the answer is definite.
fn definite(mut ask: impl FnMut() -> i16) -> i16 {
    let began = Instant::now();
    loop {
        let code = ask();
        if !IN_A_MOMENT.contains(&code) {
            return code;
        }
        assert!(began.elapsed() < TIMEOUT, "the answer remains {code}");
        std::thread::yield_now();
    }
}

impl Scene {
    fn all(configs: &[(&str, &str)]) -> Vec<Self> {
        let scene = |mut peer: Peer| {
            let topic = peer.create(configs);
            let id = TransactionalId(text(&format!("{topic}-{}", now_ms())));
            let request = FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![id.0.clone()]);
            definite(|| peer.call(&request, 4).coordinators[0].error_code);
            Self { peer, topic, id }
        };
        peers().into_iter().map(scene).collect()
    }

    fn name(&self) -> &'static str {
        self.peer.name
    }

    fn topic_name(&self) -> TopicName {
        TopicName(text(&self.topic))
    }

    fn init(&mut self, expected: Identity, timeout_ms: i32, version: i16) -> (i16, Identity) {
        let mut request = InitProducerIdRequest::default()
            .with_transactional_id(Some(self.id.clone()))
            .with_transaction_timeout_ms(timeout_ms);
        if version >= 3 {
            request = request.with_producer_id(ProducerId(expected.0)).with_producer_epoch(expected.1);
        }
        let mut identity = (-1, -1);
        let code = definite(|| {
            let response = self.peer.call(&request, version);
            identity = (response.producer_id.0, response.producer_epoch);
            response.error_code
        });
        (code, identity)
    }

    fn producer(&mut self) -> Identity {
        let (code, identity) = self.init((-1, -1), 60_000, 4);
        assert_eq!(code, 0, "{}", self.name());
        identity
    }

    fn add(&mut self, producer: Identity, version: i16) -> i16 {
        let topic = AddPartitionsToTxnTopic::default().with_name(self.topic_name()).with_partitions(vec![0]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.id.clone())
            .with_v3_and_below_producer_id(ProducerId(producer.0))
            .with_v3_and_below_producer_epoch(producer.1)
            .with_v3_and_below_topics(vec![topic]);
        definite(|| {
            let response = self.peer.call(&request, version);
            response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
        })
    }

    fn send(&mut self, producer: Identity, sequence: i32, version: i16) -> i16 {
        let record = Record { value: Some(Bytes::from_static(b"x")), timestamp: now_ms(), ..Record::default() };
        let of = Producer { id: producer.0, epoch: producer.1, sequence };
        let batch = Batch::parse(records::encode(&[record], of).unwrap()).unwrap().transactional();
        let data = PartitionProduceData::default().with_index(0).with_records(Some(batch.bytes().clone()));
        let data = TopicProduceData::default().with_name(self.topic_name()).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.id.clone()))
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![data]);
        definite(|| self.peer.call(&request, version).responses[0].partition_responses[0].error_code)
    }

    fn end(&mut self, producer: Identity, committed: bool, version: i16) -> (i16, Identity) {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.id.clone())
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_committed(committed);
        let mut identity = (-1, -1);
        let code = definite(|| {
            let response = self.peer.call(&request, version);
            identity = (response.producer_id.0, response.producer_epoch);
            response.error_code
        });
        (code, identity)
    }

    fn group(&self) -> GroupId {
        GroupId(text(&format!("{}-group", self.topic)))
    }

    fn add_offsets(&mut self, producer: Identity, version: i16) -> i16 {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(self.id.clone())
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_group_id(self.group());
        definite(|| self.peer.call(&request, version).error_code)
    }

    fn commit_offset(&mut self, producer: Identity, offset: i64, version: i16) -> i16 {
        let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(offset);
        let topic =
            TxnOffsetCommitRequestTopic::default().with_name(self.topic_name()).with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.id.clone())
            .with_group_id(self.group())
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_topics(vec![topic]);
        definite(|| self.peer.call(&request, version).topics[0].partitions[0].error_code)
    }

    fn offset(&mut self, require_stable: bool) -> (i16, i64) {
        let topic = OffsetFetchRequestTopics::default().with_name(self.topic_name()).with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default().with_group_id(self.group()).with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(require_stable);
        let response = self.peer.call(&request, 8);
        let found = &response.groups[0].topics[0].partitions[0];
        (found.error_code, found.committed_offset)
    }

    /// Like [`offset`](Self::offset), with the id of the topic instead of its name, for the partition and for all of the group.
    fn offset_by_id(&mut self, require_stable: bool) -> [(i16, i64); 2] {
        let id = self.peer.topic_id(&self.topic);
        let topic = OffsetFetchRequestTopics::default().with_name(by_id::topic()).with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default().with_group_id(self.group());
        let groups = vec![group.clone().with_topics(Some(vec![topic])), group.with_topics(None)];
        let request = OffsetFetchRequest::default().with_groups(groups).with_require_stable(require_stable);
        let body = by_id::encode(&request, [id.as_u128()]);
        let response = self.peer.client.call_encoded::<OffsetFetchRequest>(&body, 10, 10);
        [0, 1].map(|group| {
            let topic = &response.groups[group].topics[0];
            assert_eq!(topic.topic_id, id, "{}", self.peer.name);
            (topic.partitions[0].error_code, topic.partitions[0].committed_offset)
        })
    }

    /// Returns the code, the state and the number of partitions of the transactional id.
    fn phase(&mut self) -> (i16, String, usize) {
        let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![self.id.clone()]);
        let mut found = (0, String::new(), 0);
        definite(|| {
            let response = self.peer.call(&request, 0);
            let state = &response.transaction_states[0];
            let partitions = state.topics.iter().map(|topic| topic.partitions.len()).sum();
            found = (state.error_code, state.transaction_state.to_string(), partitions);
            // Kafka writes markers after its answer.
            if found.1.starts_with("Prepare") { 51 } else { 0 }
        });
        found
    }
}

#[test]
fn producers_are_initialized() {
    for mut scene in Scene::all(&[]) {
        let name = scene.name();
        assert_eq!(scene.phase(), (TRANSACTIONAL_ID_NOT_FOUND, String::new(), 0), "{name}");
        let first = scene.producer();
        assert_eq!(first.1, 0, "{name}");
        assert_eq!(scene.producer(), (first.0, 1), "{name}");
        assert_eq!(scene.init((first.0, 1), 60_000, 4), (0, (first.0, 2)), "{name}: its own identity");
        assert_eq!(scene.init((first.0, 1), 60_000, 4), (0, (first.0, 2)), "{name}: repeated");
        assert_eq!(scene.init(first, 60_000, 4).0, PRODUCER_FENCED, "{name}");
        assert_eq!(scene.init(first, 60_000, 3).0, INVALID_PRODUCER_EPOCH, "{name}: an older client");
        assert_eq!(scene.init((-1, -1), 900_001, 4).0, INVALID_TRANSACTION_TIMEOUT, "{name}");
        assert_eq!(scene.init((-1, -1), 0, 4).0, INVALID_TRANSACTION_TIMEOUT, "{name}");
        assert_eq!(scene.phase(), (0, "Empty".into(), 0), "{name}");
    }
}

#[test]
fn the_first_version_adds_partitions_and_keeps_the_epoch() {
    for mut scene in Scene::all(&[]) {
        let name = scene.name();
        let producer = scene.producer();
        let stale = (producer.0, producer.1 - 1);
        assert_eq!(scene.end(producer, true, 4).0, INVALID_TXN_STATE, "{name}: no transaction");
        assert_eq!(scene.send(producer, 0, 11), TRANSACTION_ABORTABLE, "{name}: not added");
        assert_eq!(scene.send(producer, 0, 10), INVALID_TXN_STATE, "{name}: not added, an older client");
        assert_eq!(scene.add(stale, 3), PRODUCER_FENCED, "{name}");
        assert_eq!(scene.add(stale, 1), INVALID_PRODUCER_EPOCH, "{name}: an older client");
        assert_eq!(scene.add((producer.0 + 1, 0), 3), INVALID_PRODUCER_ID_MAPPING, "{name}");
        assert_eq!(scene.add(producer, 3), 0, "{name}");
        assert_eq!(scene.phase(), (0, "Ongoing".into(), 1), "{name}");
        assert_eq!(scene.send(producer, 0, 11), 0, "{name}");
        assert_eq!(scene.send(producer, 1, 9), 0, "{name}");
        assert_eq!(scene.end(stale, true, 4).0, PRODUCER_FENCED, "{name}");
        assert_eq!(scene.end(producer, true, 4).0, 0, "{name}");
        assert_eq!(scene.end(producer, true, 4).0, 0, "{name}: repeated");
        assert_eq!(scene.end(producer, false, 4).0, INVALID_TXN_STATE, "{name}: the other way");
        assert_eq!(scene.phase().1, "CompleteCommit", "{name}");
        assert_eq!(scene.add(producer, 3), 0, "{name}");
        assert_eq!(scene.send(producer, 2, 11), 0, "{name}: the sequence goes on");
        assert_eq!(scene.end(producer, false, 4).0, 0, "{name}");
        assert_eq!(scene.phase().1, "CompleteAbort", "{name}");
    }
}

#[test]
fn the_second_version_adds_partitions_by_producing_and_renews_the_epoch() {
    for mut scene in Scene::all(&[]) {
        let name = scene.name();
        let first = scene.producer();
        assert_eq!(scene.send(first, 0, 12), 0, "{name}");
        assert_eq!(scene.phase(), (0, "Ongoing".into(), 1), "{name}");
        let second = (first.0, first.1 + 1);
        assert_eq!(scene.end(first, true, 5), (0, second), "{name}");
        assert_eq!(scene.end(first, true, 5), (0, second), "{name}: repeated");
        assert_eq!(scene.send(first, 1, 12), INVALID_PRODUCER_EPOCH, "{name}: late");
        assert_eq!(scene.send(second, 0, 12), 0, "{name}: the sequence starts again");
        let third = (first.0, first.1 + 2);
        assert_eq!(scene.end(second, false, 5), (0, third), "{name}");
        assert_eq!(scene.end(third, true, 5).0, INVALID_TXN_STATE, "{name}: no transaction");
        let fourth = (first.0, first.1 + 3);
        assert_eq!(scene.end(third, false, 5), (0, fourth), "{name}: an abort may find no transaction");
    }
}

#[test]
fn former_producers_are_fenced_by_every_request() {
    for mut scene in Scene::all(&[]) {
        let name = scene.name();
        let first = scene.producer();
        assert_eq!(scene.send(first, 0, 12), 0, "{name}");
        let former = (first.0, first.1 + 1);
        assert_eq!(scene.end(first, false, 5), (0, former), "{name}");
        let present = scene.producer();
        assert_eq!(present, (first.0, first.1 + 2), "{name}");
        assert_eq!(scene.phase().1, "Empty", "{name}");
        assert_eq!(scene.end(former, false, 5).0, PRODUCER_FENCED, "{name}: it ends its transaction again");
        assert_eq!(scene.init(former, 60_000, 4).0, PRODUCER_FENCED, "{name}: it recovers from an error");
        assert_eq!(scene.end(present, true, 4).0, INVALID_TXN_STATE, "{name}: the outcome was not its own");
        assert_eq!(scene.add(present, 3), 0, "{name}");
        let renewed = scene.init(present, 60_000, 4);
        assert_eq!((renewed.0, scene.init(present, 60_000, 4)), (0, renewed), "{name}: repeated after an abort");
        let renewed = renewed.1;
        assert_eq!(scene.send(renewed, 0, 12), 0, "{name}");
        let next = scene.end(renewed, true, 5).1;
        assert_eq!(scene.send(next, 1, 12), OUT_OF_ORDER_SEQUENCE, "{name}: a new epoch starts at 0");
        assert_eq!(scene.send(next, 0, 12), 0, "{name}");
        assert_eq!(scene.end(next, true, 5).0, 0, "{name}");
    }
}

#[test]
fn offsets_are_pending_until_the_end() {
    for mut scene in Scene::all(&[]) {
        let name = scene.name();
        let producer = scene.producer();
        assert_eq!(scene.commit_offset(producer, 5, 4), TRANSACTION_ABORTABLE, "{name}: the group has not been added");
        assert_eq!(scene.add_offsets(producer, 3), 0, "{name}");
        assert_eq!(scene.commit_offset(producer, 5, 4), 0, "{name}");
        assert_eq!(scene.offset(true), (UNSTABLE_OFFSET_COMMIT, -1), "{name}");
        assert_eq!(scene.offset(false), (0, -1), "{name}");
        assert_eq!(scene.end(producer, true, 4).0, 0, "{name}");
        definite(|| if scene.offset(true).0 == UNSTABLE_OFFSET_COMMIT { 51 } else { 0 });
        assert_eq!(scene.offset(true), (0, 5), "{name}");
        // In the second version, the group is added by the commit.
        assert_eq!(scene.commit_offset(producer, 9, 5), 0, "{name}");
        assert_eq!(scene.offset(true), (UNSTABLE_OFFSET_COMMIT, -1), "{name}");
        assert_eq!(scene.offset_by_id(true), [(UNSTABLE_OFFSET_COMMIT, -1); 2], "{name}");
        assert_eq!(scene.offset_by_id(false), [(0, 5); 2], "{name}");
        assert_eq!(scene.end(producer, false, 5).0, 0, "{name}");
        definite(|| if scene.offset(true).0 == UNSTABLE_OFFSET_COMMIT { 51 } else { 0 });
        assert_eq!(scene.offset(true), (0, 5), "{name}");
    }
}

#[test]
fn an_administrator_sees_and_ends_transactions() {
    use kafka_protocol::messages::describe_producers_request::TopicRequest;
    use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
    for mut scene in Scene::all(&[]) {
        let name = scene.name();
        let producer = scene.producer();
        assert_eq!((scene.add(producer, 3), scene.send(producer, 0, 11)), (0, 0), "{name}");
        let listed = |scene: &mut Scene, states: &[&str], producer: i64| {
            let request = ListTransactionsRequest::default()
                .with_state_filters(states.iter().map(|state| text(state)).collect())
                .with_producer_id_filters(vec![ProducerId(producer)]);
            let response = scene.peer.call(&request, 1);
            let unknown = response.unknown_state_filters.len();
            (response.transaction_states.into_iter().map(|state| state.transactional_id.0).collect::<Vec<_>>(), unknown)
        };
        let id = scene.id.0.clone();
        assert_eq!(listed(&mut scene, &["Ongoing", "Sleeping"], producer.0), (vec![id.clone()], 1), "{name}");
        assert_eq!(listed(&mut scene, &["Empty"], producer.0), (vec![], 0), "{name}");
        assert_eq!(listed(&mut scene, &[], producer.0 + 1_000_000), (vec![], 0), "{name}");
        let matching = |scene: &mut Scene, pattern: &str| {
            let request = ListTransactionsRequest::default()
                .with_producer_id_filters(vec![producer.0.into()])
                .with_transactional_id_pattern(Some(text(pattern)));
            let response = scene.peer.call(&request, 2);
            (response.error_code, response.transaction_states.len())
        };
        let part = &scene.topic.clone()[1..];
        let patterns = [("", 1), (&id[..], 1), (part, 0), (&format!(".{part}-[0-9]+")[..], 1)];
        for (pattern, count) in patterns {
            assert_eq!(matching(&mut scene, pattern), (0, count), "{name}: {pattern}");
        }
        assert_eq!(matching(&mut scene, "a("), (INVALID_REGULAR_EXPRESSION, 0), "{name}");

        let open_since = |scene: &mut Scene| {
            let topic = TopicRequest::default().with_name(scene.topic_name()).with_partition_indexes(vec![0]);
            let response = scene.peer.call(&DescribeProducersRequest::default().with_topics(vec![topic]), 0);
            let found = &response.topics[0].partitions[0].active_producers;
            assert_eq!((found.len(), found[0].producer_id.0), (1, producer.0), "{name}");
            found[0].current_txn_start_offset
        };
        assert_eq!(open_since(&mut scene), 0, "{name}");
        let topic = WritableTxnMarkerTopic::default().with_name(scene.topic_name()).with_partition_indexes(vec![0]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(ProducerId(producer.0))
            .with_producer_epoch(producer.1)
            .with_topics(vec![topic]);
        let written = scene.peer.call(&WriteTxnMarkersRequest::default().with_markers(vec![marker]), 1);
        assert_eq!(written.markers[0].topics[0].partitions[0].error_code, 0, "{name}");
        assert_eq!(open_since(&mut scene), -1, "{name}");
    }
}

#[test]
fn the_version_of_transactions_is_a_feature() {
    for mut scene in Scene::all(&[]) {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text("test"))
            .with_client_software_version(text("1"));
        for version in [3, 4] {
            let response = scene.peer.call(&request, version);
            let finalized = response.finalized_features.iter().find(|one| one.name.as_str() == "transaction.version");
            assert_eq!(finalized.unwrap().max_version_level, 2, "{}", scene.name());
            let supported = response.supported_features.iter().find(|one| one.name.as_str() == "transaction.version");
            assert_eq!(supported.is_some(), version == 4, "{}: its lowest version is 0", scene.name());
        }
    }
}

#[test]
fn a_marker_has_the_bytes_of_kafka() {
    let mut found = Vec::new();
    for mut scene in Scene::all(&[]) {
        let producer = scene.producer();
        assert_eq!((scene.add(producer, 3), scene.send(producer, 0, 11)), (0, 0), "{}", scene.name());
        assert_eq!(scene.end(producer, true, 4).0, 0, "{}", scene.name());
        let topic = scene.topic.clone();
        let batches = scene.peer.read(&topic, 2);
        let marker = batches.last().unwrap();
        // From the attributes on, without the timestamps and the producer id; then the record.
        found.push((scene.name(), [&marker[21..27], &marker[51..]].concat()));
    }
    for (name, bytes) in &found {
        assert_eq!(bytes, &found[0].1, "{name}");
    }
}

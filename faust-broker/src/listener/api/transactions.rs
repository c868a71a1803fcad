//! `AddPartitionsToTxn`, `AddOffsetsToTxn`, `TxnOffsetCommit`, `EndTxn`: the course of a transaction.

use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, ProducerId, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};

use crate::core::{BrokerCore, ErrorCode, OffsetToCommit, Outcome, ProducerIdentity};
use crate::listener::api::code;
use crate::listener::api::groups::member_ref;
use crate::listener::router::Call;

/// First version of `TxnOffsetCommit` and `EndTxn` of clients with the second version of transactions (KIP-890).
const SECOND_VERSION: i16 = 5;
/// First version of `TxnOffsetCommit` whose clients know `TransactionAbortable`.
const ABORTABLE: i16 = 4;

pub(crate) fn init_producer_id(call: &Call, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let expected = identity(request.producer_id, request.producer_epoch);
    let expected = Some(expected).filter(|expected| call.version >= 3 && expected.id >= 0);
    let initialized = call.shared.with_groups(|broker, now_ms| match &request.transactional_id {
        Some(id) => broker.init_transactions(id, request.transaction_timeout_ms, expected, now_ms),
        None => broker.init_producer_id().map(|id| ProducerIdentity { id, epoch: 0 }),
    });
    match initialized {
        Ok(producer) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(producer.id))
            .with_producer_epoch(producer.epoch),
        Err(code) => InitProducerIdResponse::default()
            .with_error_code(fenced_before(4, call.version, code).code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }
}

pub(crate) fn add_partitions(call: &Call, request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    let topics = &request.v3_and_below_topics;
    let partitions: Vec<(String, i32)> = topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.to_string(), *partition)))
        .collect();
    let producer = identity(request.v3_and_below_producer_id, request.v3_and_below_producer_epoch);
    let id = &request.v3_and_below_transactional_id;
    let outcome = call.shared.with_groups(|broker, now_ms| broker.add_partitions(id, producer, &partitions, now_ms));
    // One result per partition in the order of the request, or one for all of them.
    let (mut each, all) = match outcome {
        Ok(each) => (each.into_iter(), Ok(())),
        Err(code) => (Vec::new().into_iter(), Err(fenced_before(2, call.version, code))),
    };
    let results = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(code(each.next().unwrap_or(all)))
        });
        let partitions = partitions.collect();
        AddPartitionsToTxnTopicResult::default().with_name(topic.name.clone()).with_results_by_partition(partitions)
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect())
}

pub(crate) fn add_offsets(call: &Call, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let producer = identity(request.producer_id, request.producer_epoch);
    let added = call.shared.with_groups(|broker, now_ms| {
        broker.add_offsets(&request.transactional_id, producer, &request.group_id, now_ms)
    });
    let added = added.map_err(|code| fenced_before(2, call.version, code));
    AddOffsetsToTxnResponse::default().with_error_code(code(added))
}

pub(crate) fn commit_offsets(call: &Call, request: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let offsets = request.topics.iter().flat_map(to_commit).collect();
    let outcome = call.shared.with_groups(|broker, now_ms| commit(broker, call.version, &request, offsets, now_ms));
    let (mut each, all) = match outcome {
        Ok(each) => (each.into_iter(), Ok(())),
        // As in Kafka, where the group's coordinator checks the producer by its epoch.
        Err(ErrorCode::ProducerFenced) => (Vec::new().into_iter(), Err(ErrorCode::InvalidProducerEpoch)),
        Err(ErrorCode::TransactionAbortable) if call.version < ABORTABLE => {
            (Vec::new().into_iter(), Err(ErrorCode::InvalidTxnState))
        }
        Err(code) => (Vec::new().into_iter(), Err(code)),
    };
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code(each.next().unwrap_or(all)))
        });
        let partitions = partitions.collect();
        TxnOffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

fn commit(
    broker: &mut BrokerCore,
    version: i16,
    request: &TxnOffsetCommitRequest,
    offsets: Vec<OffsetToCommit>,
    now_ms: i64,
) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
    let producer = identity(request.producer_id, request.producer_epoch);
    let (id, group) = (&request.transactional_id, &request.group_id);
    if version >= SECOND_VERSION {
        broker.add_offsets(id, producer, group, now_ms)?;
    }
    let member = member_ref(&request.member_id, request.group_instance_id.clone(), request.generation_id);
    broker.commit_offsets_in_transaction(id, producer, group, &member, offsets, now_ms)
}

fn to_commit(topic: &TxnOffsetCommitRequestTopic) -> impl Iterator<Item = OffsetToCommit> {
    topic.partitions.iter().map(|partition| {
        let mut offset =
            OffsetToCommit::new(topic.name.as_str(), partition.partition_index, partition.committed_offset);
        offset.leader_epoch = partition.committed_leader_epoch;
        offset.metadata = partition.committed_metadata.as_ref().map(|text| text.to_string()).unwrap_or_default();
        offset
    })
}

pub(crate) fn end(call: &Call, request: EndTxnRequest) -> EndTxnResponse {
    let producer = identity(request.producer_id, request.producer_epoch);
    let outcome = if request.committed { Outcome::Commit } else { Outcome::Abort };
    let renews_epoch = call.version >= SECOND_VERSION;
    let ended = call.shared.with_groups(|broker, now_ms| {
        broker.end_transaction(&request.transactional_id, producer, outcome, renews_epoch, now_ms)
    });
    match ended {
        Ok(producer) if renews_epoch => {
            EndTxnResponse::default().with_producer_id(ProducerId(producer.id)).with_producer_epoch(producer.epoch)
        }
        Ok(_) => EndTxnResponse::default(),
        Err(code) => EndTxnResponse::default().with_error_code(fenced_before(2, call.version, code).code()),
    }
}

pub(super) fn identity(id: ProducerId, epoch: i16) -> ProducerIdentity {
    ProducerIdentity { id: id.0, epoch }
}

/// Returns the code that a client of an older version knows for a fenced producer.
fn fenced_before(first: i16, version: i16, code: ErrorCode) -> ErrorCode {
    if code == ErrorCode::ProducerFenced && version < first { ErrorCode::InvalidProducerEpoch } else { code }
}
